#!/bin/sh
# Beside the engine: restart it in order once its certificate was renewed: reload.sh SECONDS DRAIN_SECONDS PORT
# The engine reads it at its start alone. At a moment without clients, or when that many seconds and a drain have passed.
set -eu
certificates=${CERTIFICATES:-/certs/server}
note() { echo "dindcache: $*" >&2; }
# The kubelet changes the files of a Secret all at once.
sum() { sha256sum "$certificates/ca.pem" "$certificates/cert.pem" "$certificates/key.pem"; }
is_usable() {
    public=$(openssl x509 -in "$certificates/cert.pem" -noout -pubkey) || return
    [ "$public" = "$(openssl pkey -in "$certificates/key.pem" -pubout)" ] &&
        # With the intermediates that may follow it; the engine takes one of them for a CA too.
        openssl verify -partial_chain -CAfile "$certificates/ca.pem" -untrusted "$certificates/cert.pem" -purpose sslserver \
            "$certificates/cert.pem"
}
started=$(sum) refused=
while :; do
    sleep "${POLL_SECONDS:-10}"
    now=$(sum) || continue
    [ "$now" != "$started" ] || continue
    if ! is_usable >/dev/null 2>&1; then # it may be in a moment, when its time comes
        [ "$now" = "$refused" ] || note "the certificate that was renewed is not usable, the engine keeps the one it has"
        refused=$now
        continue
    fi
    note "the certificate was renewed"
    sh "${0%/*}/drain.sh" $(($1 + $2 / 2)) $(($1 + $2)) "$3" || note "the engine restarts without a drain"
    kill -TERM 1
    exit
done
