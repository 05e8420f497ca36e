#!/bin/sh
# Wait until it is a build's turn: the daemon runs a limited number at once, in the order in which their places began. A place is a
# container that runs as long as its client, so that of a job that dies is free.
#   DINDCACHE             the directory of the scripts, and of the job's own client
#   DINDCACHE_MAX_BUILDS  how many builds run at once
#   PLACE                 the file to which the place's client writes its ID
#   CLIENT                the process of that client
# Ends with 1 if the place is gone.
set -eu
: "${DINDCACHE:?}" "${DINDCACHE_MAX_BUILDS:?}" "${PLACE:?}" "${CLIENT:?}"
. "$DINDCACHE/common.sh"

# ahead: print how many places began before this one. Fails if this one is not there.
ahead() {
    places=$("$DINDCACHE/client/docker" ps --quiet --filter label=dindcache.place)
    # shellcheck disable=SC2086 # IDs. One that has ended in the meantime is an error here and no matter.
    { "$DINDCACHE/client/docker" inspect --format '{{.State.StartedAt}} {{.Id}}' $places 2>/dev/null || :; } |
        sort | awk -v "own=$(cat "$PLACE")" '$2 == own { print NR - 1; found = 1 } END { exit !found }'
}

main() {
    logged=
    # The client writes the ID before the container runs.
    until [ -s "$PLACE" ] && ahead >/dev/null; do
        kill -0 "$CLIENT" 2>/dev/null || exit 1
        sleep 1
    done
    while :; do
        before=$(ahead) || exit 1
        # Asked twice: one that began earlier can be listed a moment later.
        if [ "$before" -lt "$DINDCACHE_MAX_BUILDS" ] && before=$(ahead) && [ "$before" -lt "$DINDCACHE_MAX_BUILDS" ]; then
            if [ -n "$logged" ]; then log "it is this build's turn"; fi
            return
        fi
        if [ "$before" != "$logged" ]; then
            log "the daemon runs $DINDCACHE_MAX_BUILDS builds at once; waiting as number $((before - DINDCACHE_MAX_BUILDS + 1))"
        fi
        logged=$before
        sleep 1
    done
}

main "$@"
