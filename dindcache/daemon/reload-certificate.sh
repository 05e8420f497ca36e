#!/bin/sh
# Watch the engine's certificate in the background, and restart the engine in order after a renewal, since it reads the
# certificate only at startup: reload-certificate.sh [FLAG...], with the engine's flags. The engine starts after this script
# returns.
#   PORT                          port of the daemon
#   RELOAD_DRAIN_SECONDS          the engine restarts after this time, even with clients connected
#   RELOAD_REJECT_AFTER_SECONDS   new clients are rejected after this time
#   DRAIN_QUIET_SECONDS, LIVENESS_…   as in drain.sh
#   CERTIFICATES                  defaults to /certs/server
#   METRICS                       directory of the metrics, if they are on; defaults to /run/dindcache.metrics
#   POLL_SECONDS                  defaults to 10
set -eu
: "${PORT:?}" "${RELOAD_DRAIN_SECONDS:?}" "${RELOAD_REJECT_AFTER_SECONDS:?}"
. "${0%/*}/common.sh"
certificates=${CERTIFICATES:-/certs/server}

# checksum: print the checksums of the files, which the kubelet replaces all at once.
checksum() { sha256sum "$certificates/ca.pem" "$certificates/cert.pem" "$certificates/key.pem" 2>/dev/null; }

# is_usable [FLAG...]: whether the engine can use the certificate. Set reason if it cannot.
is_usable() { reason=$(sh "${0%/*}/check-certificate.sh" "$@" 2>&1); }

drain() {
    DRAIN_SECONDS=$RELOAD_DRAIN_SECONDS DRAIN_REJECT_AFTER_SECONDS=$RELOAD_REJECT_AFTER_SECONDS DRAIN_REASON=certificate \
        sh "${0%/*}/drain.sh" ||
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
            # The drain can take a day, and the files can have changed by now.
            if is_usable "$@"; then
                metrics=${METRICS:-/run/dindcache.metrics}
                [ ! -d "$metrics" ] || echo certificate >"$metrics/restart" || :
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
    # Before the engine reads the files: otherwise, a renewal in between would be missed.
    started=$(checksum) || :
    watch "$@" &
}

main "$@"
