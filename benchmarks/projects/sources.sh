#!/bin/sh
# sources.sh DIRECTORY GENERATE SEED: the same each time for the same seed, 200 files of sources and 40 dependencies.
set -eu
mkdir -p "$1/source"
awk -v seed="$3" -v files=200 -v lines=200 -v directory="$1/source" -f "$2"
for package in $(seq 40); do echo "package-$package $3.0.0"; done >"$1/dependencies.lock"
