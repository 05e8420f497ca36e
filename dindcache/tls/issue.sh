#!/bin/sh
# Issue the certificates of a daemon and its clients, and write their Secrets as manifests. Valid certificates are kept.
#   NAME, NAMESPACE     name and namespace of the daemon or of the fleet
#   SERVERS             name of each daemon, separated by spaces. In a fleet, it begins the daemon's keys in the server Secret
#   SERVER_NAMES        names of a daemon's certificate, in the format of openssl, with @ for the daemon's name
#   CLIENTS             namespace/name of each client Secret, separated by spaces
#   CA_GENERATION       number of the CA
#   CA_DAYS             lifetime of a CA
#   CA_NOTICE_SECONDS   time before the CA expires in which the log asks for the next one
#   LIFETIME_DAYS       lifetime of a certificate, which expires with its CA at the latest
#   RENEW_SECONDS       time before its expiry at which a certificate is renewed
#   BACKDATE_SECONDS    certificates start this far in the past, since clocks differ
#   ROLLOUT_SECONDS     longest time until the daemon and all clients use published certificates
#   ISSUED              existing Secrets: ca, previous, next, server and client. Any can be missing. Defaults to /issued
#   WORK                directory of keys, defaults to /work
#   OUT                 directory of the manifests, defaults to /out
#   NOW                 time in seconds since 1970, defaults to that of the clock
# Exits with 1 if a retry would not help.
#
# A CA replaces those in use in three steps, so that no client is cut off: all are trusted; the new one signs; the others are no
# longer trusted. Each step waits until the previous one has reached everyone. This holds for the next generation, for any other
# one, and for a CA whose Secret was lost.
set -eu
: "${NAME:?}" "${NAMESPACE:?}" "${SERVERS:?}" "${SERVER_NAMES:?}" "${CLIENTS:?}" "${CA_GENERATION:?}" "${CA_DAYS:?}" "${CA_NOTICE_SECONDS:?}"
: "${LIFETIME_DAYS:?}" "${RENEW_SECONDS:?}" "${BACKDATE_SECONDS:?}" "${ROLLOUT_SECONDS:?}"
. "${0%/*}/common.sh"
# Trust only the given CAs, not those of the image, all of which openssl would also read at each call.
export SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/dev/null
issued=${ISSUED:-/issued} work=${WORK:-/work} out=${OUT:-/out} now=${NOW:-$(date -u +%s)}

reject() {
    log "$*"
    exit 1
}

# quietly COMMAND [ARGUMENT...]: run a command, and exit with its output if it fails.
quietly() { output=$("$@" 2>&1) || reject "$output"; }

# copy FROM TO: copy a file without its mode, since mounted files are read-only.
copy() { cat "$1" >"$2"; }

