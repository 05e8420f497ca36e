#!/bin/sh
# startupProbe and livenessProbe: the engine answers.
# While the container waits for the lock, no engine runs, and both probes pass. The startup probe does not run again, so the
# liveness probe passes until the readiness probe has seen the engine's first answer.
set -eu
. "${0%/*}/common.sh"

main() { [ -e /run/dindcache.waiting ] || engine_answers; }

main "$@"
