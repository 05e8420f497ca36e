#!/bin/sh
# Wait for the daemon, and say what is wrong when it does not come: wait.sh SECONDS. Prints when its engine started.
set -eu
seconds=$1
note() { echo "dindcache: $*" >&2; }
now() { cut -d. -f1 /proc/uptime; }

if [ -z "${DOCKER_HOST-}" ]; then
    note "this job has no daemon: DOCKER_HOST is not set, which the Runner's configuration does"
    exit 1
fi
begin=$(now)
said=
# The engine makes its bridge anew at each start, and has no other sign of one that a client can see.
until answer=$(timeout 10 "$DINDCACHE/docker" network inspect --format '{{.Created}}' bridge 2>&1); do
    patience=$seconds
    case $answer in
    *"no such host"* | *"server misbehaving"*)
        what="no such name: the Service is gone, or DOCKER_HOST is another's"
        patience=30 # a restart takes no name away, the cluster's DNS may hesitate
        ;;
    *x509* | *tls:* | *.pem* | *"HTTP request to an HTTPS server"* | *"server gave HTTP response"*)
        what="no trust: $(echo "$answer" | tail -n 1)"
        patience=30 # nor does it change a certificate; one that is renewed is there in a moment
        ;;
    *refused* | *"Is the docker daemon running"*) what="refused: no daemon is ready" ;;
    *)
        # A NetworkPolicy is silent.
        what="no answer: does the job's pod have the label dindcache/client?${answer:+ $(echo "$answer" | tail -n 1)}"
        ;;
    esac
    [ "$patience" -lt "$seconds" ] || patience=$seconds
    waited=$(($(now) - begin))
    if [ "$waited" -ge "$patience" ]; then
        note "$DOCKER_HOST: $what; waited $waited s"
        exit 1
    fi
    if [ "$what" != "$said" ]; then note "$DOCKER_HOST: $what; waiting, at most $patience s"; fi
    said=$what
    sleep 1
done
echo "$answer"
