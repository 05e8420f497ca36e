# The variables here are the job's: each name begins with dindcache_.
#   dindcache_host         the daemon's DOCKER_HOST
#   dindcache_certificate  the directory of the client certificate, or nothing for a daemon without TLS
: "${dindcache_host:?}" "${dindcache_certificate?}"
# Variables of a project or a group win over those of the Runner. What they say of a docker:dind service leads nowhere here.
case ${DOCKER_HOST-} in
tcp://docker:237[56] | tcp://dind:237[56] | tcp://localhost:237[56] | tcp://127.0.0.1:237[56])
    echo "dindcache: DOCKER_HOST=$DOCKER_HOST is that of a docker:dind service, and this Runner has a daemon for its jobs:" \
        "$dindcache_host is used. Remove the service, DOCKER_HOST and DOCKER_TLS_CERTDIR from the pipeline and its variables" >&2
    export DOCKER_HOST="$dindcache_host"
    ;;
esac
if [ "${DOCKER_HOST-}" = "$dindcache_host" ]; then
    if [ -n "$dindcache_certificate" ]; then
        export DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH="$dindcache_certificate"
    else
        unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH
    fi
    # The client asks a proxy for the daemon too, unless it is told otherwise.
    if [ -n "${HTTP_PROXY-}${HTTPS_PROXY-}${http_proxy-}${https_proxy-}" ]; then
        dindcache_name=${dindcache_host#tcp://}
        NO_PROXY=${NO_PROXY:-${no_proxy-}}
        no_proxy=${no_proxy:-$NO_PROXY}
        export NO_PROXY="${NO_PROXY:+$NO_PROXY,}${dindcache_name%:*}" no_proxy="${no_proxy:+$no_proxy,}${dindcache_name%:*}"
    fi
    # An after_script begins with the variables of the job, and with those in this file.
    if [ -w "${GITLAB_ENV-}" ]; then
        for dindcache_name in DOCKER_HOST DOCKER_TLS_VERIFY DOCKER_CERT_PATH ${NO_PROXY+NO_PROXY} ${no_proxy+no_proxy}; do
            eval "echo \"$dindcache_name=\${$dindcache_name-}\""
        done >>"$GITLAB_ENV"
    fi
fi
export DINDCACHE_HOST="$dindcache_host"
