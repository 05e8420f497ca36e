#!/bin/sh
# Remove what this job left on the daemon: containers, then the networks and volumes that they used.
set -eu
. "$DINDCACHE/common.sh"
docker=$DINDCACHE/docker
list() {
    for label in "dindcache.job=$CI_JOB_URL" "com.docker.compose.project=$COMPOSE_PROJECT_NAME"; do
        "$docker" "$@" --quiet --filter "label=$label"
    done
}

if [ -e "$DINDCACHE/made" ]; then
    # After a restart of the daemon they are there again.
    WAIT_SECONDS=60 sh "$DINDCACHE/wait.sh" >/dev/null
    # One that ends by itself at the same moment is an error here and no matter.
    list ps --all | xargs -r "$docker" rm --force --volumes >/dev/null || :
    list network ls | xargs -r "$docker" network rm >/dev/null || :
    list volume ls | xargs -r "$docker" volume rm >/dev/null || :
    left=$(list ps --all; list network ls; list volume ls)
    if [ -n "$left" ]; then
        log "could not remove what this job left on the daemon: $left"
        exit 1
    fi
fi
rm -rf "$DINDCACHE"
