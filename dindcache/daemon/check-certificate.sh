#!/bin/sh
# Check that an engine with these flags would serve with the mounted certificate: check-certificate.sh [FLAG...]
#   CERTIFICATES   defaults to /certs/server
set -eu
certificate=${CERTIFICATES:-/certs/server}/cert.pem

main() {
    # The engine itself reads the files, so that nothing passes that would keep it from starting.
    dockerd --validate "$@"
    # The engine also starts with a certificate that every client rejects: expired, not yet valid, or for clients. Here the
    # certificate is its own trust anchor, since clients can trust other CAs than the daemon.
    openssl x509 -in "$certificate" | openssl verify -partial_chain -trusted /dev/stdin -purpose sslserver "$certificate"
}

main "$@"
