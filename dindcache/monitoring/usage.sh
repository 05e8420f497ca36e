#!/bin/sh
# Functions that print the sizes of what the engine holds, and what prunes have done. Sourced by collect.sh.
#   USAGE_SECONDS   least time between two looks
#   MAX_PROJECTS    how many projects have a label of their own
#   WORK            directory for files, among them `usage`, with the last samples

# prune_samples: print what the runs of prunes have left on the engine (cleanup/prune.sh).
prune_samples() {
    docker volume ls --filter label=dindcache.prune --format '{{.Labels}}' | tr , '\n' | awk -F = '
        $1 == "dindcache.prune" { print "dindcache_prune_last_run_timestamp_seconds", $2 }
        $1 == "dindcache.failed" { print "dindcache_prune_last_run_failed", $2 }
        sub(/^dindcache\.removed\./, "", $1) { printf "dindcache_removed_objects_total{by=\"prune\",kind=\"%s\"} %s\n", $1, $2 }'
}

# usage_samples: print the sizes of what the engine holds. It reads whole volumes, so it is not done at each look.
usage_samples() {
    timeout 600 docker system df --format '{{.Type}}|{{.TotalCount}}|{{.Size}}' | awk -F '|' "$BYTES"'
        $1 == "Images" { name = "images"; one = "image" }
        $1 == "Containers" { name = "containers"; one = "container" }
        $1 == "Local Volumes" { name = "volumes"; one = "volume" }
        $1 != "Build Cache" { printf "dindcache_%s %d\ndindcache_%s_bytes %.0f\n", name, $2, one, bytes($3) }'
    # A cache mount has the namespace in its ID, such as "4711//root/.cache".
    timeout 60 docker buildx du --timeout 60s --format json | awk -v "most=$MAX_PROJECTS" "$BYTES"'
        {
            match($0, /"Type":"[a-z.]+"/)
            kind = substr($0, RSTART + 8, RLENGTH - 9)
            match($0, /"Size":"[^"]*"/)
            size = bytes(substr($0, RSTART + 8, RLENGTH - 9))
            match($0, /"Shared":(true|false)/)
            shared = substr($0, RSTART + 9, RLENGTH - 9)
            cache[kind "\",shared=\"" shared] += size
            if (kind != "exec.cachemount") next
            project = "unknown"
            if (match($0, /with id \\"[^\\"]*\/\//)) project = substr($0, RSTART + 10, RLENGTH - 12)
            gsub("[^A-Za-z0-9._/:+~-]", "_", project)
            mounts[substr(project, 1, 100)] += size
        }
        END {
            for (kind in cache) printf "dindcache_build_cache_bytes{kind=\"%s\"} %.0f\n", kind, cache[kind]
            for (project in mounts) {
                if (++projects > most) { other += mounts[project]; continue }
                printf "dindcache_cache_mount_bytes{project=\"%s\"} %.0f\n", project, mounts[project]
            }
            if (projects > most) printf "dindcache_cache_mount_bytes{project=\"other\"} %.0f\n", other
        }'
}

# look_at_usage: refresh the sizes when they are due.
look_at_usage() {
    [ "$(now)" -ge "$usage_at" ] || return 0
    usage_begin=$(now)
    usage_samples >"$WORK/usage.new" 2>/dev/null && prune_samples >>"$WORK/usage.new" 2>/dev/null && mv "$WORK/usage.new" "$WORK/usage"
    # At most a fiftieth of the time.
    usage_at=$(($(now) + USAGE_SECONDS + 50 * ($(now) - usage_begin)))
}
