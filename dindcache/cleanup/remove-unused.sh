#!/bin/sh
# Functions that remove leftovers of jobs, the least recently used first. Sourced by prune.sh and guard-disk.sh.
# Objects with the label dindcache.keep or with a name to keep stay.
#   KEEP_IMAGES    patterns of image names, as in `docker images --filter reference=`
#   KEEP_VOLUMES   patterns of volume names, with * and ?
#   WORK           directory for files, among them:
#     record       the record of use (last-used.sh)
# The kinds are container, network, image and two kinds of volumes. A "leftover" belongs to a container: it is anonymous, or
# holds the state of a builder of `docker buildx create`. A "volume" is any other volume.

# Small, since a job can use an object again after the check of its batch.
batch_size=10
# Whether something could not be listed or removed.
failed=0

# describe KIND: set docker's type of the object, the meaning of its age and two formats for docker: of the ID, and of a line
# with a time, the ID, the names and further criteria.
describe() {
    object=$1 age=created id_format='{{.ID}}'
    utc='UTC.Format "2006-01-02T15:04:05Z"'
    case $1 in
    container)
        format='{{.Created}} {{.ID}} {{slice .Name 1}}'
        # The number of clients that are connected to a builder.
        format="$format{{if eq (truncate .Name 17) \"/buildx_buildkit_\"}} {{len .ExecIDs}}{{end}}"
        ;;
    network) format="{{.Created.$utc}} {{.ID}} {{.Name}}" ;;
    leftover | volume)
        object=volume id_format='{{.Name}}'
        [ "$1" = leftover ] || age='last used'
        format="{{or .CreatedAt \"-\"}} {{.Name}} {{.Name}}{{range \$key, \$value := .Labels}}"
        format="$format{{if eq \$key \"com.docker.volume.anonymous\"}} anonymous{{end}}{{end}}"
        ;;
    image)
        age='last used'
        # Not Created: a fully cached build does not change it. The layers follow, each in 12 characters.
        format="{{.Metadata.LastTagTime.$utc}} {{.ID}} /{{range .RootFS.Layers}}{{slice . 7 19}}/{{end}}"
        # An image is removed with all of its names or not at all.
        format="$format{{range .RepoTags}} {{.}}{{else}}{{range .RepoDigests}} {{.}}{{end}}{{end}}"
        ;;
    esac
}

# list_unused KIND SECONDS: print removable objects that were not used for so long, the least recently used first. Each line has
# the time of the last use in seconds, then the fields of the format.
list_unused() {
    describe "$1"
    if ! list "$1" >"$WORK/all" || ! kept "$1" >"$WORK/kept" || ! sort -u "$WORK/all" >"$WORK/ids" ||
        ! inspect "$object" "$format" <"$WORK/ids" >"$WORK/found"; then
        failed=1
        return 1
    fi
    last_use "$1" <"$WORK/found" >"$WORK/timed"
    [ "$1" != image ] || { last_use_as_base <"$WORK/timed" >"$WORK/timed.new" && mv "$WORK/timed.new" "$WORK/timed"; }
    awk -v "before=$(($(date +%s) - $2))" 'file == "kept" { kept[$1]; next } $1 < before && !($3 in kept)' \
        file=kept "$WORK/kept" file=timed "$WORK/timed" | sort -n
}

# last_use KIND: print each line on standard input whose last use is known, after the time of that use in seconds.
last_use() {
    awk -v "kind=$1" -v "patterns=$KEEP_VOLUMES" '
        BEGIN {
            gsub(/[.]/, "[.]", patterns)
            gsub(/[*]/, ".*", patterns)
            gsub(/[?]/, ".", patterns)
            gsub(/ +/, "|", patterns)
        }
        file == "record" { used[$1] = $2; next }
        # A builder with connected clients.
        kind == "container" && $4 > 0 { next }
        kind == "leftover" || kind == "volume" {
            belongs = $4 == "anonymous" || $2 ~ /^buildx_buildkit_.*_state$/
            if (belongs != (kind == "leftover") || $2 ~ ("^(" patterns ")$")) next
        }
        NF > 0 {
            time = seconds($1)
            key = kind "." $2
            if (key in used) { if (used[key] > time) time = used[key] }
            else if (kind == "volume" || time < 0) { # the engine does not know the last use
                if (!("since" in used)) next
                if (used["since"] > time) time = used["since"]
            }
            if (time >= 0) printf "%.0f %s\n", time, $0
        }
        # seconds: parse a time such as 2026-11-24T18:40:10.123Z or 2026-11-24T19:40:10+01:00. The engine can have a time zone.
        function seconds(text, year, month, days, offset) {
            if (text !~ /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]/) return -1
            year = substr(text, 1, 4) + 0
            month = substr(text, 6, 2) + 0
            if (month < 3) { year--; month += 12 } # so that the last day of a year is the leap day
            days = 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * month - 457) / 5) - 719469
            days += substr(text, 9, 2)
            if (match(text, /[-+][0-9][0-9]:[0-9][0-9]$/))
                offset = (substr(text, RSTART + 1, 2) * 60 + substr(text, RSTART + 4, 2)) * (substr(text, RSTART, 1) "60")
            return days * 86400 + substr(text, 12, 2) * 3600 + substr(text, 15, 2) * 60 + substr(text, 18, 2) - offset
        }' file=record "$WORK/record" file=found -
}

