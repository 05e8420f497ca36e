#!/bin/sh
# Check that an engine would serve with the certificate that is mounted now: check-certificate.sh [FLAG...], with its flags.
#   CERTIFICATES   defaults to /certs/server
set -eu
certificate=${CERTIFICATES:-/certs/server}/cert.pem

main() {
    # The engine itself reads the files, so that nothing passes that would keep it from starting.
    dockerd --validate "$@"
    # It starts with a certificate that every client rejects, too: expired, not yet valid, or for clients. The certificate is its
    # own anchor here, since clients can trust other CAs than the daemon.
    openssl x509 -in "$certificate" | openssl verify -partial_chain -trusted /dev/stdin -purpose sslserver "$certificate"
}

main "$@"
