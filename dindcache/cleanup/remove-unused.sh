#!/bin/sh
# Remove what jobs left behind, the oldest first: unused.sh container|network|volume|image SECONDS [REFERENCE...]
# Never by force, and nothing that is younger than that: a job may be between its `docker create` and `docker start`, or its build
# and its push. What has the label dindcache.keep stays, and an image that a REFERENCE names, as `docker images` has patterns.
# AT_MOST ends it after so many. Prints a line for each, and fails when it could not.
set -eu
kind=$1 seconds=$2 failed=0 removed=0
shift 2
before=$(date -u -d "@$(($(date +%s) - seconds))" +%Y-%m-%dT%H:%M:%SZ)
# All times are in this form, so that they sort.
utc='UTC.Format "2006-01-02T15:04:05Z"'

list() { docker "$kind" ls --quiet "$@"; }
kept=
case $kind in
container)
    what='not running since'
    format='{{if eq (slice .State.StartedAt 0 4) "0001"}}{{slice .Created 0 19}}{{else}}{{slice .State.FinishedAt 0 19}}{{end}}Z {{.ID}} {{slice .Name 1}}'
    all=$(list --all --no-trunc --filter status=created --filter status=exited --filter status=dead)
    kept=$(list --all --no-trunc --filter label=dindcache.keep)
    ;;
network)
    what='made'
    format="{{.Created.$utc}} {{.ID}} {{.Name}}"
    all=$(list --no-trunc --filter type=custom --filter dangling=true)
    kept=$(list --no-trunc --filter label=dindcache.keep)
    ;;
volume)
    what='made'
    format='{{.CreatedAt}} {{.Name}} {{.Name}}'
    all=$(list --filter dangling=true --filter label=com.docker.volume.anonymous)
    kept=$(list --filter label=dindcache.keep)
    ;;
image)
    what='last tagged'
    # Not Created: a build that is all cached leaves that as it was. An image is removed with all of its names or not at all.
    format="{{.Metadata.LastTagTime.$utc}} {{.ID}}{{range .RepoTags}} {{.}}{{else}}{{range .RepoDigests}} {{.}}{{end}}{{end}}"
    # Without --all a client of 29 lists none without a name, with it the parts of what an old builder made come too.
    all=$(list --no-trunc && list --no-trunc --filter dangling=true)
    kept=$(list --no-trunc --all --filter label=dindcache.keep)
    for reference; do kept="$kept $(list --no-trunc --filter "reference=$reference")"; done
    ;;
*)
    echo "dindcache: unused.sh knows no $kind" >&2
    exit 2
    ;;
esac

# inspect KIND FORMAT NAME...: what vanished meanwhile is not missed.
inspect() {
    of=$1 as=$2
    shift 2
    [ $# -gt 0 ] || return 0
    { errors=$(docker "$of" inspect --format "$as" "$@" 2>&1 >&3) && return; } 3>&1
    ! printf '%s\n' "$errors" | grep -Eiv 'no such (image|container|volume)|network .* not found' >&2
}

if [ "$kind" = image ]; then
    # Of what a container has, the engine refuses to remove the last name alone.
    containers=$(docker container ls --all --quiet --no-trunc)
    # shellcheck disable=SC2086 # a list of words
    kept="$kept $(inspect container '{{.Image}}' $containers)"
fi

# attempt WORD...: run docker. What is in use or gone by now is no failure.
attempt() {
    if said=$(docker "$@" 2>&1); then return; fi
    case $said in
    *[Nn]"o such image"* | *[Nn]"o such container"* | *[Nn]"o such volume"* | *" not found"*) ;;
    *conflict* | *" in use"* | *"container is running"* | *"already in progress"* | *"active endpoints"*) ;;
    *)
        echo "dindcache: docker $*: $said" >&2
        failed=1
        ;;
    esac
    return 1
}

# remove ID [NAME...]
remove() {
    case $kind in
    image)
        # By its ID, a name that has moved meanwhile is not taken with it; the engine refuses that for one with several names.
        if attempt image rm "$1"; then return; fi
        [ $# -gt 2 ] || return
        shift
        attempt image rm "$@"
        ;;
    network)
        # The engine does not count a container that is not started yet, and that has only the name.
        if users=$(docker container ls --all --quiet --filter "network=$1" --filter "network=$2"); then
            [ -z "$users" ] && attempt network rm "$1"
        else
            failed=1
            return 1
        fi
        ;;
    *) attempt "$kind" rm "$1" ;;
    esac
}

# The image store overlay2 notes no time for what was pulled, or built without a name. Its time begins when it is first seen:
# now, for a tag sets it. What has no name keeps this one, from the others it is taken again.
see() {
    untagged=dindcache.invalid/untagged:$(printf '%.12s' "${2#sha256:}")
    attempt image tag "$2" "$untagged" || return 0
    [ $# = 2 ] || attempt image rm "$untagged" || :
}

# shellcheck disable=SC2086 # a list of words
found=$(inspect "$kind" "$format" $all)
# shellcheck disable=SC2086,SC2116 # lines that become words
kept=" $(echo $kept) "
while read -r line; do
    # shellcheck disable=SC2086 # a time, an ID and names
    set -- $line
    [ $# -gt 0 ] || continue # an empty list
    case $kept in *" $2 "*) continue ;; esac
    case $1 in
    0001-*)
        see "$@"
        continue
        ;;
    *Z) ;;
    *) continue ;; # of another time zone: it does not sort
    esac
    expr "$1" \< "$before" >/dev/null || continue
    # A job may have tagged it since.
    again=$(inspect "$kind" "$format" "$2") || failed=1
    [ "$again" = "$line" ] || continue
    time=$1
    shift
    if remove "$@"; then
        [ $# = 1 ] || shift
        echo "removed $kind $* ($what $time)"
        removed=$((removed + 1))
        [ "$removed" != "${AT_MOST:-}" ] || break
    fi
done <<END
$(printf '%s\n' "$found" | sort -u)
END
exit "$failed"
