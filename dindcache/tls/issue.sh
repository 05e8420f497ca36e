#!/bin/sh
# Write the Secrets that daemon and clients need, as manifests: issue.sh FURTHER_NAME...
# What is valid is kept. The pod mounts what there is: $ISSUED/{ca,previous,server,client}, each may be missing or broken.
#   NAME NAMESPACE     the daemon's
#   GENERATION         of the CA; a higher one replaces it in steps, $ROLLOUT_SECONDS apart
#   LIFETIME_DAYS, RENEW_SECONDS   of a certificate, and how long before its end the next one is made
#   CLIENTS            namespace/Secret of each client, parted by spaces
set -eu
: "${NAME:?}" "${NAMESPACE:?}" "${CA_GENERATION:?}" "${ROLLOUT_SECONDS:?}" "${LIFETIME_DAYS:?}" "${RENEW_SECONDS:?}" "${CLIENTS:?}"
umask 077 # keys
issued=${ISSUED:-/issued} work=${WORK:-/work} OUT=${OUT:-/out}
cd "$work"
mkdir -p ca server client
say() { echo "dindcache: $*" >&2; }
copy() { cat "$1" >"$2"; } # without the mode of what is mounted, which forbids to write

# $1 has a CA: certificate and key of it, not yet over.
is_ca() {
    [ -s "$1/ca.pem" ] && [ -s "$1/ca-key.pem" ] &&
        openssl x509 -in "$1/ca.pem" -noout -checkend 0 >/dev/null 2>&1 &&
        is_pair "$1/ca.pem" "$1/ca-key.pem"
}
is_pair() {
    public=$(openssl x509 -in "$1" -noout -pubkey 2>/dev/null) && [ "$public" = "$(openssl pkey -in "$2" -pubout 2>/dev/null)" ]
}
# Not the image's own configuration, which adds extensions.
printf '[req]\ndistinguished_name=name\n[name]\n' >request.conf
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

if is_ca "$issued/ca"; then
    copy "$issued/ca/ca.pem" ca/ca.pem
    copy "$issued/ca/ca-key.pem" ca/ca-key.pem
else
    say "a new CA, generation $CA_GENERATION"
    key ca/ca-key.pem
    # Ten years. The generation is in its name, so that the two of a change are told apart.
    openssl req -config request.conf -x509 -new -sha256 -key ca/ca-key.pem -days 3650 -subj "/CN=$NAME CA $CA_GENERATION" \
        -addext basicConstraints=critical,CA:true,pathlen:0 -addext keyUsage=critical,keyCertSign -out ca/ca.pem
fi
if ! openssl x509 -in ca/ca.pem -noout -checkend $((LIFETIME_DAYS * 86400)) >/dev/null; then
    say "the CA ends before a certificate of $LIFETIME_DAYS days would: raise the generation of it"
    exit 1
fi

# A change of the CA: first everyone trusts both, then the new one signs, then the old one is no longer trusted.
signer=ca
copy ca/ca.pem bundle.pem
age() {
    began=$(openssl x509 -in "$1" -noout -startdate -dateopt iso_8601 | sed 's/.*=//; s/Z$//')
    echo $((${NOW:-$(date -u +%s)} - $(date -u -d "$began" +%s)))
}
signed_by() { openssl verify -CAfile "$1" "$2" >/dev/null 2>&1; } # a CA is by itself, so: whether $1 has it
# The old one stays until the server has shown the new one's certificate for a handover, however seldom this runs.
is_over() {
    [ "$(age ca/ca.pem)" -ge $((2 * ROLLOUT_SECONDS)) ] || return
    signed_by "$issued/server/ca.pem" "$issued/previous/ca.pem" || return 0
    signed_by ca/ca.pem "$issued/server/cert.pem" && [ "$(age "$issued/server/cert.pem")" -ge "$ROLLOUT_SECONDS" ]
}
if is_ca "$issued/previous" && ! is_over; then
    cat "$issued/previous/ca.pem" >>bundle.pem
    if [ "$(age ca/ca.pem)" -lt "$ROLLOUT_SECONDS" ] || ! signed_by "$issued/server/ca.pem" ca/ca.pem; then
        say "the CA before this one signs until everyone trusts both"
        signer=$issued/previous
    fi
fi

# certificate USE PURPOSE EXTENSION: keep the one that is there or make another one, in ./USE.
certificate() {
    use=$1 purpose=$2 extension=$3
    key "$use/key.pem"
    openssl req -config request.conf -new -key "$use/key.pem" -subj "/CN=$NAME $use" -out "$use/request.pem"
    cat >"$use/extensions" <<END
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
$extension
END
    openssl x509 -req -sha256 -in "$use/request.pem" -CA "$signer/ca.pem" -CAkey "$signer/ca-key.pem" \
        -set_serial "0x$(openssl rand -hex 16)" -days "$LIFETIME_DAYS" -extfile "$use/extensions" -out "$use/cert.pem"
    old=$issued/$use
    if [ -s "$old/cert.pem" ] && [ -s "$old/key.pem" ] &&
        openssl verify -CAfile "$signer/ca.pem" -purpose "$purpose" "$old/cert.pem" >/dev/null 2>&1 &&
        openssl x509 -in "$old/cert.pem" -noout -checkend "$RENEW_SECONDS" >/dev/null &&
        is_pair "$old/cert.pem" "$old/key.pem" &&
        [ "$(names "$old/cert.pem")" = "$(names "$use/cert.pem")" ]; then
        copy "$old/cert.pem" "$use/cert.pem"
        copy "$old/key.pem" "$use/key.pem"
    else
        say "a new certificate for the $use"
    fi
    copy bundle.pem "$use/ca.pem"
}
names() { openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null || :; }

certificate server sslserver "extendedKeyUsage=serverAuth
subjectAltName=$SERVER_NAMES"
certificate client sslclient extendedKeyUsage=clientAuth

# secret NAMESPACE NAME DIRECTORY FILE...: a manifest of the Secret.
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: "%s", namespace: "%s", labels: {app: "%s"}}\ndata:\n' \
        "$2" "$1" "$NAME"
    directory=$3
    shift 3
    for file; do printf '  %s: %s\n' "$file" "$(openssl base64 -A -in "$directory/$file")"; done
}
{
    secret "$NAMESPACE" "$NAME-ca-$CA_GENERATION" ca ca.pem ca-key.pem
    # Of several runs at once, one makes the CA: the others cannot replace it, fail, and start again with it.
    echo 'immutable: true'
} >"$OUT/ca.yaml"
{
    secret "$NAMESPACE" "$NAME-server" server ca.pem cert.pem key.pem
    for client in $CLIENTS; do secret "${client%/*}" "${client#*/}" client ca.pem cert.pem key.pem; done
} >"$OUT/certificates.yaml"
