#!/bin/sh
# Start the engine with what only its node can tell, then its flags: start.sh [FLAG...]
# What the node does not allow is logged and left out.
#   PORT                                      the daemon's
#   RELOAD_…, DRAIN_…                         as reload-certificate.sh and drain.sh have them
#   CERTIFICATES                              defaults to /certs/server
#   DATA_ROOT                                 defaults to /var/lib/docker
set -eu
: "${PORT:?}"
. "${0%/*}/common.sh"
# With this much memory an engine with eight builds stays below the limit of its pod (test_crash.py).
engine_bytes=$((200 * 1024 * 1024))

# network_flags: containers get an MTU of 1500 by default; in a pod network with a smaller one, large packets vanish and builds
# stall.
network_flags() {
    interface=$(ip route 2>/dev/null | sed -n 's/^default .*dev \([^ ]*\).*/\1/p' | head -n 1)
    if mtu=$(cat "/sys/class/net/${interface:-eth0}/mtu" 2>/dev/null); then
        echo "--mtu=$mtu --default-network-opt=bridge=com.docker.network.driver.mtu=$mtu"
    else
        log "left out: the MTU of the pod network (no interface ${interface:-eth0})"
    fi
}

# report_other_store: each image store has files of its own, and the engine does not report those of the other one.
report_other_store() {
    root=${DATA_ROOT:-/var/lib/docker}
    if grep -q '"containerd-snapshotter": true' /etc/docker/daemon.json 2>/dev/null; then
        other=overlay2 files=$root/image/overlay2
    else
        other=containerd files=$root/containerd/daemon/io.containerd.content.v1.content/blobs
    fi
    [ ! -d "$files" ] || log "the $other image store has images on this volume: they stay, but are not listed"
}

# protect_engine: the kubelet marks a pod that does not request all of its memory as one to kill early, but not the containers
# that the engine starts, so the kernel would kill the engine rather than a container.
protect_engine() {
    [ "$(cat /proc/self/oom_score_adj)" -gt 0 ] || return 0
    echo 0 >/proc/$$/oom_score_adj || log "left out: under memory pressure the engine can be killed before its containers"
}

# contain: with cgroup v2 the engine would put containers and build steps outside of the pod's cgroup and of its limits.
contain() {
    mkdir -p "$own/init" "$own/docker" || return
    # A cgroup delegates controllers only when it has no process. A probe's can be there for a moment.
    tries=0
    until echo $$ >"$own/init/cgroup.procs" && delegate; do
        tries=$((tries + 1))
        [ "$tries" -lt 10 ] || return
        sleep 1
    done
    # The kubelet lets the whole pod die at its memory limit. A lower limit for what the engine starts keeps the engine out of it.
    limit=$(cat "$own/memory.max") || return
    [ "$limit" = max ] || {
        reserve=$engine_bytes
        [ "$reserve" -le $((limit / 2)) ] || reserve=$((limit / 2))
        echo $((limit - reserve)) >"$own/docker/memory.max"
    }
}
delegate() {
    # Not sed: BusyBox's does not report a failed write to a cgroup file.
    read -r controllers <"$own/cgroup.controllers"
    for controller in $controllers; do
        echo "+$controller" >"$own/cgroup.subtree_control" || return
    done
}

main() {
    trap 'exit 143' TERM # process 1 ignores it otherwise
    # shellcheck disable=SC2046 # a list of flags
    set -- $(network_flags) "$@"
    # A drain can have ended in a restart of the container only, and the pod's network stays.
    accept_clients
    report_other_store
    protect_engine
    own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
    own=${own%/}
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        if contain; then
            set -- --cgroup-parent="${own#/sys/fs/cgroup}/docker" "$@"
        else
            log "left out: limits of this pod for containers and build steps (cgroup v2 at $own)"
        fi
    fi
    # For the disk guard, which shares this directory and is no client that a drain would wait for.
    [ ! -d /run/dindcache ] || set -- --host=unix:///run/dindcache/docker.sock "$@"
    # Started here, since this process is in the engine's cgroup now.
    [ ! -e "${CERTIFICATES:-/certs/server}/cert.pem" ] || sh "${0%/*}/reload-certificate.sh" "$@"
    # With this word first, the entrypoint adds no listeners and checks no certificates of its own.
    exec dockerd-entrypoint.sh dockerd "$@"
}

main "$@"
