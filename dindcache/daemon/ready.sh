#!/bin/sh
# readinessProbe: the engine answers, which takes longer than opening its port, and accepts new clients.
set -eu
. "${0%/*}/common.sh"

main() {
    [ ! -e /run/dindcache.closed ] && engine_answers && rm -f /run/dindcache.waiting
}

main "$@"
