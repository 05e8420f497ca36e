#!/bin/sh
# Hold the lock on the data-root, then become a command: lock.sh COMMAND [ARGUMENT...]
# Two engines on one data-root damage it, and Kubernetes alone does not keep them apart. The lock does: the kernel drops it when
# the last process that has it ends, however it ends.
set -eu
root=${DATA_ROOT:-/var/lib/docker}
waiting=/run/dindcache.waiting # tells the probes that there is no engine yet; the first answer removes it

# In a process namespace that others share, an engine outlives its container, and the lock with it.
if [ $$ != 1 ]; then
    echo "dindcache: this is process $$, not 1: hostPID and shareProcessNamespace must be off" >&2
    exit 1
fi
# Process 1 ignores SIGTERM unless it says otherwise, and a pod that waits must go at once when it is deleted.
trap 'exit 143' TERM
# That another has it, flock says by 1 and no word; anything else is an error, and no reason to wait.
take() {
    said=$(flock -n 9 2>&1) && return
    status=$?
    [ "$status" = 1 ] && [ -z "$said" ] && return 1
    echo "dindcache: no lock on $root: $said" >&2
    exit "$status"
}
# The directory itself: there is nothing to create on a full disk. The descriptor stays open across exec.
exec 9<"$root"
if ! take; then
    echo "dindcache: another daemon holds $root, waiting for it to end" >&2
    touch "$waiting" 2>/dev/null || : # the init container cannot write there, and has no probes
    until take; do sleep 1; done
    echo "dindcache: $root is free" >&2
fi
exec "$@"
