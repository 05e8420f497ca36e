#!/bin/sh
# readinessProbe: the engine answers, which is later than when its port opens, and accepts new clients.
set -eu
. "${0%/*}/common.sh"

main() {
    [ ! -e /run/dindcache.closed ] && engine_answers && rm -f /run/dindcache.waiting
}

main "$@"
