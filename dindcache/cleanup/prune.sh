#!/bin/sh
# Remove leftovers of jobs, but never the build cache. After a failure, continue, and fail at the end.
#   MAX_JOB_SECONDS   age above which containers, networks and volumes of containers are removed
#   UNUSED_SECONDS    time without use after which images and other volumes are removed
#   KEEP_…            as in remove-unused.sh
set -euf
: "${MAX_JOB_SECONDS:?}" "${UNUSED_SECONDS:?}" "${KEEP_IMAGES?}" "${KEEP_VOLUMES?}"
. "${0%/*}/common.sh"
. "${0%/*}/last-used.sh"
. "${0%/*}/remove-unused.sh"

# remove_unused KIND SECONDS: remove objects that were not used for so long.
remove_unused() {
    list_unused "$1" "$2" >"$WORK/unused" || return 0
    while remove_next >"$WORK/step"; do
        cat "$WORK/step"
        cat "$WORK/step" >>"$WORK/removed"
    done <"$WORK/unused"
}

# read_record: write the engine's record of use, updated with the events since then, to a file.
read_record() {
    if ! stored_record >"$WORK/stored"; then failed=1; fi
    written=$(sed -n 's/^written //p' "$WORK/stored")
    if [ -n "$written" ]; then
        # The engine remembers 256 events. Those of this second count too, such as the end of a container that was just removed.
        use_events --since "$written" --until "$(($(date +%s) + 1))" >"$WORK/recent" || failed=1
        used_now <"$WORK/recent" >>"$WORK/stored" || failed=1
    else
        log "no disk guard records the use of images and volumes: volumes with a name stay, and so do images without a time"
    fi
    merge_record <"$WORK/stored" >"$WORK/record"
}

# record_run: leave the result of this run on the engine, for its metrics: the labels of a volume, which count the removed objects
# of all runs. The previous one is removed last, so that the counts survive a full disk.
record_run() {
    docker volume ls --quiet --filter label=dindcache.prune >"$WORK/previous" || return
    volume_labels <"$WORK/previous" | sed -n 's/^dindcache\.removed\.//p' >"$WORK/counts"
    awk '$1 == "removed" { print $2, 1 }' "$WORK/removed" >>"$WORK/counts"
    time=$(date +%s)
    # shellcheck disable=SC2046 # a list of words
    docker volume create --label=dindcache.keep "--label=dindcache.prune=$time" "--label=dindcache.failed=$failed" \
        $(awk '{ count[$1] += $2 } END { for (kind in count) print "--label=dindcache.removed." kind "=" count[kind] }' "$WORK/counts") \
        "dindcache-prune-$time" >/dev/null && grep -vx "dindcache-prune-$time" "$WORK/previous" | xargs -r docker volume rm --force >/dev/null
}

main() {
    WORK=$(mktemp -d /dev/shm/dindcache.XXXXXX)
    : >"$WORK/record"
    : >"$WORK/removed"
    # Containers first: they use the other objects.
    remove_unused container "$MAX_JOB_SECONDS"
    remove_unused network "$MAX_JOB_SECONDS"
    remove_unused leftover "$MAX_JOB_SECONDS"
    read_record
    remove_unused volume "$UNUSED_SECONDS"
    remove_unused image "$UNUSED_SECONDS"
    record_run || log "the result of this run is not recorded"
    left=$(docker system df --format '{{lower .Type}} {{.TotalCount}}, {{.Size}};')
    # shellcheck disable=SC2086 # lines that become one
    echo left: $left
    exit "$failed"
}

main "$@"
