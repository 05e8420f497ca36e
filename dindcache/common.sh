#!/bin/sh
# Functions that the scripts share. Each script sources this file from its own directory.

# log TEXT...: write a line to the log of the container.
log() { echo "dindcache: $*" >&2; }

# now: print the seconds since the node booted, which do not depend on its clock.
now() { cut -d. -f1 /proc/uptime; }

# engine_answers: whether the engine answers on its own socket, regardless of DOCKER_HOST.
engine_answers() { timeout 5 docker --host=unix:///var/run/docker.sock version >/dev/null 2>&1; }

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
