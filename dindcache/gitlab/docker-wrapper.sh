#!/bin/sh
# The job's docker: containers, networks and volumes carry the job's label, cache mounts are the project's own, and what a
# restart of the daemon broke is done again.
set -eu
. "$DINDCACHE/common.sh"

again=
case "${1-} ${2-}" in
"run "* | "create "*)
    touch "$DINDCACHE/made"
    command=$1
    shift
    set -- "$command" --label "dindcache.job=$CI_JOB_URL" "$@"
    ;;
"container run" | "container create" | "network create" | "volume create")
    touch "$DINDCACHE/made"
    command=$1 subcommand=$2
    shift 2
    set -- "$command" "$subcommand" --label "dindcache.job=$CI_JOB_URL" "$@"
    ;;
"build "*)
    again=yes
    shift
    set -- build --build-arg "BUILDKIT_CACHE_MOUNT_NS=$CI_PROJECT_ID" "$@"
    ;;
"image build" | "builder build" | "buildx build" | "compose build")
    again=yes
    command=$1
    shift 2
    set -- "$command" build --build-arg "BUILDKIT_CACHE_MOUNT_NS=$CI_PROJECT_ID" "$@"
    ;;
"push "* | "pull "* | "login "* | "image push" | "image pull" | "compose push" | "compose pull" | "buildx bake") again=yes ;;
"compose "*) touch "$DINDCACHE/made" ;; # which labels what it makes with its project
esac
# Standard input is gone once it was read.
for argument in "$@"; do
    case $argument in
    - | --password-stdin) again= ;;
    esac
done

# A job that is cancelled ends here: docker run would hand the signal to its container, which may be deaf to it.
trap 'kill -KILL "$child"; exit 143' INT TERM
exec 3<&0 # what runs beside a shell has /dev/null for 0
for try in 1 2 3; do
    status=0
    "$DINDCACHE/docker" "$@" <&3 3<&- &
    child=$!
    wait "$child" || status=$?
    if [ "$status" -eq 0 ]; then exit; fi
    started=$(WAIT_SECONDS=$DINDCACHE_WAIT sh "$DINDCACHE/wait.sh")
    # The daemon is the one that it was, so the failure is the command's own.
    if [ "$started" = "$(cat "$DINDCACHE/started")" ]; then exit "$status"; fi
    echo "$started" >"$DINDCACHE/started"
    if [ -z "$again" ] || [ "$try" -eq 3 ]; then break; fi
    log "the daemon was restarted, so once more: docker $1"
done
log "the daemon was restarted, and docker $1 ended with $status"
exit 75 # EX_TEMPFAIL: on which GitLab tries the job again
