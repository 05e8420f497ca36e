#!/bin/sh
# Hold the lock on the data root, then become a command: lock.sh COMMAND [ARGUMENT...]
# Two engines damage a data root that they share, and Kubernetes does not always keep them apart. The kernel releases the lock
# when the last process that holds it ends, however it ends.
#   DATA_ROOT   defaults to /var/lib/docker
set -eu
. "${0%/*}/common.sh"
root=${DATA_ROOT:-/var/lib/docker}
# Tells the probes that no engine runs yet. ready.sh removes it after the engine's first answer.
waiting=/run/dindcache.waiting

check_process() {
    # In a shared process namespace, an engine outlives its container and keeps the lock.
    [ $$ = 1 ] && return
    log "this is process $$, not 1: hostPID and shareProcessNamespace must be off"
    exit 1
}

# take: take the lock. Status 1 without a message means that another process holds it; anything else is an error, and no reason
# to wait.
take() {
    error=$(flock -n 9 2>&1) && return
    status=$?
    [ "$status" = 1 ] && [ -z "$error" ] && return 1
    log "no lock on $root: $error"
    exit "$status"
}

main() {
    check_process
    # Without a handler, process 1 ignores SIGTERM, but a waiting pod must end at once when it is deleted.
    trap 'exit 143' TERM
    # The lock is on the directory itself: on a full disk no file could be created. The descriptor stays open across exec.
    exec 9<"$root"
    if ! take; then
        log "another daemon holds $root, waiting for it to end"
        touch "$waiting" 2>/dev/null || : # the init container cannot write there, and has no probes
        begin=$(now)
        until take; do sleep 1; done
        log "$root is free"
        tell locked $(($(now) - begin))
    fi
    exec "$@"
}

main "$@"
