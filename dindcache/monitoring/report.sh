#!/bin/sh
# Print how well the cache works, what the disk holds, and what goes next: report.sh [DAYS], by default of the last seven.
#   METRICS, STATE              as in collect.sh, whose container has this script
#   KEEP_…, MAX_JOB_SECONDS     as in remove-unused.sh
#   DATA_ROOT                   defaults to /var/lib/docker
set -uf
: "${METRICS:?}" "${STATE:?}" "${KEEP_IMAGES?}" "${KEEP_VOLUMES?}" "${MAX_JOB_SECONDS:?}"
. "${0%/*}/common.sh"
. "${0%/*}/last-used.sh"
. "${0%/*}/remove-unused.sh"
export DOCKER_HOST="${DOCKER_HOST:-unix:///run/dindcache/docker.sock}"
export BUILDX_CONFIG="${BUILDX_CONFIG:-/dev/shm/buildx}"

# projects DAYS: print a line for each project, the one with the most time first, and one for all.
projects() {
    echo "Builds of the last $1 days. A step is saved if it was cached; the time saved is that of as many steps that ran."
    awk -v "since=$(($(date +%s) - $1 * 86400))" '
        file == "state" { if ($1 == "repository") repository[$2] = $3; next }
        $2 < since { next }
        { count($9); count("") }
        function count(project) {
            builds[project]++
            failed[project] += $3 == "failed"
            seconds[project] += $4
            cached[project] += $6
            steps[project] += $7
            ran[project] += $8
        }
        END {
            for (project in builds) {
                step = steps[project] > cached[project] ? ran[project] / (steps[project] - cached[project]) : 0
                rank = project == "" ? -1 : seconds[project]
                printf "%.0f\t%s\t%d\t%d\t%s\t%.1f\t%.0f\t%.1f\n", rank, \
                    project == "" ? "all" : (project in repository) ? repository[project] : project, builds[project], failed[project], \
                    steps[project] ? sprintf("%.0f %%", 100 * cached[project] / steps[project]) : "-", \
                    seconds[project] / builds[project], seconds[project] / 60, cached[project] * step / 60
            }
        }' file=state "$METRICS/work/state" file=builds "$STATE/builds" 2>/dev/null | sort -rn | awk -F '\t' '
        # The last line is that of all.
        NR > 20 { further++; last = $0; next }
        BEGIN { line("project", "builds", "failed", "cached", "mean s", "minutes", "saved min") }
        { line($2, $3, $4, $5, $6, $7, $8) }
        END {
            if (further > 1) print further - 1, "further projects"
            if (further && split(last, word, "\t")) line(word[2], word[3], word[4], word[5], word[6], word[7], word[8])
        }
        function line(a, b, c, d, e, f, g) { printf "%-40s %7s %7s %7s %8s %8s %10s\n", a, b, c, d, e, f, g }'
}

# disk: print the free space and what the engine holds.
disk() {
    echo "Disk"
    # shellcheck disable=SC2046 # numbers: block size; blocks, those not reserved for root; inodes, free ones
    set -- $(stat -f -c '%S %b %a %c %d' "${DATA_ROOT:-/var/lib/docker}")
    echo "$((100 * $3 / $2)) % of $(($1 * $2 / 1000000000)) GB are free$([ "$4" = 0 ] || echo ", and $((100 * $5 / $4)) % of the inodes")"
    docker system df
}

# next: print the images that the disk guard would remove first.
next() {
    echo "Next to be removed when the disk is nearly full, the least recently used first"
    WORK=$(mktemp -d /dev/shm/dindcache.XXXXXX) || return
    stored_record >"$WORK/record"
    list_unused image "$MAX_JOB_SECONDS" | head -n 10 >"$WORK/unused"
    awk '
        { printf "image %s, last used %s\n", (NF > 4 ? $5 : $3), strftime("%Y-%m-%d %H:%M", $1) }
        END { if (!NR) print "no image: all are in use, kept, or were used within the longest time of a job" }' "$WORK/unused"
    rm -rf "$WORK"
    echo "then build cache, the least recently used first"
}

main() {
    days=${1:-7}
    case $days in *[!0-9]* | '' | 0) log "the days must be a number, got '$days'" && exit 64 ;; esac
    projects "$days"
    echo
    disk
    echo
    next
}

main "$@"
