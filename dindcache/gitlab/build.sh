#!/bin/sh
# Build an image and push it, under a name that is the job's own and under those that were asked for.
set -eu
. "$DINDCACHE/common.sh"
set -f # words are no patterns
repository=${DOCKER_BUILD_IMAGE-${CI_REGISTRY_IMAGE-}}
context=${DOCKER_BUILD_CONTEXT-.}
result=${DOCKER_BUILD_RESULT-DOCKER_IMAGE}
refuse() {
    log "$*"
    exit 64 # EX_USAGE
}
is() { printf '%s\n' "$2" | grep -Eqx "$1"; }

is '([a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]+)?/)?([a-z0-9][-a-z0-9._]*/)*[a-z0-9][-a-z0-9._]*' "$repository" ||
    refuse "DOCKER_BUILD_IMAGE must be a repository such as registry.example/group/app, without a tag, got '$repository'"
[ -d "$context" ] || refuse "DOCKER_BUILD_CONTEXT must be a directory, got '$context'"
is '[A-Za-z_][A-Za-z0-9_]*' "$result" || refuse "DOCKER_BUILD_RESULT must be the name of a variable, got '$result'"
image=$repository:$CI_COMMIT_SHA-$CI_JOB_ID
# One command for both: the client starts once, and a push that a restart broke finds its image again.
set -- --push --tag "$image"
for tag in ${DOCKER_BUILD_TAGS-}; do
    is '[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}' "$tag" || refuse "DOCKER_BUILD_TAGS must be tags with spaces between, got '$tag'"
    set -- "$@" --tag "$repository:$tag"
done
for name in ${DOCKER_BUILD_ARGS-}; do
    is '[A-Za-z_][A-Za-z0-9_]*' "$name" || refuse "DOCKER_BUILD_ARGS must be names of variables with spaces between, got '$name'"
    set -- "$@" --build-arg "$name"
done
if [ -n "${DOCKER_BUILD_FILE-}" ]; then set -- "$@" --file "$DOCKER_BUILD_FILE"; fi
if [ -n "${DOCKER_BUILD_TARGET-}" ]; then set -- "$@" --target "$DOCKER_BUILD_TARGET"; fi

if [ -n "${CI_REGISTRY_PASSWORD-}" ]; then
    # By standard input, which a trace of the shell does not print.
    docker login --username "$CI_REGISTRY_USER" --password-stdin "$CI_REGISTRY" <<END
$CI_REGISTRY_PASSWORD
END
fi
docker build "$@" "$context"
echo "$result=$image" >docker-build.env
