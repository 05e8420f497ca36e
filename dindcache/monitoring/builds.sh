#!/bin/sh
# Functions that read the engine's builds and count them. Sourced by collect.sh.
#   METRICS, STATE, MAX_PROJECTS   as in collect.sh
#   WORK                           directory for files, among them:
#     state                        the counters, the projects and the builds that they have counted
#     ended, events                builds and events that they have not counted yet
#   unsaved                        whether the last write to the volume failed
# The builds that the report can read, in a file of 2 MB.
most_builds=20000
# Upper bounds of the histogram of durations, in seconds.
buckets='1 5 10 30 60 120 300 600 1200 3600'

# history FILTER...: write builds to the file `history`, the newest first, and print their references.
history() {
    timeout 30 docker buildx history ls --format json "$@" >"$WORK/history" 2>/dev/null || return
    sed -n 's/.*"ref":"[^"]*\/\([^"/]*\)","status":".*/\1/p' "$WORK/history"
}

utc() { date -u -d "@$1" +%Y-%m-%dT%H:%M:%SZ; }

# ended_builds SINCE: print the references of builds that ended since then, the newest first. The client lists 50 at once, and its
# filters compare whole seconds. The record of a build can come some seconds after its end.
ended_builds() {
    before=''
    while :; do
        history --filter "completedAt>$(utc $(($1 - 10)))" ${before:+--filter "startedAt<$(utc "$before")"} || return
        [ "$(wc -l <"$WORK/history")" -ge 50 ] || return 0
        oldest=$(sed -n '$s/.*"created_at":"\([-0-9]*\)T\([:0-9]*\).*/\1 \2/p' "$WORK/history")
        oldest=$(($(date -u -d "$oldest" +%s) + 1))
        # More builds began in one second than a list has.
        [ "$oldest" != "$before" ] || return 0
        before=$oldest
    done
}

