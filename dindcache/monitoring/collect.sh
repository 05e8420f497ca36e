#!/bin/sh
# Next to the engine: read what it has built and what it holds, and write it in Prometheus' text format for the exporter.
#   METRICS            directory in memory that the pod's containers share: `events` for this script (common.sh: tell), and
#                      `dindcache.prom` by it. It is as old as the pod
#   STATE              directory on the daemon's volume, for the counters, which outlive the pod, and for the last builds
#   INTERVAL_SECONDS   time between two looks at the engine
#   USAGE_SECONDS      least time between two looks at the sizes of everything, which can take long
#   MAX_PROJECTS       how many projects have a label of their own
#   IMAGE_STORE        store of the engine's images
#   PORT               port of the daemon
#   KEEP_…, MAX_JOB_SECONDS   for report.sh, as in remove-unused.sh
#   DATA_ROOT          defaults to /var/lib/docker
#   CERTIFICATES       defaults to /certs/server
set -uf
: "${METRICS:?}" "${STATE:?}" "${INTERVAL_SECONDS:?}" "${USAGE_SECONDS:?}" "${MAX_PROJECTS:?}" "${IMAGE_STORE:?}" "${PORT:?}"
. "${0%/*}/common.sh"
. "${0%/*}/bytes.sh"
. "${0%/*}/builds.sh"
. "${0%/*}/usage.sh"
export DOCKER_HOST="${DOCKER_HOST:-unix:///run/dindcache/docker.sock}"
# The client writes, but the rest of its file system is read-only.
export BUILDX_CONFIG="${BUILDX_CONFIG:-/dev/shm/buildx}"
root=${DATA_ROOT:-/var/lib/docker}
certificate=${CERTIFICATES:-/certs/server}/cert.pem
WORK=$METRICS/work

# sample NAME VALUE: print a sample.
sample() { echo "dindcache_$1 $2"; }

# engine_samples STATUS: print whether the engine answers, what it is, and what it is doing.
engine_samples() {
    if [ "$1" != 0 ]; then
        sample engine_up 0
        return
    fi
    sample engine_up 1
    [ -s "$WORK/version" ] || docker version --format '{{.Server.Version}}' >"$WORK/version" 2>/dev/null
    sample "engine_info{version=\"$(cat "$WORK/version")\",image_store=\"$IMAGE_STORE\"}" 1
    running=$(wc -l <"$WORK/running")
    # A build that waits for its turn has a place, and no record yet (gitlab/queue.sh).
    places=$(docker ps --quiet --filter label=dindcache.place 2>/dev/null | wc -l)
    sample builds_running "$running"
    sample builds_waiting "$((places > running ? places - running : 0))"
}

disk_samples() {
    # shellcheck disable=SC2046 # numbers: block size; blocks, those not reserved for root; inodes, free ones
    set -- $(stat -f -c '%S %b %a %c %d' "$root")
    sample disk_size_bytes "$(($1 * $2))"
    sample disk_free_bytes "$(($1 * $3))"
    [ "$4" -gt 0 ] || return # some file systems create inodes as they need them
    sample disk_inodes "$4"
    sample disk_inodes_free "$5"
}

drain_samples() {
    drain_begin='' drain_phase=''
    if [ -e "$METRICS/drain" ]; then read -r drain_begin drain_phase <"$METRICS/drain" || :; fi
    sample draining_seconds "$((${drain_begin:+$(now) - }${drain_begin:-0}))"
    sample draining_rejects "$([ "$drain_phase" = rejecting ] && echo 1 || echo 0)"
}

certificate_samples() {
    [ -e "$certificate" ] || return 0
    for date in startdate enddate; do
        text=$(openssl x509 -in "$certificate" -noout "-$date" -dateopt iso_8601) || return 0
        text=${text#*=}
        sample "certificate_$([ "$date" = enddate ] && echo not_after || echo not_before)_timestamp_seconds" \
            "$(date -u -d "${text%Z}" +%s)"
    done
}

# publish: write the samples after the description of their metric, all at once.
publish() {
    {
        cat "$WORK/samples" "$WORK/usage"
        sed -n 's/^total //p' "$WORK/state"
        sed -n 's/^repository \([^ ]*\) \([^ ]*\)$/dindcache_project_info{project="\1",repository="\2"} 1/p' "$WORK/state"
    } | awk '
        file == "metrics" { name = $1; type[name] = $2; help[name] = $0; sub(/^[^ ]+ [^ ]+ /, "", help[name]); order[++count] = name; next }
        {
            name = $1
            sub(/[{].*/, "", name)
            if (!(name in type)) sub(/_(bucket|sum|count)$/, "", name)
            samples[name] = samples[name] $0 "\n"
        }
        END {
            for (i = 1; i <= count; i++) if (order[i] in samples)
                printf "# HELP %s %s\n# TYPE %s %s\n%s", order[i], help[order[i]], order[i], type[order[i]], samples[order[i]]
        }' file=metrics "${0%/*}/metrics.txt" file=samples - >"$WORK/dindcache.prom" &&
        mv "$WORK/dindcache.prom" "$METRICS/dindcache.prom"
}

look() {
    read_builds
    engine=$?
    [ "$engine" != 0 ] || look_at_usage
    count
    {
        engine_samples "$engine"
        disk_samples
        drain_samples
        certificate_samples
        sample collected_timestamp_seconds "$(date +%s)"
    } >"$WORK/samples"
    publish
}

# begin: start from the counters that the volume has, unless this container was only restarted.
begin() {
    mkdir -p "$WORK" "$BUILDX_CONFIG"
    # The exporter has another user.
    chmod 755 "$METRICS"
    [ -e "$WORK/state" ] || cp "$STATE/state" "$WORK/state" 2>/dev/null || : >"$WORK/state"
    # What an engine built before its metrics were turned on is not an increase of a counter.
    grep -q '^since ' "$WORK/state" || date '+since %s' >>"$WORK/state"
    # An increase from nothing to one is none for Prometheus.
    for counter in builds_without_space_total 'engine_starts_total{reason="pod"}' 'engine_starts_total{reason="certificate"}' \
        'engine_starts_total{reason="unexpected"}' 'reclaims_total{result="enough"}' 'reclaims_total{result="short"}'; do
        grep -qF "total dindcache_$counter " "$WORK/state" || echo "total dindcache_$counter 0" >>"$WORK/state"
    done
    for file in ended events usage report; do [ -e "$WORK/$file" ] || : >"$WORK/$file"; done
}

# No failure ends this script: a terminated container makes the pod unready.
main() {
    begin
    unsaved='' usage_at=0 ending='' interval=$INTERVAL_SECONDS
    # While the daemon drains, it is watched. This ends with the engine.
    trap 'ending=1' TERM
    while :; do
        look
        if [ -n "$ending" ]; then
            is_listening || exit 143
            interval=1
        fi
        # A signal is handled between two commands, or during wait.
        sleep "$interval" &
        wait $!
    done
}

main "$@"
