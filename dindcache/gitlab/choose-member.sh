# dindcache: choose the member of the fleet that this job uses
# The variables here are the job's: each name begins with dindcache_.
#   dindcache_fleet        the name of the fleet
#   dindcache_members      a line for each member: its name, its weight and its DOCKER_HOST
#   dindcache_failover     how long to wait for the first member, in seconds
#   dindcache_full_at      with how many builds the first member is full, or nothing
#   dindcache_certificate  the directory of the client certificate, or nothing for daemons without TLS
: "${dindcache_fleet:?}" "${dindcache_members:?}" "${dindcache_failover:?}" "${dindcache_full_at?}" "${dindcache_certificate?}"
case ${DOCKER_HOST-} in
'' | tcp://docker:237[56] | tcp://dind:237[56] | tcp://localhost:237[56] | tcp://127.0.0.1:237[56])
    if [ -z "${DINDCACHE_KEY-key}" ]; then
        echo "dindcache: DINDCACHE_KEY is empty, so the path of the project is the key" >&2
    fi
    dindcache_host=$(
        export MEMBERS="$dindcache_members" FAILOVER_SECONDS="$dindcache_failover"
        export FULL_AT="$dindcache_full_at" KEY="${DINDCACHE_KEY:-$CI_PROJECT_PATH}"
        unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH
        if [ -n "$dindcache_certificate" ]; then export DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH="$dindcache_certificate"; fi
        sh <<'END_OF_choose.sh'
# CHOOSE
END_OF_choose.sh
    )
    export DOCKER_HOST="${DOCKER_HOST:-$dindcache_host}"
    ;;
*) dindcache_host=$dindcache_fleet ;; # the job has a daemon of its own
esac
