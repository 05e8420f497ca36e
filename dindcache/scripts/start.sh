#!/bin/sh
# Start the engine with what only its node can say, then its flags: start.sh PORT RELOAD_SECONDS DRAIN_SECONDS [FLAG...]
# What the node does not allow is said and left out.
set -eu
port=$1 reload_seconds=$2 drain_seconds=$3
shift 3
trap 'exit 143' TERM # process 1 ignores it otherwise
note() { echo "dindcache: $*" >&2; }

# Containers get an MTU of 1500 unless told; in a pod network with less, large packets vanish and builds stall.
interface=$(ip route 2>/dev/null | sed -n 's/^default .*dev \([^ ]*\).*/\1/p' | head -n 1)
if mtu=$(cat "/sys/class/net/${interface:-eth0}/mtu" 2>/dev/null); then
    set -- --mtu="$mtu" --default-network-opt=bridge=com.docker.network.driver.mtu="$mtu" "$@"
else
    note "left out: the pod network's MTU (no interface ${interface:-eth0})"
fi

# A drain that ended in a restart of the container alone leaves its door closed: the pod's network stays.
for tables in iptables ip6tables; do
    while "$tables" -w -D INPUT -p tcp --dport "$port" --syn -j REJECT --reject-with tcp-reset 2>/dev/null; do :; done
done

# Each image store has its own files, and by itself the engine does not say that it leaves the other's alone.
root=${DATA_ROOT:-/var/lib/docker}
if grep -q '"containerd-snapshotter": true' /etc/docker/daemon.json 2>/dev/null; then
    other=overlay2 files=$root/image/overlay2
else
    other=containerd files=$root/containerd/daemon/io.containerd.content.v1.content/blobs
fi
[ ! -d "$files" ] || note "the $other image store has images on this volume: they are kept there, and not shown"

# The kubelet marks a pod without a request for all of its memory as one to kill early, and the containers that the engine
# starts are not marked: of the two it would be the engine that dies for a container that takes too much.
if [ "$(cat /proc/self/oom_score_adj)" -gt 0 ]; then
    echo 0 >/proc/$$/oom_score_adj || note "left out: the engine's place behind its containers when memory is short"
fi

# With cgroup v2 the engine would put containers and build steps beside this pod's cgroup, outside of its limits.
own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
own=${own%/}
contain() {
    mkdir -p "$own/init" "$own/docker" || return
    # A cgroup hands controllers down only when no process is in it. A probe's may be for a moment, so try again.
    tries=0
    until echo $$ >"$own/init/cgroup.procs" && share; do
        tries=$((tries + 1))
        [ "$tries" -lt 10 ] || return
        sleep 1
    done
    # The kubelet lets the whole pod die when it is over its memory limit. A lower one for what the engine starts keeps
    # the engine out of it: 200 MiB less (the engine with eight builds stays below that: test_crash.py), or half of a small limit.
    limit=$(cat "$own/memory.max") || return
    [ "$limit" = max ] || {
        room=$((200 * 1024 * 1024))
        [ "$room" -le $((limit / 2)) ] || room=$((limit / 2))
        echo $((limit - room)) >"$own/docker/memory.max"
    }
}
share() {
    # Not sed: BusyBox's hides a failed write to a cgroup file.
    read -r controllers <"$own/cgroup.controllers"
    for controller in $controllers; do
        echo "+$controller" >"$own/cgroup.subtree_control" || return
    done
}
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    if contain; then
        set -- --cgroup-parent="${own#/sys/fs/cgroup}/docker" "$@"
    else
        note "left out: containers and build steps within this pod's limits (cgroup v2 at $own)"
    fi
fi

# For who shares this directory and is no client, whom a drain would wait for.
[ ! -d /run/dindcache ] || set -- --host=unix:///run/dindcache/docker.sock "$@"

# Here, for it is in the engine's cgroup now.
[ ! -e "${CERTIFICATES:-/certs/server}/cert.pem" ] || sh "${0%/*}/reload.sh" "$reload_seconds" "$drain_seconds" "$port" &

exec dockerd-entrypoint.sh "$@"
