# dindcache: give the job its docker, and wait for the daemon
# The variables here are the job's: each name begins with dindcache_.
dindcache_umask=$(umask)
umask 022 # for other users of the job
if ! mkdir "$DINDCACHE" "$DINDCACHE/bin"; then
    echo "dindcache: the job's variable DINDCACHE must be a new directory that the job can create, such as" \
        "\$CI_PROJECT_DIR.tmp/dindcache where /tmp is read-only, got '$DINDCACHE'" >&2
    exit 1
fi
# SCRIPTS
if ! command -v docker >/dev/null; then
    echo "dindcache: this job's image has no docker command" >&2
    exit 1
fi
# Where the client cannot write its configuration, as on a read-only file system or without a HOME, it uses a copy.
dindcache_config=${DOCKER_CONFIG:-${HOME-}/.docker}
if ! mkdir -p "$dindcache_config" 2>/dev/null || [ ! -w "$dindcache_config" ]; then
    mkdir "$DINDCACHE/config"
    if [ -d "$dindcache_config" ]; then cp -RL "$dindcache_config/." "$DINDCACHE/config"; fi
    export DOCKER_CONFIG="$DINDCACHE/config"
fi
if [ "${DOCKER_HOST-}" = "${DINDCACHE_HOST:-${DOCKER_HOST-}}" ]; then
    mkdir "$DINDCACHE/client"
    for dindcache_name in docker docker-compose; do
        if dindcache_path=$(command -v "$dindcache_name"); then
            ln -s "$dindcache_path" "$DINDCACHE/client/$dindcache_name"
            cp "$DINDCACHE/docker-wrapper.sh" "$DINDCACHE/bin/$dindcache_name"
            chmod 755 "$DINDCACHE/bin/$dindcache_name"
        fi
    done
    sh "$DINDCACHE/wait.sh" >/dev/null
    # Here, when there is a daemon: from now on there can be something to remove.
    for dindcache_name in DOCKER_HOST DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_CONFIG NO_PROXY no_proxy; do
        eval "echo \"$dindcache_name=\${$dindcache_name-}\""
    done >"$DINDCACHE/daemon"
    export PATH="$DINDCACHE/bin:$PATH"
else
    echo "dindcache: DOCKER_HOST=${DOCKER_HOST-} is not the Runner's daemon, so docker is the client alone in this job" >&2
fi
umask "$dindcache_umask"