# end_of CERTIFICATE: print the time at which it expires.
end_of() {
    end=$(openssl x509 -in "$1" -noout -enddate -dateopt iso_8601)
    end=${end#*=}
    date -u -d "${end%Z}" +%s
}

# is_key_pair CERTIFICATE KEY: whether the private key belongs to the certificate.
is_key_pair() {
    public=$(openssl x509 -in "$1" -noout -pubkey 2>/dev/null) &&
        [ "$public" = "$(openssl pkey -in "$2" -pubout 2>/dev/null)" ]
}

# is_signed_by CAS CERTIFICATE [PURPOSE]: whether one of the CAs has signed a certificate, and both are valid.
is_signed_by() { openssl verify -attime "$now" -CAfile "$1" -purpose "${3:-any}" "$2" >/dev/null 2>&1; }

prepare() {
    umask 077 # keys
    cd "$work"
    mkdir -p ca server client
    : >index.txt # what `openssl ca` has signed
    cat >openssl.conf <<END
[req]
distinguished_name = name
[name]
[ca]
default_ca = signer
[signer]
database = $work/index.txt
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = policy
[policy]
commonName = supplied
END
}

# request DIRECTORY NAME: create a key and a request for its certificate.
request() {
    quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1/key.pem"
    # Not with the image's own configuration, which adds extensions.
    quietly openssl req -config openssl.conf -new -key "$1/key.pem" -subj "/CN=$2" -out "$1/request.pem"
}

# sign DIRECTORY END OPTION...: sign the request. Only `openssl ca` accepts dates in every release.
sign() {
    directory=$1 begin=$(asn1_time $((now - BACKDATE_SECONDS))) end=$(asn1_time "$2")
    shift 2
    quietly openssl ca -config openssl.conf -batch -notext -in "$directory/request.pem" -out "$directory/cert.pem" \
        -extfile "$directory/extensions" -startdate "$begin" -enddate "$end" "$@"
}
asn1_time() { date -u -d "@$1" +%Y%m%d%H%M%SZ; }

# find_ca: copy the CA of this generation to ca, or create it. Its Secret is immutable, so only a person can replace it.
find_ca() {
    if [ ! -e "$issued/ca/ca.pem" ] && [ ! -e "$issued/ca/ca-key.pem" ]; then
        log "a new CA of generation $CA_GENERATION"
        create_ca
        return
    fi
    is_key_pair "$issued/ca/ca.pem" "$issued/ca/ca-key.pem" ||
        reject "Secret $NAME-ca-$CA_GENERATION must have a CA and its key: delete it, and a new CA replaces it in steps"
    copy "$issued/ca/ca.pem" ca/ca.pem
    copy "$issued/ca/ca-key.pem" ca/ca-key.pem
    end=$(end_of ca/ca.pem)
    date=$(date -u -d "@$end" +%Y-%m-%d)
    [ "$end" -gt "$now" ] || reject "the CA expired on $date: set ca_generation to $((CA_GENERATION + 1))"
    [ $((end - now)) -gt "$CA_NOTICE_SECONDS" ] ||
        log "the CA expires on $date, and so does every certificate: set ca_generation to $((CA_GENERATION + 1)) in time"
}
create_ca() {
    request ca "$NAME CA $CA_GENERATION"
    cat >ca/extensions <<END
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
END
    sign ca $((now + CA_DAYS * 86400)) -selfsign -keyfile ca/key.pem
    mv ca/cert.pem ca/ca.pem
    mv ca/key.pem ca/ca-key.pem
}

# find_others: write the other trusted CAs to others.pem, without expired ones, and set is_trusted if the CA itself is trusted.
find_others() {
    is_trusted=
    : >others.pem
    bundle=$issued/server/ca.pem
    [ -s "$bundle" ] || bundle=$issued/client/ca.pem
    [ -s "$bundle" ] || return 0
    awk '/-----BEGIN CERTIFICATE-----/ { count++ } { print >("trusted-" count + 0 ".pem") }' "$bundle"
    for file in trusted-*.pem; do
        certificate=$(openssl x509 -in "$file" 2>/dev/null) || continue
        if [ "$certificate" = "$(openssl x509 -in ca/ca.pem)" ]; then
            is_trusted=yes
        elif [ "$(end_of "$file")" -gt "$now" ]; then
            echo "$certificate" >>others.pem
        fi
    done
}

# has_issued CA: whether it has signed the daemons' certificates, or the clients' if those are lost.
has_issued() {
    for certificate in "$issued"/server/*cert.pem "$issued/client/cert.pem"; do
        if openssl x509 -in "$certificate" -noout 2>/dev/null; then break; fi
    done
    is_signed_by "$1" "$certificate"
}

# take_step: continue the change of the CA. Set signer to the directory of the CA that signs, and keeps to the file of the CAs
# whose certificates stay.
take_step() {
    signer=ca keeps=ca/ca.pem
    last_step=$(cat "$issued/server/last-ca-step" 2>/dev/null) || :
    [ "$last_step" -le "$now" ] 2>/dev/null || last_step=$now # lost, or no number
    [ -s others.pem ] || return 0
    if has_issued ca/ca.pem; then step=2; else step=1; fi
    if [ "$step" = 1 ] && [ -z "$is_trusted" ]; then
        last_step=$now
    elif [ $((now - last_step)) -ge "$ROLLOUT_SECONDS" ]; then
        step=$((step + 1)) last_step=$now
    fi
    next=$(date -u -d "@$((last_step + ROLLOUT_SECONDS))" '+%Y-%m-%d %H:%M UTC')
    case $step in
    1)
        log "CA generation $CA_GENERATION, step 1 of 3: it is trusted as well. The next step follows after $next"
        keep_signer
        ;;
    2) log "CA generation $CA_GENERATION, step 2 of 3: it signs. The next step follows after $next" ;;
    3)
        log "CA generation $CA_GENERATION, step 3 of 3: only it is trusted"
        : >others.pem
        ;;
    esac
}

# keep_signer: sign with the CA whose certificates are in use. If its key is not mounted, they stay unless lost or due.
keep_signer() {
    for neighbour in "$issued/previous" "$issued/next"; do
        if is_key_pair "$neighbour/ca.pem" "$neighbour/ca-key.pem" && has_issued "$neighbour/ca.pem"; then
            signer=$neighbour keeps=$neighbour/ca.pem
            return
        fi
    done
    keeps=others.pem
}

# certificate USE PREFIX NAME PURPOSE EXTENSION: write a certificate, its key and the trusted CAs to the directory USE. Their
# files begin with the prefix.
certificate() {
    request "$1" "$3 $1"
    cat >"$1/extensions" <<END
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
$5
END
    end=$((now + LIFETIME_DAYS * 86400)) ca_end=$(end_of "$signer/ca.pem")
    [ "$end" -le "$ca_end" ] || end=$ca_end
    sign "$1" "$end" -cert "$signer/ca.pem" -keyfile "$signer/ca-key.pem"
    if is_kept "$issued/$1/$2" "$1/cert.pem" "$4"; then
        copy "$issued/$1/$2cert.pem" "$1/cert.pem"
        copy "$issued/$1/$2key.pem" "$1/key.pem"
    else
        log "a new certificate for the $1${2:+ ${2%.}}"
    fi
    if [ -n "$2" ]; then
        mv "$1/cert.pem" "$1/$2cert.pem"
        mv "$1/key.pem" "$1/$2key.pem"
    fi
    cat ca/ca.pem others.pem >"$1/ca.pem"
}

# is_kept OLD NEW PURPOSE: whether the certificate whose files begin with OLD stays, given the one that could replace it.
is_kept() {
    is_key_pair "$1cert.pem" "$1key.pem" &&
        is_signed_by "$keeps" "$1cert.pem" "$3" &&
        ! is_due "$1cert.pem" "$2" &&
        { [ "$keeps" = others.pem ] || [ "$(names "$1cert.pem")" = "$(names "$2")" ]; }
}

# is_due OLD NEW: whether OLD is due for renewal, and NEW expires later. One that expires with its CA is never due.
is_due() {
    old_end=$(end_of "$1") new_end=$(end_of "$2")
    [ $((old_end - now)) -le "$RENEW_SECONDS" ] && [ "$old_end" -lt "$new_end" ]
}

names() { openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null || :; }

# secret NAMESPACE NAME DIRECTORY FILE...: print the manifest of a Secret. Names are quoted, since one can look like a number.
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {namespace: "%s", name: "%s", labels: {app: "%s"}}\ndata:\n' \
        "$1" "$2" "$NAME"
    directory=$3
    shift 3
    for file; do
        content=$(openssl base64 -A -in "$directory/$file")
        printf '  "%s": "%s"\n' "$file" "$content"
    done
}

main() {
    prepare
    find_ca
    find_others
    take_step
    files="ca.pem last-ca-step"
    for server in $SERVERS; do
        prefix=$server.
        [ "$server" != "$NAME" ] || prefix=
        certificate server "$prefix" "$server" sslserver "extendedKeyUsage = serverAuth
subjectAltName = $(echo "$SERVER_NAMES" | sed "s/@/$server/g")"
        files="$files ${prefix}cert.pem ${prefix}key.pem"
    done
    certificate client "" "$NAME" sslclient "extendedKeyUsage = clientAuth"
    echo "$last_step" >server/last-ca-step
    # Of several concurrent runs, one creates the CA. The others cannot replace it, so they fail and start again with it.
    {
        secret "$NAMESPACE" "$NAME-ca-$CA_GENERATION" ca ca.pem ca-key.pem
        echo 'immutable: true'
    } >"$out/ca.yaml"
    {
        # shellcheck disable=SC2086 # words
        secret "$NAMESPACE" "$NAME-server" server $files
        for client in $CLIENTS; do secret "${client%/*}" "${client#*/}" client ca.pem cert.pem key.pem; done
    } >"$out/certificates.yaml"
}

main "$@"
