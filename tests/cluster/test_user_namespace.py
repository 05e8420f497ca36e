"""A daemon in a user namespace, beside the privileged one, on a node with cgroup v2 (``--user-namespaces``)."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from cdk8s import Duration, Size
from cdk8s_plus_27 import ContainerResources, MemoryResources

from dindcache import DindDaemon
from tests.framework.client import Client
from tests.framework.site import Site

NAMESPACE = "dindcache-userns"
MEMORY = ContainerResources(memory=MemoryResources(request=Size.mebibytes(100), limit=Size.mebibytes(900)))
# The slow node of ../shared/cluster needs minutes for what takes seconds elsewhere.
SECONDS = 600


def start(site: Site, name: str, *, user_namespace: bool, **props: Any) -> DindDaemon:
    chart = site.chart(name)
    daemon = site.add_daemon(chart, name, resources=MEMORY, user_namespace=user_namespace, **props)
    site.cluster.apply(chart)
    site.cluster.rollout(NAMESPACE, name, seconds=SECONDS)
    return daemon


@pytest.fixture(scope="module")
def inside(site: Site) -> Client:
    """Client of a daemon in a user namespace."""
    if not site.cluster.user_namespaces:
        pytest.skip("needs --user-namespaces, and a node that can (docs/guides/user-namespaces.md) as --daemon-node=NAME")
    daemon = start(site, "inside", user_namespace=True, drain_timeout=Duration.seconds(60))
    return site.client(daemon, name="client-inside")


@pytest.fixture(scope="module")
def outside(site: Site, inside: Client) -> Client:
    """Client of the privileged daemon, after the other one: the slow node of ../shared/cluster cannot run both."""
    site.cluster.kubectl("delete", "deployment", "inside", f"--namespace={NAMESPACE}", "--ignore-not-found", "--wait")
    return site.client(start(site, "outside", user_namespace=False), name="client-outside")


STAGES = """FROM busybox:latest AS first
RUN rm -rf /home; mkdir /home; id -u >/home/who
RUN --mount=type=cache,target=/cache date +%s%N >/cache/file; cp /cache/file /home/cached
USER 1000
RUN id -u >/tmp/who
FROM busybox:latest
COPY --from=first --chown=1000:1000 /home /tmp/who /result/
RUN ls -ln /result; cat /result/who"""


def test_builds_and_containers(inside):
    inside.sh(f"mkdir /stages; cat >/stages/Dockerfile <<'END'\n{STAGES}\nEND")
    output = inside.sh("docker build --progress=plain -t stages /stages")
    assert "1000" in output
    assert inside.sh("docker build --progress=plain -t stages /stages").count("CACHED") >= 2
    assert inside.sh("docker run --rm --user 1000:1000 busybox:latest id -u").strip() == "1000"
    assert inside.sh("docker run --rm --memory 64m busybox:latest cat /sys/fs/cgroup/memory.max").strip() == "67108864"
    inside.sh("docker volume create kept; docker run --rm -v kept:/v busybox:latest touch /v/file")
    assert inside.sh("docker run --rm -v kept:/v busybox:latest ls /v").strip() == "file"
    inside.sh("docker run -d --rm --name web -p 8080:80 busybox:latest sh -c 'echo served >/index.html; httpd -f -h /'")
    host = "docker run --rm --network host busybox:latest wget -q -O - http://127.0.0.1:8080"
    inside.cluster.wait(lambda: "served" in inside.run(host).stdout, "the published port")
    inside.sh("docker rm --force web")


PRIVILEGED = "--privileged"
# The same rights, but no second /sys, which a container with --privileged mounts, and which no user namespace may.
RIGHTS = (
    "--cap-add=ALL --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
)
# Options and script of a container, which succeeds where the escape does. The disk of the node is /dev/vda.
ESCAPES = {
    "log of the kernel, privileged": (PRIVILEGED, "dmesg"),
    "log of the kernel": (RIGHTS, "dmesg"),
    "disk of the node": (PRIVILEGED, "mount -t ext4 /dev/vda /mnt && ls /mnt/node"),
    "disk, by mknod": (
        f"{RIGHTS} --device-cgroup-rule='b *:* rwm'",
        "mknod /d b $(cat /sys/class/block/vda/dev | tr : ' ') && head -c 1 /d | grep -c ''",
    ),
    "disk, as a device": ("--device=/dev/vda", "head -c 1 /dev/vda"),
    "credentials of the kubelet": (
        f"{PRIVILEGED} -v /dev:/devices",
        "mount -t ext4 /devices/vda /mnt && cat /mnt/node/kubeconfig",
    ),
    "Secrets of other pods": (
        f"{PRIVILEGED} --pid=host",
        "mount -t ext4 /dev/vda /mnt && ls -d /mnt/var/lib/kubelet/pods/*/volumes",
    ),
    "files of the node": (f"{RIGHTS} -v /:/host", "mknod /host/d b 254 0 && rm /host/d"),
    "a kernel module": (RIGHTS, "insmod /etc/passwd 2>&1 | grep -i -e format"),
    "a sysctl of the node": (RIGHTS, "cat /proc/sys/vm/swappiness >/proc/sys/vm/swappiness"),
    "a sysctl of the node's network": (f"{RIGHTS} --net=host", "cat /proc/sys/kernel/panic >/proc/sys/kernel/panic"),
    "the cgroup of all pods": (
        f"{RIGHTS} --cgroupns=host -v /sys/fs/cgroup:/groups",
        "ls -d /groups/kubepods && mkdir /groups/kubepods/escaped && rmdir /groups/kubepods/escaped",
    ),
    "the clock": (RIGHTS, "date -s @$(date +%s)"),
    "the engine's own socket": (f"{RIGHTS} -v /var/run/docker.sock:/s", "test -S /s && mknod /d b 254 0"),
}
INSECURE_BUILD = """printf 'FROM busybox:latest\nRUN --security=insecure mount -t ext4 /dev/vda /mnt\n' |
    docker build --allow=security.insecure --no-cache -"""


def command(attempt: str) -> str:
    options, script = ESCAPES[attempt]
    return f"docker run --rm {options} busybox:latest sh -c {shlex.quote(f'echo begun; {script}')}"


@pytest.mark.parametrize("attempt", ESCAPES)
def test_an_escape_is_refused(inside, attempt):
    done = inside.run(command(attempt))
    assert done.returncode != 0, done.stdout
    # It is the escape that fails. Only a device and --privileged do not get so far.
    assert done.stdout.startswith("begun\n") == (RIGHTS in ESCAPES[attempt][0]), done.stderr


def test_no_insecure_build(inside):
    assert inside.run(INSECURE_BUILD).returncode != 0


@pytest.fixture
def other_mode(site: Site, inside: Client) -> Iterator[None]:
    """The daemon with the data root of a user namespace, outside of one."""
    chart = site.chart("inside")
    site.add_daemon(chart, "inside", resources=MEMORY, user_namespace=False)
    site.cluster.apply(chart)
    yield
    start(site, "inside", user_namespace=True)


def test_the_data_root_of_the_other_mode_is_refused(site, other_mode):
    def refuses() -> bool:
        log = site.cluster.run("logs", f"--namespace={NAMESPACE}", "deployment/inside", "--container=inside").stdout
        return bool(re.search("the data root is one of a user namespace", log))

    site.cluster.wait(refuses, "the refusal", seconds=SECONDS)


@pytest.mark.parametrize("attempt", ESCAPES)
def test_the_same_escape_is_real_without_a_user_namespace(outside, attempt):
    outside.sh(command(attempt))


def test_no_insecure_build_outside_either(outside):
    assert outside.run(INSECURE_BUILD).returncode != 0
