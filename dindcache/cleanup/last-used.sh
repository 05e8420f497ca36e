#!/bin/sh
# Functions for the record of use: the time at which a container last used an image or a volume, or at which an image was last
# pulled, loaded, pushed or saved. The engine does not store these times. Sourced by prune.sh and guard-disk.sh.
# The disk guard keeps the record as labels of a volume, since clients of the engine can read them and they survive the pod.
# Labels cannot be changed, so each version of the record is a new volume, or several:
#   dindcache.last-used=SECONDS               time up to which the version has all uses
#   dindcache.since=SECONDS                   a volume that is not listed has not been used since then
#   image.ID=SECONDS and volume.NAME=SECONDS  time of the last use
# A file has a line for each label: written SECONDS, since SECONDS, image.ID SECONDS, volume.NAME SECONDS.
#   WORK   directory for files
# The disk guard writes a version every hour. If the newest is older than this, the guard is gone, and volumes that are not
# listed can have been used.
record_valid_seconds=7200

# merge_record: print the lines on standard input as one record, with the newest time of each key.
merge_record() {
    awk 'NF == 2 && $2 ~ /^[0-9]+$/ && $2 > time[$1] + 0 { time[$1] = $2 } END { for (key in time) print key, time[key] }'
}

# volume_labels: print the labels of the volumes on standard input, each with its value.
volume_labels() { inspect volume "{{range \$key, \$value := .Labels}}{{\$key}} {{\$value}}{{println}}{{end}}"; }

# stored_record: print the record that the engine has. If no disk guard keeps it, it has no volumes and no line "since".
stored_record() {
    # The disk guard can replace a version between the two commands.
    for _ in 1 2 3; do
        docker volume ls --quiet --filter label=dindcache.last-used >"$WORK/versions" &&
            volume_labels <"$WORK/versions" >"$WORK/labels" || return
        [ "$(grep -c '^dindcache.last-used ' "$WORK/labels")" = "$(grep -c . "$WORK/versions")" ] || continue
        sed 's/^dindcache\.last-used /written /; s/^dindcache\.since /since /; /^dindcache\./d' "$WORK/labels" | merge_record |
            awk -v "valid=$(($(date +%s) - record_valid_seconds))" '
                $1 ~ /^image\./ { print; next }
                $1 == "written" { is_valid = $2 >= valid }
                { others[$0] }
                END { if (is_valid) for (line in others) print line }'
        return
    done
    return 1
}

# use_events [OPTION...]: print the engine's events that are uses, as "image REFERENCE" or "volume NAME". The engine itself
# keeps the time of a tag and the time at which a volume was created.
use_events() {
    event='{{if eq .Type "container"}}image {{index .Actor.Attributes "image"}}'
    event="$event{{else if eq .Type \"image\"}}image {{.Actor.ID}}"
    event="$event{{else if or (eq .Action \"mount\") (eq .Action \"unmount\")}}volume {{.Actor.ID}}{{end}}"
    for filter in type=container type=image type=volume event=create event=start event=die event=destroy event=pull \
        event=load event=import event=push event=save event=mount event=unmount; do
        set -- "$@" --filter "$filter"
    done
    docker events --format "$event" "$@"
}

# in_use: print the images and volumes that existing containers use, in the format of use_events.
in_use() {
    uses='image {{.Image}}{{println}}{{range .Mounts}}{{if or (eq .Type "volume") (eq .Type "image")}}'
    uses="$uses{{.Type}} {{.Name}}{{println}}{{end}}{{end}}"
    docker container ls --all --quiet --no-trunc >"$WORK/containers" && inspect container "$uses" <"$WORK/containers"
}

# used_now: convert lines of use_events on standard input to a record with the current time.
used_now() {
    now=$(date +%s)
    sort -u >"$WORK/names"
    sed -n "s/^volume \(..*\)/volume.\1 $now/p" "$WORK/names"
    # The engine resolves the names of images.
    sed -n 's/^image \(..*\)/\1/p' "$WORK/names" | inspect image "image.{{.ID}} $now"
}
