#!/bin/sh
# Functions that keep the record of use (last-used.sh) up to date. Sourced by guard-disk.sh.
#   WORK                       directory for files, among them:
#     record                   the record
#     used                     the uses since it was written, in the format of use_events
#     followed                 the time up to which the events of the engine are known
#   ending                     whether the pod is terminating
#   USE_PRECISION_SECONDS      a further use within this time is not recorded
#   RECORD_DELAY_SECONDS       a use is recorded after this time, together with others
scan_seconds=3600
# Many more than a daemon has, and the number of them that fits in the arguments of a command.
most_entries=50000 part_entries=5000
scan_at=0 write_at=0 recorded_at=0 unwritten=

# follow_use: add the uses that the engine's events report to the file `used`, until the engine ends. Then signal the main
# process.
follow_use() {
    use_events --since "$(cat "$WORK/followed")" 2>/dev/null | {
        seen=' ' forget_at=0
        while read -r kind name; do
            read -r uptime _ </proc/uptime
            if [ "${uptime%.*}" -ge "$forget_at" ] || [ "${#seen}" -gt 100000 ]; then
                seen=' ' forget_at=$((${uptime%.*} + USE_PRECISION_SECONDS))
            fi
            case $seen in *" $kind/$name "*) continue ;; esac
            seen="$seen$kind/$name "
            echo "$kind $name" >>"$WORK/used"
        done
    }
    date +%s >"$WORK/followed"
    kill -USR1 $$
}

# remember_use: update the record when it is due.
remember_use() {
    read -r uptime _ </proc/uptime
    uptime=${uptime%.*}
    # The engine may not have started yet.
    [ -s "$WORK/record" ] || begin_record || return 0
    if [ "$uptime" -ge "$scan_at" ]; then
        { scan && update_record; } || return 0
        scan_at=$((uptime + scan_seconds))
    elif { [ -s "$WORK/used" ] || [ -n "$unwritten" ]; } && { [ "$uptime" -ge "$write_at" ] || [ -n "$ending" ]; }; then
        update_record || return 0
    else
        return 0
    fi
    write_at=$((uptime + RECORD_DELAY_SECONDS))
    if error=$(write_record 2>&1); then
        unwritten=
    else
        [ -n "$unwritten" ] || log "the record of use is not written: $error"
        unwritten=1
    fi
}

# begin_record: start from the record that the engine has. Fail while the engine does not answer.
begin_record() {
    stored_record >"$WORK/stored" 2>/dev/null || return
    grep -q '^since ' "$WORK/stored" || {
        log "the use of images and volumes is recorded from now on"
        date '+since %s' >>"$WORK/stored"
    }
    mv "$WORK/stored" "$WORK/record"
}

# update_record: add the uses since the last update. Fail while the engine does not answer.
update_record() {
    time=$(date +%s)
    docker volume ls --quiet >"$WORK/volumes" 2>/dev/null || return
    # follow_use opens the file for each line, and has written the line by the time the engine answers again.
    : >>"$WORK/used"
    mv "$WORK/used" "$WORK/using" && used_now <"$WORK/using" | cat - "$WORK/record" | merge_record >"$WORK/merged" &&
        mv "$WORK/merged" "$WORK/record" && recorded_at=$time
}

# scan: add objects that are in use, and drop those that no longer exist. Fail while the engine does not answer.
scan() {
    in_use >"$WORK/using" 2>/dev/null && docker image ls --all --quiet --no-trunc >"$WORK/images" &&
        docker volume ls --quiet >"$WORK/volumes" || return
    used_now <"$WORK/using" | cat - "$WORK/record" | merge_record >"$WORK/merged"
    { sed 's/^/image./' "$WORK/images" && sed 's/^/volume./' "$WORK/volumes"; } >"$WORK/existing"
    awk 'file == "existing" { exists[$1]; next } /^since / || $1 in exists' \
        file=existing "$WORK/existing" file=record "$WORK/merged" >"$WORK/record.new" && mv "$WORK/record.new" "$WORK/record"
}

# write_record: write a version of the record, then remove the previous ones. In this order, the record survives a full disk.
write_record() {
    docker volume ls --quiet --filter label=dindcache.last-used >"$WORK/previous" || return
    time=$(date +%s) part=0
    while grep -q "^dindcache-last-used-$time\." "$WORK/previous"; do
        sleep 1 # each version has a name of its own
        time=$(date +%s)
    done
    sort -k 2,2nr "$WORK/record" | awk -v "most=$most_entries" '
        $1 == "since" { since = $2 > since ? $2 : since; next }
        ++count[substr($1, 1, 1)] <= most { print; next }
        # Volumes that are not listed count as used then.
        /^volume/ && $2 > since { since = $2 }
        END { print "since", since }' >"$WORK/bounded" && mv "$WORK/bounded" "$WORK/record"
    rm -rf "$WORK/parts" && mkdir "$WORK/parts" || return
    sed 's/^since /dindcache.since /; /^written /d; s/^/--label=/; s/ /=/' "$WORK/record" |
        awk -v "path=$WORK/parts/" -v "most=$part_entries" '{ print >(path int((NR - 1) / most)) }'
    while [ -e "$WORK/parts/$part" ]; do
        # shellcheck disable=SC2046 # a list of words
        docker volume create --label=dindcache.keep "--label=dindcache.last-used=$recorded_at" $(cat "$WORK/parts/$part") \
            "dindcache-last-used-$time.$part" >/dev/null || return
        part=$((part + 1))
    done
    xargs -r docker volume rm --force <"$WORK/previous" >/dev/null
}
