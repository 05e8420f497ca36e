#!/bin/sh
# Functions that the scripts share. Each script sources this file from its own directory.

# log TEXT...: write a line to the log of the container.
log() { echo "dindcache: $*" >&2; }

# now: print the seconds since the node booted, which do not depend on its clock.
now() { cut -d. -f1 /proc/uptime; }

# tell WORD...: tell the metrics that something happened, if they are on. Each line of the file is one event.
tell() {
    events=${METRICS:-/run/dindcache.metrics}/events
    # Nobody reads a file that is so large, and it is in memory.
    [ -d "${events%/*}" ] || return 0
    if [ ! -e "$events" ] || [ "$(wc -c <"$events")" -lt 65536 ]; then echo "$*" >>"$events" || :; fi
}

# build_steps REF: print how many steps of a build were cached, how many steps it had, and the seconds that the others took. A
# step has a number, such as [2/4], and is no FROM, which is never cached. A step that was not reached does not count.
build_steps() {
    docker buildx history logs --progress rawjson "$1" 2>&1 | sed 's/{"digest"/\n&/g' | awk -F '"' '
        { sub(/"(statuses|logs|warnings)":\[.*/, "") } # they have times of their own
        match($0, /"name":"\[[^]]*[0-9]+\/[0-9]+\] [A-Z]+/) && substr($0, RSTART, RLENGTH) !~ / FROM$/ && /"completed":"/ {
            all[$4]
            if (/"cached":true/) cached[$4]
            took = time("completed") - time("started")
            if (took < 0) took += 86400 # over midnight
            if (took > longest[$4]) longest[$4] = took
        }
        END {
            for (step in all) {
                total++
                hits += (step in cached)
                if (!(step in cached)) seconds += longest[step]
            }
            printf "%d %d %.3f\n", hits, total, seconds
        }
        # time: the seconds of the day in a field such as "started":"2026-11-27T16:56:33.843561343Z"
        function time(field, at) {
            at = index($0, "\"" field "\":\"") + length(field) + 15
            return substr($0, at, 2) * 3600 + substr($0, at + 3, 2) * 60 + substr($0, at + 6) + 0
        }'
}

# engine_answers: whether the engine answers on its own socket, regardless of DOCKER_HOST.
engine_answers() { timeout 10 docker --host=unix:///var/run/docker.sock version >/dev/null 2>&1; }

# is_listening: whether $PORT has a listener in this pod: state 0A of its local address.
is_listening() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v "port=$(printf ':%04X$' "$PORT")" '
        $2 ~ port && $4 == "0A" { found = 1 }
        END { exit !found }'
}

# accept_clients: undo what a drain did to reject new clients of $PORT.
accept_clients() {
    for tables in iptables ip6tables; do
        while "$tables" -w -D INPUT -p tcp --dport "$PORT" --syn -j REJECT --reject-with tcp-reset 2>/dev/null; do :; done
    done
    rm -f /run/dindcache.closed
}

# inspect KIND FORMAT: print the objects whose IDs are on standard input, without those that have vanished. In batches, since
# a command takes a limited number of arguments.
inspect() {
    { errors=$(xargs -r -n 1000 docker "$1" inspect --format "$2" 2>&1 >&3) && return; } 3>&1
    ! printf '%s\n' "$errors" | grep -Eiv 'no such (image|container|volume)|network .* not found' >&2
}
