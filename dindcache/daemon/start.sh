#!/bin/sh
# Start the engine with flags that depend on the node, then its own flags: start.sh [FLAG...]
# A setting that the node does not allow is logged and left out.
#   PORT                                      port of the daemon
#   RELOAD_…, DRAIN_…                         as in reload-certificate.sh and drain.sh
#   USER_NAMESPACE                            as in user-namespace.sh
#   CERTIFICATES                              defaults to /certs/server
#   DATA_ROOT                                 defaults to /var/lib/docker
#   METRICS                                   directory of the metrics, if they are on; defaults to /run/dindcache.metrics
set -eu
: "${PORT:?}"
. "${0%/*}/common.sh"
# With this much memory an engine with eight builds stays below the limit of its pod (test_crash.py).
engine_bytes=$((200 * 1024 * 1024))

# network_flags: print the flags for the MTU of the pod network. Containers get 1500 by default; in a pod network with a smaller
# MTU, large packets vanish and builds stall.
network_flags() {
    interface=$(ip route 2>/dev/null | sed -n 's/^default .*dev \([^ ]*\).*/\1/p' | head -n 1)
    if mtu=$(cat "/sys/class/net/${interface:-eth0}/mtu" 2>/dev/null); then
        echo "--mtu=$mtu --default-network-opt=bridge=com.docker.network.driver.mtu=$mtu"
    else
        log "left out: the MTU of the pod network (no interface ${interface:-eth0})"
    fi
}

# report_other_store: log that the volume has images of the other image store, which the engine does not report.
report_other_store() {
    root=${DATA_ROOT:-/var/lib/docker}
    if grep -q '"containerd-snapshotter": true' /etc/docker/daemon.json 2>/dev/null; then
        other=overlay2 files=$root/image/overlay2/imagedb/content/sha256
    else
        # Not its content: the other store keeps some manifests there too.
        other=containerd files=$root/containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots
    fi
    [ -z "$(ls -A "$files" 2>/dev/null)" ] || log "the $other image store has images on this volume: they stay, but are not listed"
}

# protect_engine: give the engine the oom_score_adj of its containers. The kubelet raises that of a pod that does not request
# all of its memory, so the kernel would kill the engine rather than a container.
protect_engine() {
    [ "$(cat /proc/self/oom_score_adj)" -gt 0 ] || return 0
    echo 0 >/proc/$$/oom_score_adj || log "left out: under memory pressure the engine can be killed before its containers"
}

# contain: keep containers and build steps in the pod's cgroup and within its limits. With cgroup v2, the engine would put them
# outside.
contain() {
    mkdir -p "$own/init" "$own/docker" || return
    # A cgroup delegates controllers only while it has no processes. A probe's process can be in it for a moment.
    tries=0
    until echo $$ >"$own/init/cgroup.procs" && delegate; do
        tries=$((tries + 1))
        [ "$tries" -lt 10 ] || return
        sleep 1
    done
    # At its memory limit, the container is killed as a whole. A lower limit for the engine's containers and build steps spares
    # the engine.
    limit=$(cat "$own/memory.max") || return
    [ "$limit" = max ] || {
        reserve=$engine_bytes
        [ "$reserve" -le $((limit / 2)) ] || reserve=$((limit / 2))
        echo $((limit - reserve)) >"$own/docker/memory.max"
    }
}
delegate() {
    # Not sed: in BusyBox, it does not report a failed write to a cgroup file.
    read -r controllers <"$own/cgroup.controllers"
    for controller in $controllers; do
        echo "+$controller" >"$own/cgroup.subtree_control" || return
    done
}

# tell_start: tell the metrics of this start. The directory is as old as the pod.
tell_start() {
    metrics=${METRICS:-/run/dindcache.metrics} reason=pod
    [ -d "$metrics" ] || return 0
    if [ -e "$metrics/started" ]; then reason=$(cat "$metrics/restart" 2>/dev/null) || reason=unexpected; fi
    : >"$metrics/started"
    rm -f "$metrics/restart" "$metrics/drain"
    tell start "$reason"
}

main() {
    trap 'exit 143' TERM # process 1 ignores it otherwise
    sh "${0%/*}/user-namespace.sh"
    # shellcheck disable=SC2046 # a list of flags
    set -- $(network_flags) "$@"
    # A drain can have ended in a restart of only the container, which leaves the firewall rules of the pod.
    accept_clients
    tell_start
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
    # For the disk guard, which shares this directory, and which a drain does not wait for.
    [ ! -d /run/dindcache ] || set -- --host=unix:///run/dindcache/docker.sock "$@"
    # Started here, since this process is in the engine's cgroup now.
    [ ! -e "${CERTIFICATES:-/certs/server}/cert.pem" ] || sh "${0%/*}/reload-certificate.sh" "$@"
    # With this word first, the entrypoint adds no listeners and checks no certificates of its own.
    exec dockerd-entrypoint.sh dockerd "$@"
}

main "$@"
