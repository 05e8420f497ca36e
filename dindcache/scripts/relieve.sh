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

# short ROOM INODES: whether less than so many percent are free. Sets how many bytes there are, how many of them should be free,
# and what is free in percent.
short() {
    status=$(stat -f -c '%S %b %f %a %c %d' "$root") || return
    # shellcheck disable=SC2086 # numbers: of a block, blocks, free ones, those that are not root's alone; inodes, free ones
    set -- "$1" "$2" $status
    missing=$((($4 * $1 / 100 - $6) * $3))
    [ "$missing" -gt 0 ] || missing=0
    bytes=$(($4 * $3)) percent="$((100 * $6 / $4)) % of the room"
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
    wanted=$(($5 * $3 + missing))
    [ "$missing" -gt 0 ]
}

relieve() {
    short 20 10 || return 0
    [ -n "$stuck" ] || note "nearly full, $percent are free"
    # By itself the builder weighs how often against how long ago. An image and the cache of its build have the same layers: one
    # goes with the other. Without --all the builder leaves those that images have, which would free nothing.
    for hours in 168 24 2 0; do
        seconds=$((hours * 3600)) removed=some
        [ "$seconds" -ge "$job" ] || seconds=$job
        while [ -n "$removed" ] && short 25 15; do
            # A few at a time: while jobs make images there is no end of old ones.
            removed=$(AT_MOST=10 sh "${0%/*}/unused.sh" image "$seconds" "$@")
            if [ -n "$removed" ]; then
                echo "$removed" >&2
                sleep 1 # the image store containerd frees it a moment later
                short 25 15 || break
            fi
            # With --min-free-space alone, the builder of engine 27 takes all once there is room.
            case $(docker builder prune --force --filter "until=${hours}h" --max-used-space "$bytes" --min-free-space "$wanted") in
            *[!0-9.]0B) ;;
            *) sleep 1 ;;
            esac
        done
    done
    if short 20 10; then
        [ -n "$stuck" ] || note "still nearly full, $percent are free, and there is nothing to remove"
        return 1
    fi
    note "relieved, $percent are free"
}

# Process 1 ignores SIGTERM unless it says otherwise, and sees it only while it waits for what is in the background. Nothing that
# goes wrong ends this: a container that has ended makes the pod unready.
trap 'exit 143' TERM
job=$1 stuck=
shift
while :; do
    relieve "$@" &
    if wait $!; then stuck='' pause=${POLL_SECONDS:-5}; else stuck=1 pause=15; fi
    sleep "$pause" &
    wait $!
done
