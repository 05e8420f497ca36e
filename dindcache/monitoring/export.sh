#!/bin/sh
# Serve the metrics with node_exporter: export.sh [FLAG...]. A terminated container makes the pod unready, so what ends the
# exporter must not end this script.
#   METRICS   directory with `dindcache.prom`
#   PORT      port of the daemon, with which this script ends
set -u
: "${METRICS:?}" "${PORT:?}"
. "${0%/*}/common.sh"

main() {
    ending='' exporter=''
    # While the daemon drains, it is watched.
    trap 'ending=1' TERM
    while [ -z "$ending" ] || is_listening; do
        if [ -z "$exporter" ] || ! kill -0 "$exporter" 2>/dev/null; then
            node_exporter --collector.disable-defaults --collector.textfile --collector.textfile.directory="$METRICS" \
                --web.disable-exporter-metrics --log.level=warn "$@" &
            exporter=$!
        fi
        # A signal is handled between two commands, or during wait.
        sleep 1 &
        wait $!
    done
    kill "$exporter" 2>/dev/null
    exit 143
}

main "$@"
