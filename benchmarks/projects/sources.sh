#!/bin/sh
# sources.sh DIRECTORY GENERATE: the same sources each time, 200 files and 40 dependencies.
set -eu
mkdir -p "$1/source"
awk -v seed=2 -v files=200 -v lines=200 -v directory="$1/source" -f "$2"
for package in $(seq 40); do echo "package-$package 1.0.0"; done >"$1/dependencies.lock"
