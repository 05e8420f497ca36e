#!/bin/sh
# Remove what jobs left behind, but never the build cache: prune.sh UNUSED_SECONDS JOB_SECONDS [REFERENCE...]
# Images that no job has tagged for the first, containers, networks and volumes that are older than the second.
set -eu
unused=$1 job=$2 failed=0
shift 2
remove() { sh "${0%/*}/unused.sh" "$@" || failed=1; }
# Containers first: they hold the others.
remove container "$job"
remove network "$job"
remove volume "$job"
remove image "$unused" "$@"
left=$(docker system df --format '{{lower .Type}} {{.TotalCount}}, {{.Size}};')
# shellcheck disable=SC2086 # lines that become one
echo left: $left
exit "$failed"
