#!/bin/sh
# Wait for the daemon, and report what is wrong when it does not answer. Prints the time at which its engine started.
#   DINDCACHE      the directory of the scripts, and the job's own docker as `docker`
#   WAIT_SECONDS   for a daemon that refuses or does not answer
set -eu
: "${DINDCACHE:?}" "${WAIT_SECONDS:?}"
. "$DINDCACHE/common.sh"

# started: ask when the engine created its bridge network, which it does at each start. A client sees no other sign of a start.
started() { timeout 10 "$DINDCACHE/docker" network inspect --format '{{.Created}}' bridge 2>&1; }

# diagnose ANSWER: set the reason why there is no daemon, and how long to wait for one.
diagnose() {
    patience=$WAIT_SECONDS
    case $1 in
    *"no such host"* | *"server misbehaving"*)
        reason="no such name: the Service does not exist, or DOCKER_HOST is that of another daemon"
        patience=30 # a restart removes no name, but the cluster's DNS can hesitate
        ;;
    *x509* | *tls:* | *.pem* | *"HTTP request to an HTTPS server"* | *"server gave HTTP response"*)
        reason="no trust: $(echo "$1" | tail -n 1)"
        patience=30 # a restart changes no certificate; a renewed one arrives in a moment
        ;;
    *refused* | *"Is the docker daemon running"*) reason="refused: no daemon is ready" ;;
    *)
        # A NetworkPolicy drops packets without an answer.
        reason="no answer: does the job's pod have the label dindcache/client?${1:+ $(echo "$1" | tail -n 1)}"
        ;;
    esac
    [ "$patience" -lt "$WAIT_SECONDS" ] || patience=$WAIT_SECONDS
}

main() {
    if [ -z "${DOCKER_HOST-}" ]; then
        log "this job has no daemon: DOCKER_HOST is not set, which the Runner's configuration does"
        exit 1
    fi
    begin=$(now)
    logged=
    until answer=$(started); do
        diagnose "$answer"
        waited=$(($(now) - begin))
        if [ "$waited" -ge "$patience" ]; then
            log "$DOCKER_HOST: $reason; waited $waited s"
            exit 1
        fi
        if [ "$reason" != "$logged" ]; then log "$DOCKER_HOST: $reason; waiting up to $patience s"; fi
        logged=$reason
        sleep 1
    done
    echo "$answer"
}

main "$@"
