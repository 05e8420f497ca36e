#!/bin/sh
# Init container: copy the files of the pod, then wait until no other daemon uses the data root.
#   CONFIG   the ConfigMap, which an upgrade changes while this pod drains
#   FILES    the copy that this pod keeps
set -eu
: "${CONFIG:?}" "${FILES:?}"

main() {
    # -L: the files of a mounted ConfigMap are links.
    cp -RL "$CONFIG"/* "$FILES"
    # In place of this process: process 1 must hold the lock.
    exec sh "$FILES/dindcache/lock.sh" true
}

main "$@"
