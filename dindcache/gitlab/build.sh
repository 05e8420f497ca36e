#!/bin/sh
# Build an image and push it, under a name that is the job's own and under those that were asked for.
# Names begin with dindcache_, since an assignment to an exported variable of the job would change a build argument.
set -eu
. "$DINDCACHE/common.sh"
set -f # words are no patterns
dindcache_repository=${DINDCACHE_BUILD_IMAGE-${CI_REGISTRY_IMAGE-}}
dindcache_context=${DINDCACHE_BUILD_CONTEXT-.}
dindcache_result=${DINDCACHE_BUILD_RESULT-DINDCACHE_IMAGE}
dindcache_record=$DINDCACHE/build.json
refuse() {
    log "$*"
    exit 64 # EX_USAGE
}

# is PATTERN TEXT: whether a text of one line matches.
is() {
    case $2 in *"
"*) return 1 ;; esac
    printf '%s\n' "$2" | grep -Eqx "$1"
}

# need NAME REASON: refuse if a variable has no value.
need() { eval "[ -n \"\${$1-}\" ]" || refuse "the variable $1 is needed $2, and this job does not have it"; }

# log_in REGISTRY USER PASSWORD: by standard input, which a trace of the shell does not print.
log_in() {
    docker login --username "$2" --password-stdin "$1" <<END
$3
END
}

# report: say in one line what a developer wants to know.
report() {
    set -- "$(sed -n 's/.*"buildx\.build\.ref": *"\(.*\)".*/\1/p' "$dindcache_record")"
    # shellcheck disable=SC2046 # three numbers
    set -- $(build_steps "${1##*/}")
    dindcache_size=$(docker image inspect --format '{{.Size}}' "$dindcache_image" 2>/dev/null) || dindcache_size=
    # A docker of the job's own can say more.
    case $dindcache_size in *[!0-9]*) dindcache_size='' ;; esac
    log "$1 of $2 steps cached, $(($(now) - dindcache_begin)) s${dindcache_size:+, image of $((dindcache_size / 1000000)) MB}"
}

is '([a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]+)?/)?([a-z0-9][-a-z0-9._]*/)*[a-z0-9][-a-z0-9._]*' "$dindcache_repository" ||
    refuse "DINDCACHE_BUILD_IMAGE must be a repository such as registry.example/group/app, without a tag," \
        "got '$dindcache_repository'"
case $dindcache_context in
*://* | git@*) ;;
*) [ -d "$dindcache_context" ] || refuse "DINDCACHE_BUILD_CONTEXT must be a directory or a URL, got '$dindcache_context'" ;;
esac
is '[A-Za-z_][A-Za-z0-9_]*' "$dindcache_result" ||
    refuse "DINDCACHE_BUILD_RESULT must be the name of a variable, got '$dindcache_result'"
need CI_COMMIT_SHA "for the name of the image"
need CI_JOB_ID "for the name of the image"
need CI_PROJECT_DIR "for the report"
dindcache_image=$dindcache_repository:$CI_COMMIT_SHA-$CI_JOB_ID
# One command for both: the client starts once, and a push that a restart broke finds its image again.
set -- --push --metadata-file "$dindcache_record" --tag "$dindcache_image"
for dindcache_word in ${DINDCACHE_BUILD_TAGS-}; do
    is '[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}' "$dindcache_word" ||
        refuse "DINDCACHE_BUILD_TAGS must be tags with spaces between, got '$dindcache_word'"
    set -- "$@" --tag "$dindcache_repository:$dindcache_word"
done
for dindcache_word in ${DINDCACHE_BUILD_ARGS-}; do
    is '[A-Za-z_][A-Za-z0-9_]*' "$dindcache_word" ||
        refuse "DINDCACHE_BUILD_ARGS must be names of variables with spaces between, got '$dindcache_word'"
    set -- "$@" --build-arg "$dindcache_word"
done
if [ -n "${DINDCACHE_BUILD_FILE-}" ]; then set -- "$@" --file "$DINDCACHE_BUILD_FILE"; fi
if [ -n "${DINDCACHE_BUILD_TARGET-}" ]; then set -- "$@" --target "$DINDCACHE_BUILD_TARGET"; fi
if [ -n "${DINDCACHE_BUILD_FLAGS-}" ]; then
    # xargs reads quotes as a shell does, but expands nothing.
    dindcache_words=$(printf '%s\n' "$DINDCACHE_BUILD_FLAGS" | xargs -n 1 printf '%s\n') ||
        refuse "DINDCACHE_BUILD_FLAGS must be flags with spaces between, and quotes in pairs, got '$DINDCACHE_BUILD_FLAGS'"
    while IFS= read -r dindcache_word; do set -- "$@" "$dindcache_word"; done <<END
$dindcache_words
END
fi

if [ -n "${CI_DEPENDENCY_PROXY_SERVER-}" ]; then
    need CI_DEPENDENCY_PROXY_USER "to log in to the dependency proxy"
    need CI_DEPENDENCY_PROXY_PASSWORD "to log in to the dependency proxy"
    # A job can have the variables and not use it.
    log_in "$CI_DEPENDENCY_PROXY_SERVER" "$CI_DEPENDENCY_PROXY_USER" "$CI_DEPENDENCY_PROXY_PASSWORD" ||
        log "images of the dependency proxy cannot be pulled"
fi
if [ -n "${CI_REGISTRY_PASSWORD-}" ]; then
    need CI_REGISTRY_USER "to log in to the registry"
    need CI_REGISTRY "to log in to the registry"
    # The client prefers credentials of this variable to those of a login, so its entry of this registry gets another name.
    if [ -n "${DOCKER_AUTH_CONFIG-}" ]; then
        DOCKER_AUTH_CONFIG=$(printf '%s\n' "$DOCKER_AUTH_CONFIG" | sed "s|\"\(https://\)*$CI_REGISTRY/*\"\( *:\)|\"unused.invalid\"\2|g")
        export DOCKER_AUTH_CONFIG
    fi
    log_in "$CI_REGISTRY" "$CI_REGISTRY_USER" "$CI_REGISTRY_PASSWORD"
fi
dindcache_begin=$(now)
# The record would have the provenance too, which takes time and is not read.
BUILDX_METADATA_PROVENANCE=disabled docker build "$@" "$dindcache_context"
echo "$dindcache_result=$dindcache_image" >"$CI_PROJECT_DIR/dindcache-build.env"
# In a shell of its own, since the image is there: whatever goes wrong is no reason to fail.
(report) || :
