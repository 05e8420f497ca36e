#!/bin/sh
# Next to the engine: restart it in order once its certificate has been renewed, since it reads the certificate only at startup.
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
checksum() { sha256sum "$certificates/ca.pem" "$certificates/cert.pem" "$certificates/key.pem"; }

# is_usable: whether an engine would serve with the files: its chain may have intermediates, and its CA may be one.
is_usable() {
    is_key_pair "$certificates/cert.pem" "$certificates/key.pem" &&
        openssl verify -partial_chain -CAfile "$certificates/ca.pem" -untrusted "$certificates/cert.pem" -purpose sslserver \
            "$certificates/cert.pem"
}

restart() {
    log "the certificate was renewed"
    DRAIN_SECONDS=$RELOAD_DRAIN_SECONDS DRAIN_REJECT_AFTER_SECONDS=$RELOAD_REJECT_AFTER_SECONDS sh "${0%/*}/drain.sh" ||
        log "the engine restarts without a drain"
    kill -TERM 1
}

main() {
    started=$(checksum) rejected=
    while :; do
        sleep "${POLL_SECONDS:-10}"
        current=$(checksum) || continue
        [ "$current" != "$started" ] || continue
        if is_usable >/dev/null 2>&1; then
            restart
            return
        fi
        # It may become usable in a moment, when its validity starts.
        [ "$current" = "$rejected" ] || log "the renewed certificate is not usable, the engine keeps the previous one"
        rejected=$current
    done
}

main "$@"
