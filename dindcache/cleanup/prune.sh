#!/bin/sh
# Remove what jobs left behind, but never the build cache: prune.sh UNUSED_SECONDS JOB_SECONDS [REFERENCE...]
# Images that no job has tagged for the first, containers, networks and volumes that are older than the second.
set -eu
unused=$UNUSED_SECONDS job=$MAX_JOB_SECONDS failed=0
remove() { sh "${0%/*}/unused.sh" "$@" || failed=1; }
# Containers first: they hold the others.
remove container "$job"
remove network "$job"
remove volume "$job"
remove image "$unused" $KEEP_IMAGES
left=$(docker system df --format '{{lower .Type}} {{.TotalCount}}, {{.Size}};')
# shellcheck disable=SC2086 # lines that become one
echo left: $left
exit "$failed"
