#!/bin/sh
# Next to an engine that starts after this script returns: restart it in order once its certificate has been renewed, since it reads
# the certificate only at startup: reload-certificate.sh [FLAG...], with its flags.
#   PORT                          the daemon's
#   RELOAD_DRAIN_SECONDS          the restart comes after this time, whoever is connected
#   RELOAD_REJECT_AFTER_SECONDS   new clients are rejected after this time
#   DRAIN_QUIET_SECONDS, LIVENESS_…   as drain.sh has them
#   CERTIFICATES                  defaults to /certs/server
#   POLL_SECONDS                  defaults to 10
set -eu
: "${PORT:?}" "${RELOAD_DRAIN_SECONDS:?}" "${RELOAD_REJECT_AFTER_SECONDS:?}"
. "${0%/*}/common.sh"
certificates=${CERTIFICATES:-/certs/server}

# checksum: of the files, which the kubelet replaces all at once.
checksum() { sha256sum "$certificates/ca.pem" "$certificates/cert.pem" "$certificates/key.pem" 2>/dev/null; }

# is_usable [FLAG...]: set reason if it is not.
is_usable() { reason=$(sh "${0%/*}/check-certificate.sh" "$@" 2>&1); }

drain() {
    DRAIN_SECONDS=$RELOAD_DRAIN_SECONDS DRAIN_REJECT_AFTER_SECONDS=$RELOAD_REJECT_AFTER_SECONDS sh "${0%/*}/drain.sh" ||
        log "the engine restarts without a drain"
}

watch() {
    rejected=
    while :; do
        sleep "${POLL_SECONDS:-10}"
        current=$(checksum) || continue
        [ "$current" != "$started" ] || continue
        if is_usable "$@"; then
            log "the certificate was renewed"
            drain
            # The drain can take a day, and the files can be others by now.
            if is_usable "$@"; then
                kill -TERM 1
                return
            fi
            accept_clients
        fi
        # It may become usable in a moment, when its validity starts.
        [ "$current" = "$rejected" ] ||
            log "the renewed certificate is not usable, the engine keeps the previous one: $(echo "$reason" | tr '\n' ' ')"
        rejected=$current
    done
}

main() {
    # Before the engine reads the files, or a renewal in between would be missed.
    started=$(checksum) || :
    watch "$@" &
}

main "$@"
