#!/bin/sh
# Beside the engine: make room on its file system before that is full: relieve.sh JOB_SECONDS [REFERENCE...]
# Images, as unused.sh has them, then build cache, what is oldest of both first. The kubelet evicts a pod when its node has 15 % (where
# images are) or 10 % of the room free, or 5 % of the inodes.
set -u
root=${DATA_ROOT:-/var/lib/docker}
export DOCKER_HOST="${DOCKER_HOST:-unix:///run/dindcache/docker.sock}"
# The client writes, and has nowhere else to.
export BUILDX_CONFIG="${BUILDX_CONFIG:-/dev/shm/buildx}"
note() { echo "dindcache: $*" >&2; }

# short ROOM INODES: whether less than so many percent are free. Sets how many bytes are missing, and what is free in percent.
short() {
    status=$(stat -f -c '%S %b %f %a %c %d' "$root") || return
    # shellcheck disable=SC2086 # numbers: of a block, blocks, free ones, those that are not root's alone; inodes, free ones
    set -- "$1" "$2" $status
    missing=$((($4 * $1 / 100 - $6) * $3))
    [ "$missing" -gt 0 ] || missing=0
    percent="$((100 * $6 / $4)) % of the room"
    if [ "$7" -gt 0 ]; then # some file systems make them as they go
        percent="$percent and $((100 * $8 / $7)) % of the inodes"
        files=$(($7 * $2 / 100 - $8))
        if [ "$files" -gt 0 ]; then
            # The bytes that so many have, on average; the other way round there are too many for a number.
            # shellcheck disable=SC2017
            files=$((($4 - $5) * $3 / ($7 - $8) * files))
            [ "$files" -le "$missing" ] || missing=$files
        fi
    fi
    [ "$missing" -gt 0 ]
}

# The bytes of the build cache that no image has: the builder's limits count these. It says them as 61B or 1.109GB.
cache() {
    docker buildx du | awk '$1 == "Private:" || $1 == "Total:" {
        bytes = $2 + 0
        sub(/[0-9.]+/, "", $2)
        for (i = index("kMGT", substr($2, 1, 1)); i > 0; i--) bytes *= 1000
        printf "%.0f", bytes
        exit
    }'
}

relieve() {
    short 20 10 || return 0
    [ -n "$stuck" ] || note "nearly full, $percent are free"
    # By itself the builder weighs how often against how long ago. An image and the cache of its build have the same layers: one
    # goes with the other. Without --all the builder leaves those that images have, which would free nothing.
    for seconds in 604800 86400 "$job" 0; do
        [ "$seconds" = 0 ] || [ "$seconds" -ge "$job" ] || seconds=$job
        removed=some age=$seconds enough='25 15'
        # What builds use these days goes last, and only when the kubelet is about to evict: somebody else may fill this disk.
        if [ "$seconds" = 0 ]; then
            short 17 8 || break
            age=$job enough='20 10'
        fi
        # shellcheck disable=SC2086 # two numbers
        while [ -n "$removed" ] && short $enough; do
            # A few at a time: while jobs make images there is no end of old ones.
            removed=$(AT_MOST=10 sh "${0%/*}/unused.sh" image "$age" "$@")
            if [ -n "$removed" ]; then
                echo "$removed" >&2
                sleep 1 # the image store containerd frees it a moment later
                short $enough || break
            fi
            # Not --min-free-space: engine 27 does not know where its data-root is.
            has=$(cache)
            [ "${has:-0}" -gt 0 ] || continue
            most=$((has - missing))
            [ "$most" -gt 0 ] || most=1 # none is no limit
            case $(docker builder prune --force --filter "until=${seconds}s" --max-used-space "$most") in
            *[!0-9.]0B) ;;
            *) sleep 1 ;;
            esac
        done
    done
    if short 20 10; then
        [ -n "$stuck" ] || note "still nearly full, $percent are free, and all that could be removed is in use, young or kept"
        return 1
    fi
    note "relieved, $percent are free"
}

# Process 1 ignores SIGTERM unless it says otherwise, and sees it only while it waits for what is in the background. Nothing that
# goes wrong ends this: a container that has ended makes the pod unready.
trap 'exit 143' TERM
job=$MAX_JOB_SECONDS stuck='' rest=0 looks=0
set -- $KEEP_IMAGES
while :; do
    # Each hour: the time of an image that was pulled begins when it is first seen, so not only when room is short.
    looks=$((looks + 1))
    if [ "$looks" -ge 720 ]; then
        looks=0
        sh "${0%/*}/unused.sh" image "$(date +%s)" & # nothing is as old as that
        wait $!
    fi
    # What did not help is not tried again for a minute, or a quarter of one when it gets urgent.
    if [ "$rest" -gt 0 ] && (short 20 10); then
        rest=$((rest - 1))
        if (short 17 8); then rest=$((rest - 3)); fi
    else
        relieve "$@" &
        if wait $!; then stuck='' rest=0; else stuck=1 rest=11; fi
    fi
    sleep "${POLL_SECONDS:-5}" &
    wait $!
done
