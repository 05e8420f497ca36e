#!/bin/sh
# preStop: wait until no client has been connected for a while: drain.sh CLOSE_SECONDS SECONDS PORT, at most that many seconds,
# from the first number of them on without new ones. A client is a connection to the port, so probes, which use the socket, do
# not count.
set -eu
close=$1 seconds=$2 port=$3
closed=/run/dindcache.closed # turns readiness false
note() { echo "dindcache: $*" >/proc/1/fd/2 || :; } # a hook's own output is not in the log
now() { cut -d. -f1 /proc/uptime; }

# The state 01 is ESTABLISHED; the local address comes first, in hexadecimal.
connected=$(printf '^ *[0-9]*: [0-9A-F]*:%04X [0-9A-F]*:[0-9A-F]* 01 ' "$port")
begin=$(now)
busy=$begin unanswered=0
patience=10 # a job connects anew between its build and its push
note "drain: waiting for clients, at most $seconds s"
while :; do
    elapsed=$(($(now) - begin))
    # tcp6 is missing where IPv6 is off.
    if clients=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -c "$connected"); then busy=$(now); fi
    if [ $(($(now) - busy)) -ge "$patience" ]; then
        note "drain: no client for $patience s"
        exit 0
    elif [ "$elapsed" -ge "$seconds" ]; then
        note "drain: $clients connections left at the deadline"
        exit 0
    elif [ "$elapsed" -ge "$close" ] && [ ! -e "$closed" ]; then
        note "drain: no new clients from here on"
        touch "$closed"
        patience=1 # nobody can come back, and somebody waits for the next engine
        # Readiness alone does not reach the Service here: Kubernetes 1.36 was seen to keep a pod that ends ready (measured).
        for tables in iptables ip6tables; do
            "$tables" -w -I INPUT -p tcp --dport "$port" --syn -j REJECT --reject-with tcp-reset || note "drain: not with $tables"
        done
    fi
    # A stopped engine keeps its connections for ever; a busy one may be late once or twice.
    if timeout 5 docker --host=unix:///var/run/docker.sock version >/dev/null 2>&1; then
        unanswered=0
    else
        unanswered=$((unanswered + 1))
        if [ "$unanswered" -ge 3 ]; then
            note "drain: the engine does not answer"
            exit 0
        fi
    fi
    sleep 1
done
