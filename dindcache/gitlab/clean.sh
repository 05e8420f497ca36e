#!/bin/sh
# Remove what this job left on its daemon: containers, then the networks and volumes that they used. An object is the job's if it
# has the job's label, or is of the job's compose project.
#   DINDCACHE  the directory of the scripts, of the job's own client, and of `daemon`: variables by which to reach the daemon
set -eu
: "${DINDCACHE:?}" "${CI_JOB_URL:?}" "${CI_PROJECT_PATH_SLUG:?}" "${CI_JOB_ID:?}"
. "$DINDCACHE/common.sh"

# list ID COMMAND...: print the job's objects among those that a command of the client lists.
list() {
    format="$1\t{{.Label \"dindcache.job\"}}\t{{.Label \"com.docker.compose.project\"}}"
    shift
    "$DINDCACHE/client/docker" "$@" --format "$format" |
        awk -F '\t' -v "job=$CI_JOB_URL" -v "project=$project" '$2 == job || $3 == project { print $1 }'
}

# remove ID LIST REMOVE: remove the job's objects of a kind, and note those that are still there.
remove() {
    # shellcheck disable=SC2086 # the words of a command
    found=$(list "$1" $2)
    if [ -z "$found" ]; then return; fi
    # One that ends by itself at the same moment is an error here and no matter.
    # shellcheck disable=SC2086 # words, and names without spaces
    error=$("$DINDCACHE/client/docker" $3 $found 2>&1 >/dev/null) || :
    # shellcheck disable=SC2086
    found=$(list "$1" $2)
    if [ -n "$found" ]; then left="$left $found: $error"; fi
}

main() {
    # A project without the job's ID in its name can be that of other jobs too.
    project=${COMPOSE_PROJECT_NAME-}
    case "-$project-" in *[!0-9]"$CI_JOB_ID"[!0-9]*) ;; *) project=$CI_PROJECT_PATH_SLUG-$CI_JOB_ID ;; esac
    # The job's script can have changed its variables, and a hook of the pod does not know what before_script exported.
    while IFS= read -r variable; do export "${variable?}"; done <"$DINDCACHE/daemon"
    # After a restart of the daemon they are there again.
    DINDCACHE_WAIT=60 sh "$DINDCACHE/wait.sh" >/dev/null
    for try in 1 2 3; do
        left=
        remove '{{.ID}}' "ps --all" "rm --force --volumes"
        remove '{{.ID}}' "network ls" "network rm"
        remove '{{.Name}}' "volume ls" "volume rm"
        if [ -z "$left" ]; then
            rm -rf "$DINDCACHE" # so that the hook of the pod has nothing to do
            exit
        fi
        if [ "$try" -lt 3 ]; then sleep 1; fi
    done
    log "could not remove what this job left on the daemon:$left"
    exit 1
}

main "$@"