# last_use_as_base: print the lines of images on standard input. The last use of an image also counts as a use of its base,
# since a build uses its base without an event, and removing a base would free nothing while they share layers. Of several
# images with the same layers, the newest is the base.
last_use_as_base() {
    awk '
        {
            time[NR] = $1
            layers[NR] = $4
            line[NR] = substr($0, length($1) + 2)
            if (!($4 in newest) || $1 > time[newest[$4]]) newest[$4] = NR
        }
        END {
            for (i = 1; i <= NR; i++)
                for (base = layers[i]; length(base) > 14; ) {
                    base = substr(base, 1, length(base) - 13) # without the last layer
                    if (base in newest && time[i] > used[base]) used[base] = time[i]
                }
            for (i = 1; i <= NR; i++) {
                if (newest[layers[i]] == i && used[layers[i]] > time[i]) time[i] = used[layers[i]]
                printf "%.0f %s\n", time[i], line[i]
            }
        }'
}

# list KIND: print the IDs of objects that can be removed once they are old.
list() {
    case $1 in
    container) docker container ls --all --quiet --no-trunc ;;
    network) docker network ls --quiet --no-trunc --filter type=custom --filter dangling=true ;;
    leftover | volume) docker volume ls --quiet --filter dangling=true ;;
    # The client of Docker 29 lists untagged images only with --all, which also lists intermediate images of the old builder.
    image) docker image ls --quiet --no-trunc && docker image ls --quiet --no-trunc --filter dangling=true ;;
    esac
}

# kept KIND: print the IDs of objects that stay.
kept() {
    case $1 in
    container) docker container ls --all --quiet --no-trunc --filter label=dindcache.keep ;;
    network) docker network ls --quiet --no-trunc --filter label=dindcache.keep ;;
    leftover | volume) docker volume ls --quiet --filter label=dindcache.keep ;;
    image)
        # With --all, also images that have a digest and no tag.
        docker image ls --all --quiet --no-trunc --filter label=dindcache.keep || return
        for reference in $KEEP_IMAGES; do
            docker image ls --all --quiet --no-trunc --filter "reference=$reference" || return
        done
        # The engine refuses to remove only the last name of an image that a container uses.
        in_use >"$WORK/in-use" && used_now <"$WORK/in-use" >"$WORK/now" && sed -n 's/^image\.\(.*\) .*/\1/p' "$WORK/now"
        ;;
    esac
}

# remove_next: remove the objects on the next lines of standard input, which list_unused printed, unless they are in use by now.
# Print a line for each. Fail at the end of the list.
remove_next() {
    count=0
    while [ "$count" -lt "$batch_size" ] && read -r line; do
        printf '%s\n' "$line"
        count=$((count + 1))
    done >"$WORK/batch"
    [ "$count" -gt 0 ] || return
    if ! unchanged >"$WORK/next" || ! remove || ! inspect_again "$id_format" >"$WORK/left"; then
        failed=1
        return 1
    fi
    # In UTC, regardless of the container's time zone.
    TZ=UTC0 awk -v "object=$object" -v "age=$age" '
        file == "left" { left[$1]; next }
        $3 in left { next }
        {
            id = $3
            name = $4
            time = strftime("%Y-%m-%dT%H:%M:%SZ", $1)
            if (object == "network") name = rest(3) # it can have spaces
            if (object == "image") name = rest(4)
            printf "removed %s %s (%s %s)\n", object, name == "" ? id : name, age, time
        }
        function rest(words, text) {
            text = $0
            while (words-- > 0) sub(/^[^ ]+ ?/, "", text)
            return text
        }' file=left "$WORK/left" file=next "$WORK/next"
}

# inspect_again FORMAT: print the objects of the batch that still exist.
inspect_again() {
    cut -d ' ' -f 3 "$WORK/batch" >"$WORK/ids"
    inspect "$object" "$1" <"$WORK/ids"
}

# unchanged: print the lines of the batch that are still true.
unchanged() {
    inspect_again "$format" >"$WORK/again" || return
    awk 'file == "again" { same[$0]; next } { line = $0; sub(/^[^ ]+ /, "", line) } line in same' \
        file=again "$WORK/again" file=batch "$WORK/batch" >"$WORK/same"
    while read -r line; do
        if [ "$object" = network ]; then
            # The engine does not count a container that has not started yet, which knows the network only by name.
            name=${line#* * * } network=${line#* * }
            users=$(docker container ls --all --quiet --filter "network=${network%% *}" --filter "network=$name") || return
            [ -z "$users" ] || continue
        fi
        printf '%s\n' "$line"
    done <"$WORK/same"
}

# remove: remove the unchanged objects of the batch. An object that is in use or gone by now is not a failure.
remove() {
    options=
    [ "$object" != container ] || options='--force --volumes'
    # Removal by ID leaves a name that has moved in the meantime. The engine rejects it for an image with several names.
    # shellcheck disable=SC2086 # two words or none
    errors=$(
        awk -v "object=$object" 'object == "image" && NF > 5 { for (i = 5; i <= NF; i++) print $i; next } { print $3 }' "$WORK/next" |
            xargs -r docker "$object" rm $options 2>&1 >/dev/null
    ) && return
    errors=$(
        printf '%s\n' "$errors" | grep -Eiv \
            -e '^$|^exit status' -e 'no such (image|container|volume)|network .* not found' \
            -e 'conflict|in use|is running|already in progress|active endpoints'
    ) || return 0
    log "docker $object rm: $errors"
    # shellcheck disable=SC2034 # for prune.sh
    failed=1
}
