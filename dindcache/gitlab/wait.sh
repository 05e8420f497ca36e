#!/bin/sh
# Wait for the daemon, and report what is wrong when it does not answer. Prints the time at which its engine started.
#   DINDCACHE       the directory of the scripts, and of the job's own client
#   DINDCACHE_WAIT  how long to wait for a daemon that refuses or does not answer, such as 90, 5m or 1h30m
#   STARTED         optionally a time at which the engine started before: if it is another one now, this ends with 3
set -eu
: "${DINDCACHE:?}" "${DINDCACHE_WAIT?}"
. "$DINDCACHE/common.sh"

# started: ask when the engine created its bridge network, which it does at each start. A client sees no other sign of a start.
# The line is marked, since standard error, which has the reason of a failure, is read with it.
started() { timeout 10 "$DINDCACHE/client/docker" network inspect --format 'started {{.Created}}' bridge 2>&1; }

# seconds TIME: print a time such as 1h30m in seconds, and fail if it is none.
seconds() {
    case $1 in '' | *[!0-9hms]*) return 1 ;; esac
    printf '%s\n' "$1" | grep -Eqx '[0-9]{1,6}|([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?' || return 1
    # A shell takes a number that begins with 0 for an octal one.
    echo $(($(printf '%s\n' "$1" | sed -E 's/0*([0-9]+)/\1/g; s/h/*3600+/; s/m/*60+/; s/s//; s/\+$//')))
}

# proxied: whether the client asks a proxy for the daemon. Docker's client uses one for tcp:// too, and NO_PROXY as Go reads it.
proxied() {
    if [ -n "${DOCKER_TLS_VERIFY-}" ]; then
        proxy=${HTTPS_PROXY:-${https_proxy-}}
    else
        proxy=${HTTP_PROXY:-${http_proxy-}}
    fi
    [ -n "$proxy" ] || return 1
    host=${DOCKER_HOST#*://}
    host=${host%:*}
    for entry in $(printf '%s' "${NO_PROXY:-${no_proxy-}}" | sed 's/,/ /g; s/[*]/@/g'); do
        # An @ is an asterisk, which would be a pattern here.
        if [ "$entry" = @ ]; then return 1; fi
        entry=${entry#@}
        entry=${entry%:*}
        case ".$host" in *".${entry#.}") return 1 ;; esac
    done
}

# diagnose ANSWER: set the reason why there is no daemon, and how long to wait for one.
diagnose() {
    patience=$wait
    last=$(printf '%s\n' "$1" | tail -n 1)
    case $1 in
    *"is too old"*)
        reason="the daemon answers, but this client is too old for it: use a newer image, or remove DOCKER_API_VERSION: $last"
        patience=0
        ;;
    *.pem*)
        reason="no certificate: $last"
        patience=30 # one that is renewed arrives in a moment
        ;;
    *x509* | *tls:* | *"HTTP request to an HTTPS server"* | *"server gave HTTP response"*)
        reason="no trust: $last"
        patience=30 # a restart changes no certificate
        ;;
    *)
        if proxied; then
            reason="a proxy stands before the daemon: add its host to NO_PROXY. $last"
            patience=30
            return
        fi
        case $1 in
        *"no such host"* | *"server misbehaving"*)
            reason="no such name: the Service does not exist, or DOCKER_HOST is that of another daemon"
            patience=30 # a restart removes no name, but the cluster's DNS can hesitate
            ;;
        *refused* | *"Is the docker daemon running"*) reason="refused: no daemon is ready" ;;
        # A NetworkPolicy drops packets without an answer.
        '' | *timeout* | *"deadline exceeded"* | *"no route to host"* | *unreachable*)
            reason="no answer: does the job's pod have the label dindcache/client?${last:+ $last}"
            ;;
        *) reason="not usable: $last" ;;
        esac
        ;;
    esac
}

main() {
    if ! wait=$(seconds "$DINDCACHE_WAIT"); then
        log "DINDCACHE_WAIT must be a time such as 90, 5m or 1h30m, got '$DINDCACHE_WAIT'"
        exit 64 # EX_USAGE
    fi
    if [ -z "${DOCKER_HOST-}" ]; then
        log "this job has no daemon: DOCKER_HOST is not set, which the Runner's configuration does"
        exit 1
    fi
    begin=$(now)
    logged=
    until answer=$(started); do
        diagnose "$answer"
        [ "$patience" -lt "$wait" ] || patience=$wait
        waited=$(($(now) - begin))
        if [ "$waited" -ge "$patience" ]; then
            log "$DOCKER_HOST: $reason; waited $waited s"
            exit 1
        fi
        if [ "$reason" != "$logged" ]; then log "$DOCKER_HOST: $reason; waiting up to $patience s"; fi
        logged=$reason
        sleep 1
    done
    answer=$(printf '%s\n' "$answer" | sed -n 's/^started //p')
    echo "$answer"
    if [ "${STARTED-$answer}" != "$answer" ]; then exit 3; fi
}

main "$@"