# read_build REF: print the words of a build that has ended: the time of its end, its result, its duration in seconds, whether it
# failed for lack of space, its cached steps, all steps, the seconds of the others, its project and its repository.
read_build() {
    format='{{.CompletedAt.Unix}} {{.Status}} {{.Duration.Seconds}}'
    # The reason of a failed step is in the last lines that it printed.
    format="$format {{if .Error}}{{printf \"%q %q\" .Error.Message .Error.Logs}}{{end}}"
    format="$format{{\"\\n\"}}{{.Config.CacheMountNS}}{{\"\\n\"}}{{.VCSRepository}}"
    timeout 30 docker buildx history inspect --format "$format" "$1" >"$WORK/build" 2>/dev/null || return
    steps=$(build_steps "$1")
    # Only what a label can be.
    awk -v "steps=$steps" '
        NR == 1 { words = $1 " " $2 " " $3 " " (tolower($0) ~ /no space left on device|disk quota exceeded/) " " steps }
        NR == 2 { project = label($0) }
        NR == 3 {
            sub(/^[a-z+]+:\/\//, "")
            sub(/^[^\/]*@/, "") # credentials
            sub(/\.git$/, "")
            repository = label($0)
        }
        function label(text) {
            gsub("[^A-Za-z0-9._/:+~-]", "_", text)
            return substr(text, 1, 100)
        }
        END {
            if (project == "") project = repository == "" ? "unknown" : repository
            print words, project, repository == "" ? "-" : repository
        }' "$WORK/build"
}

# read_builds: append the builds that have ended since the last look to the file `ended`.
read_builds() {
    history --filter status=running >"$WORK/running" || return
    ended_builds "$(awk '$1 == "since" { print $2 }' "$WORK/state")" >"$WORK/list" || return
    awk 'file == "state" { if ($1 == "seen") seen[$2]; next } !($1 in seen) { seen[$1]; print }' \
        file=state "$WORK/state" file=list "$WORK/list" >"$WORK/unread"
    # The oldest first.
    sed '1!G;h;$!d' "$WORK/unread" >"$WORK/oldest"
    while read -r ref; do
        # A record that cannot be read, because it is gone, is not read again.
        build=$(read_build "$ref" </dev/null) || build=-
        echo "$ref $build" >>"$WORK/ended"
    done <"$WORK/oldest"
}

# count: add the builds and the events to the counters, all at once: no build counts twice, whatever ends this script.
count() {
    if [ -e "$METRICS/events" ] && [ ! -s "$WORK/events" ]; then mv "$METRICS/events" "$WORK/events"; fi
    if [ ! -s "$WORK/ended" ] && [ ! -s "$WORK/events" ]; then return; fi
    awk -v "most=$MAX_PROJECTS" -v "now=$(date +%s)" -v "bounds=$buckets" "$BYTES"'
        function add(key, value) { total[key] += value }
        # A project keeps its label while it builds. One that has not built for a week makes room.
        function named(project, other, oldest) {
            if (!(project in built)) {
                for (other in built) if (oldest == "" || built[other] < built[oldest]) oldest = other
                if (projects >= most && built[oldest] > now - 7 * 86400) return "other"
                if (projects >= most) {
                    delete built[oldest]
                    for (other in total) if (index(other, "project=\"" oldest "\"")) delete total[other]
                } else projects++
            }
            built[project] = now
            return project
        }
        BEGIN { bounds_count = split(bounds, bound, " ") }
        file == "state" && $1 == "total" { total[$2] = $3; next }
        file == "state" && $1 == "project" { built[$2] = $3; projects++; next }
        file == "state" && $1 == "repository" { repository[$2] = $3; next }
        file == "state" && $1 == "since" { since = $2; next }
        file == "state" { if ($1 == "seen") { seen[++seen_count] = $2; known[$2] }; next }
        file == "events" && $1 == "start" { add("dindcache_engine_starts_total{reason=\"" $2 "\"}", 1) }
        file == "events" && $1 == "drained" {
            add("dindcache_drains_total{reason=\"" $2 "\"}", 1)
            add("dindcache_drain_seconds_total{reason=\"" $2 "\"}", $3)
        }
        file == "events" && $1 == "locked" { add("dindcache_lock_waits_total", 1); add("dindcache_lock_wait_seconds_total", $2) }
        file == "events" && $1 == "removed" { add("dindcache_removed_objects_total{by=\"disk-guard\",kind=\"" $2 "\"}", $3) }
        file == "events" && $1 == "freed" { add("dindcache_removed_cache_bytes_total{by=\"disk-guard\"}", bytes($2)) }
        file == "events" && $1 == "reclaim" { add("dindcache_reclaims_total{result=\"" $2 "\"}", 1) }
        file == "events" || $1 in known { next }
        { seen[++seen_count] = $1 }
        NF > 9 {
            if ($2 > since) since = $2
            project = named($9)
            if ($10 != "-") repository[$9] = $10
            add("dindcache_builds_total{project=\"" project "\",status=\"" $3 "\"}", 1)
            add("dindcache_build_seconds_total{project=\"" project "\"}", $4)
            if ($5) add("dindcache_builds_without_space_total", 1)
            add("dindcache_build_steps_total{project=\"" project "\",cached=\"true\"}", $6)
            add("dindcache_build_steps_total{project=\"" project "\",cached=\"false\"}", $7 - $6)
            add("dindcache_build_step_seconds_total{project=\"" project "\"}", $8)
            for (i = 1; i <= bounds_count; i++)
                add("dindcache_build_duration_seconds_bucket{le=\"" bound[i] "\"}", $4 <= bound[i] + 0)
            add("dindcache_build_duration_seconds_bucket{le=\"+Inf\"}", 1)
            add("dindcache_build_duration_seconds_sum", $4)
            add("dindcache_build_duration_seconds_count", 1)
        }
        END {
            for (key in total) printf "total %s %.12g\n", key, total[key]
            for (project in built) {
                printf "project %s %.0f\n", project, built[project]
                if (project in repository) print "repository", project, repository[project]
            }
            print "since", since
            # More than end in ten seconds.
            for (i = seen_count > 1000 ? seen_count - 999 : 1; i <= seen_count; i++) print "seen", seen[i]
        }' file=state "$WORK/state" file=events "$WORK/events" file=ended "$WORK/ended" >"$WORK/state.new" || return
    awk 'NF > 9' "$WORK/ended" >"$WORK/report"
    mv "$WORK/state.new" "$WORK/state"
    : >"$WORK/ended"
    : >"$WORK/events"
    save
}

# save: write the counters to the volume, and the builds for the report. On a full disk, that is done later.
save() {
    if { cp "$WORK/state" "$STATE/state.new" && mv "$STATE/state.new" "$STATE/state" && cat "$WORK/report" >>"$STATE/builds"; } \
        2>"$WORK/error"; then
        unsaved=
    else
        [ -n "$unsaved" ] || log "the counters are not saved: $(cat "$WORK/error")"
        unsaved=1
    fi
    [ "$(wc -l <"$STATE/builds" 2>/dev/null || echo 0)" -lt $((most_builds + most_builds / 10)) ] || {
        tail -n "$most_builds" "$STATE/builds" >"$STATE/builds.new" && mv "$STATE/builds.new" "$STATE/builds"
    }
}
