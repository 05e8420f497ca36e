#!/bin/sh
# preStop: wait until no client has been connected for a while. A client is a connection to the port, so probes and the disk
# guard, which use Unix sockets, do not count.
#   PORT                         port of the daemon
#   DRAIN_SECONDS                the drain ends after this time, even with clients connected
#   DRAIN_REJECT_AFTER_SECONDS   new clients are rejected after this time, so that a busy daemon ends
#   DRAIN_QUIET_SECONDS          the drain ends when no client has been connected for this time
#   LIVENESS_PERIOD_SECONDS      time between two checks of the engine
#   LIVENESS_FAILURES            the drain ends after so many failed checks in a row, since a hung engine keeps its connections
#   DRAIN_REASON                 reason for the metrics, defaults to shutdown
#   METRICS                      directory of the metrics, if they are on; defaults to /run/dindcache.metrics
#   NETWORK                      directory of the tables of connections, defaults to /proc/net
set -eu
: "${PORT:?}" "${DRAIN_SECONDS:?}" "${DRAIN_REJECT_AFTER_SECONDS:?}" "${DRAIN_QUIET_SECONDS:?}"
: "${LIVENESS_PERIOD_SECONDS:?}" "${LIVENESS_FAILURES:?}"
. "${0%/*}/common.sh"
# Makes the readiness probe fail.
closed=/run/dindcache.closed
quiet=$DRAIN_QUIET_SECONDS network=${NETWORK:-/proc/net} metrics=${METRICS:-/run/dindcache.metrics}

# clients: count the connections to the port whose other end is alive. In /proc/net/tcp the local address is the second field,
# in hexadecimal, and 01 in the fourth is ESTABLISHED. When a node vanishes, its connections stay in that state for up to 15
# minutes: data is retransmitted (field 7: 8 times take 100 s), or keepalive probes are not answered (field 9: 4 take 75 s).
clients() {
    # tcp6 does not exist where IPv6 is off.
    cat "$network/tcp" "$network/tcp6" 2>/dev/null | awk -v "port=$(printf ':%04X$' "$PORT")" '
        $2 ~ port && $4 == "01" && hex($7) < 8 && $9 < 4 { count++ }
        END { print count + 0 }
        function hex(text, number, i) {
            for (i = 1; i <= length(text); i++)
                number = 16 * number + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
            return number
        }'
}

# show PHASE: show the metrics when the drain began, and whether it is "waiting" or "rejecting" new clients.
show() { [ ! -d "$metrics" ] || echo "$begin $1" >"$metrics/drain" || :; }

reject_new_clients() {
    log "drain: rejecting new clients"
    show rejecting
    touch "$closed"
    quiet=1 # no client can come back, and jobs wait for the next engine
    # The readiness probe does not suffice: Kubernetes 1.36 kept a terminating pod ready (measured).
    for tables in iptables ip6tables; do
        "$tables" -w -I INPUT -p tcp --dport "$PORT" --syn -j REJECT --reject-with tcp-reset ||
            log "drain: cannot reject new clients with $tables"
    done
}

# finish TEXT...: end the drain.
finish() {
    log "drain: $*"
    rm -f "$metrics/drain"
    tell drained "${DRAIN_REASON:-shutdown}" $(($(now) - begin))
}

main() {
    # The output of a hook does not appear in the log.
    if [ -w /proc/1/fd/2 ]; then exec 2>/proc/1/fd/2; fi
    begin=$(now)
    busy=$begin asked=$begin unanswered=0
    log "drain: waiting up to $DRAIN_SECONDS s for clients"
    show waiting
    while :; do
        time=$(now)
        connected=$(clients)
        if [ "$connected" -gt 0 ]; then busy=$time; fi
        if [ $((time - busy)) -ge "$quiet" ]; then
            finish "no client for $quiet s"
            return
        elif [ $((time - begin)) -ge "$DRAIN_SECONDS" ]; then
            finish "$connected connections left at the deadline"
            return
        elif [ $((time - begin)) -ge "$DRAIN_REJECT_AFTER_SECONDS" ] && [ ! -e "$closed" ]; then
            reject_new_clients
        fi
        if [ $((time - asked)) -ge "$LIVENESS_PERIOD_SECONDS" ]; then
            asked=$time
            if engine_answers; then unanswered=0; else unanswered=$((unanswered + 1)); fi
            if [ "$unanswered" -ge "$LIVENESS_FAILURES" ]; then
                finish "the engine does not answer"
                return
            fi
        fi
        sleep 1
    done
}

main "$@"
