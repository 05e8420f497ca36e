#!/bin/sh
# Check that the node and the data root fit the mode of the daemon, before its engine starts: user-namespace.sh
# A layer that an engine unpacked outside of a user namespace marks its opaque directories with another extended attribute than
# inside. Read in the other mode, files that a layer deleted are there again, without an error.
#   USER_NAMESPACE   1 if the daemon is to run in a user namespace; defaults to none
#   DATA_ROOT        defaults to /var/lib/docker
#   PROC, CGROUP     default to /proc/self and /sys/fs/cgroup
set -eu
. "${0%/*}/common.sh"
root=${DATA_ROOT:-/var/lib/docker}
proc=${PROC:-/proc/self} cgroup=${CGROUP:-/sys/fs/cgroup}
# Only a data root of a user namespace has it: there were data roots before there was a choice.
mark=$root/dindcache.user-namespace

# refuse TEXT...: end, so that the pod restarts and says it again.
refuse() {
    log "$*"
    exit 78
}

# has_data: whether an engine has written to the data root.
has_data() { [ -e "$root/image" ] || [ -e "$root/containerd" ] || [ -e "$root/buildkit" ] || [ -e "$root/overlay2" ]; }

check_node() {
    read -r _ outside count <"$proc/uid_map"
    [ "$outside" != 0 ] || refuse "this pod has no user namespace: its node needs Kubernetes 1.33 and containerd 2.0 or later"
    [ "$count" -ge 65536 ] || refuse "the user namespace of this pod has $count users, not 65536"
    ! grep -q '^[^ ]* /proc/' "$proc/mounts" || refuse "/proc is masked: its node needs Kubernetes 1.33 or later (procMount: Unmasked)"
    [ -e "$cgroup/cgroup.controllers" ] || refuse "this node has cgroup v1: a user namespace needs cgroup v2"
    # The engine's containers have their cgroups here.
    mkdir -p "$cgroup/docker" 2>/dev/null && [ -w "$cgroup/cgroup.subtree_control" ] ||
        refuse "cgroups cannot be written: containerd 2.1 or later needs cgroup_writable = true for the pod's runtime," \
            "and its node cgroups that are mounted with nsdelegate"
}

main() {
    if [ -z "${USER_NAMESPACE:-}" ]; then
        [ ! -e "$mark" ] || refuse "the data root is one of a user namespace: set user_namespace=True, or use an empty directory"
        return
    fi
    check_node
    [ ! -e "$mark" ] || return 0
    ! has_data || refuse "the data root is not one of a user namespace: use an empty directory, or leave user_namespace out"
    : >"$mark"
}

main "$@"
