"""cgroup v2, in a throw-away virtual machine: ``--vm PROGRAM`` runs ``PROGRAM SCRIPT MEMORY`` as a privileged container."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent.parent / "dindcache" / "scripts"
DRIVER = r"""
export DOCKER_HOST=unix:///var/run/docker.sock
cgroup=/sys/fs/cgroup/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope
ask() { docker version >/dev/null 2>&1; }
mkdir /sys/fs/cgroup/driver # as a node's own processes: what is left in the scope would be in the way
echo $$ >/sys/fs/cgroup/driver/cgroup.procs
until ask; do sleep 1; done
before=$(pidof dockerd)
echo "limits $(cat $cgroup/memory.max) $(cat $cgroup/docker/memory.max)"
docker load -q </busybox.tar
echo "container $(docker run --rm --cgroupns=host busybox cat /proc/self/cgroup)"
docker run --rm --memory=32m busybox true
echo "limited $?"
docker run --rm busybox tail /dev/zero
echo "run $?"
mkdir /tmp/hungry
printf 'FROM busybox\nRUN sleep 10; tail /dev/zero\n' >/tmp/hungry/Dockerfile
docker build --progress=plain /tmp/hungry >/tmp/build.log 2>&1 &
until ls -d $cgroup/docker/buildkit/*/; do sleep 1; done | sed 's/^/step /'
wait $!
echo "build $?"
grep -o 'did not complete successfully: .*' /tmp/build.log | tail -n 1
[ "$(pidof dockerd)" = "$before" ] && ask && echo survived
kill "$before"
"""


@pytest.fixture(scope="module")
def lines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the driver said beside a daemon with 500 MiB."""
    vm = request.config.getoption("--vm")
    if not vm:
        pytest.skip("needs --vm=PROGRAM, a virtual machine with cgroup v2")
    script = tmp_path_factory.mktemp("vm") / "script"
    files = {**{path.name: path.read_text() for path in SCRIPTS.glob("*.sh")}, "driver.sh": DRIVER}
    script.write_text(
        "mkdir -p /etc/dindcache /var/lib/docker\n"
        + "".join(f"cat >/etc/dindcache/{name} <<'END-OF-FILE'\n{text}END-OF-FILE\n" for name, text in files.items())
        + "export DOCKER_TLS_CERTDIR=\n"
        + "sh /etc/dindcache/driver.sh &\n"
        + "exec sh /etc/dindcache/lock.sh sh /etc/dindcache/start.sh 2375 0 0 --tls=false\n"
    )
    done = subprocess.run(
        [vm, script, "500M"], capture_output=True, text=True, timeout=1000, check=False, env={**os.environ, "VM_SECONDS": "900"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_what_the_engine_starts_has_less_than_the_pod(lines):
    assert f"limits {500 << 20} {300 << 20}" in lines


def test_containers_and_build_steps_are_within_the_pods_cgroup(lines):
    own = "/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope/docker/"
    assert [line for line in lines if line.startswith(f"container 0::{own}")]
    assert [line for line in lines if line.startswith(f"step /sys/fs/cgroup{own}buildkit/")]
    assert "limited 0" in lines


def test_what_takes_too_much_memory_dies_alone(lines):
    assert "run 137" in lines
    assert [line for line in lines if line.startswith("build ") and line != "build 0"]
    assert [line for line in lines if line.startswith("did not complete successfully: ")]
    assert "survived" in lines
