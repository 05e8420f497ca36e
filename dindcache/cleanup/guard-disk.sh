#!/bin/sh
# Next to the engine: reclaim space on its file system before it is full, and record the use of images and volumes.
# Images are removed first (remove-unused.sh), then build cache, each with the least recently used first. The kubelet evicts a
# pod when its node has less than 15 % (where images are) or 10 % of the space free, or 5 % of the inodes.
#   LOW_PERCENT, ENOUGH_PERCENT                 reclaim below the first, until the second is free: percent of space and inodes
#   URGENT_PERCENT, URGENT_ENOUGH_PERCENT       the same for recently used build cache
#   AGES_SECONDS                                times without use before removal, in this order; the last is MAX_JOB_SECONDS
#   MAX_JOB_SECONDS, KEEP_…                     as in Retention and remove-unused.sh
#   USE_PRECISION_SECONDS, RECORD_DELAY_SECONDS  as in remember-use.sh
#   DATA_ROOT                                   defaults to /var/lib/docker
#   POLL_SECONDS                                defaults to 5
set -uf
: "${LOW_PERCENT:?}" "${ENOUGH_PERCENT:?}" "${URGENT_PERCENT:?}" "${URGENT_ENOUGH_PERCENT:?}" "${AGES_SECONDS:?}"
: "${USE_PRECISION_SECONDS:?}" "${RECORD_DELAY_SECONDS:?}" "${KEEP_IMAGES?}" "${KEEP_VOLUMES?}"
. "${0%/*}/common.sh"
. "${0%/*}/bytes.sh"
. "${0%/*}/last-used.sh"
. "${0%/*}/remember-use.sh"
. "${0%/*}/remove-unused.sh"
root=${DATA_ROOT:-/var/lib/docker}
poll_seconds=${POLL_SECONDS:-5}
export DOCKER_HOST="${DOCKER_HOST:-unix:///run/dindcache/docker.sock}"
# The client writes, but the rest of its file system is read-only.
export BUILDX_CONFIG="${BUILDX_CONFIG:-/dev/shm/buildx}"
# In polls: after a failure, the guard tries again after a minute, or after a quarter of one when it is urgent.
rest_looks=11 urgent_speed=4

# is_short "SPACE INODES": whether less than so many percent are free. Set missing to the missing bytes, and percent to the
# percentages as text.
is_short() {
    status=$(stat -f -c '%S %b %f %a %c %d' "$root") || return
    # shellcheck disable=SC2086 # numbers: block size; blocks, free ones, those not reserved for root; inodes, free ones
    set -- $1 $status
    missing=$((($4 * $1 / 100 - $6) * $3))
    [ "$missing" -gt 0 ] || missing=0
    percent="$((100 * $6 / $4)) % of the space"
    if [ "$7" -gt 0 ]; then # some file systems create inodes as they need them
        percent="$percent and $((100 * $8 / $7)) % of the inodes"
        files=$(($7 * $2 / 100 - $8))
        if [ "$files" -gt 0 ]; then
            # The average size of so many files. In another order, the number would be too large.
            # shellcheck disable=SC2017
            files=$((($4 - $5) * $3 / ($7 - $8) * files))
            [ "$files" -le "$missing" ] || missing=$files
        fi
    fi
    [ "$missing" -gt 0 ]
}

# cache_bytes: print the size of the build cache that no image shares, to which the builder's limits apply.
cache_bytes() {
    docker buildx du | awk "$BYTES"'
        $1 == "Private:" || $1 == "Total:" { printf "%.0f", bytes($2); exit }'
}

# remove_cache SECONDS: remove build cache that no build has used for so long, as many bytes as are missing.
remove_cache() {
    size=$(cache_bytes)
    [ "${size:-0}" -gt 0 ] || return 0
    # Not --min-free-space: engine 27 does not know where its data root is.
    most=$((size - missing))
    [ "$most" -gt 0 ] || most=1 # zero means no limit
    # Without --all, the builder leaves records that images share, whose removal would free nothing.
    freed=$(docker builder prune --force --filter "until=$1s" --max-used-space "$most")
    case $freed in
    *[!0-9.]0B) ;;
    *)
        tell freed "${freed##*[!0-9.kMGTB]}"
        sleep 1
        ;;
    esac
}

# reclaim IMAGE_SECONDS CACHE_SECONDS "SPACE INODES": remove images and build cache that were not used for so long, until so
# many percent are free.
reclaim() {
    before=$(($(date +%s) - $1))
    awk -v "after=$tried" -v "before=$before" '$1 >= after && $1 < before' "$WORK/unused" >"$WORK/step"
    exec 4<"$WORK/step"
    tried=$before removed=1
    # An image and the cache of its build share their layers: removing only one frees nothing.
    while [ -n "$removed" ] && is_short "$3"; do
        removed=
        if remove_next <&4 >"$WORK/removed"; then
            removed=1
            if [ -s "$WORK/removed" ]; then
                cat "$WORK/removed" >&2
                tell removed image "$(wc -l <"$WORK/removed")"
                sleep 1 # the containerd image store frees the space a moment later
                is_short "$3" || return
            fi
        fi
        remove_cache "$2"
    done
}

# relieve: reclaim space if it is short. Fail if that was not enough.
relieve() {
    is_short "$LOW_PERCENT" || return 0
    [ -n "$stuck" ] || log "nearly full, $percent are free"
    list_unused image "$MAX_JOB_SECONDS" >"$WORK/unused"
    tried=0
    for seconds in $AGES_SECONDS; do reclaim "$seconds" "$seconds" "$ENOUGH_PERCENT"; done
    # Recently used build cache goes only when the kubelet is about to evict the pod: something else can be filling this disk.
    if is_short "$URGENT_PERCENT"; then reclaim "$MAX_JOB_SECONDS" 0 "$URGENT_ENOUGH_PERCENT"; fi
    if is_short "$LOW_PERCENT"; then
        [ -n "$stuck" ] || log "still nearly full, $percent are free, and all that could be removed is in use, young or kept"
        tell reclaim short
        return 1
    fi
    log "reclaimed space, $percent are free"
    tell reclaim enough
}

# watch_disk: relieve at each poll, but less often while that does not help.
watch_disk() {
    if [ "$rest" -gt 0 ] && (is_short "$LOW_PERCENT"); then
        rest=$((rest - 1))
        if (is_short "$URGENT_PERCENT"); then rest=$((rest - urgent_speed + 1)); fi
    elif relieve; then
        stuck='' rest=0
    else
        stuck=1 rest=$rest_looks
    fi
}

# No failure ends this script: a terminated container makes the pod unready.
main() {
    WORK=$(mktemp -d /dev/shm/dindcache.XXXXXX) || exit
    : >"$WORK/record"
    date +%s >"$WORK/followed"
    stuck='' rest=0 following='' ending=''
    # While the daemon drains, jobs still use it. The guard ends with the engine.
    trap 'ending=1' TERM
    trap 'following=' USR1
    while :; do
        if [ -z "$following" ]; then
            [ -z "$ending" ] || exit 143
            following=1
            follow_use &
        fi
        remember_use
        watch_disk
        # A signal is handled between two commands, or during wait.
        sleep "$poll_seconds" &
        wait $!
        [ -z "$ending" ] || poll_seconds=1
    done
}

main "$@"
