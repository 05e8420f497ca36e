"""cgroup v2, in a throw-away virtual machine: ``--vm PROGRAM`` runs ``PROGRAM SCRIPT MEMORY`` as a privileged container."""

import os
import shlex
import subprocess
from typing import Any

import pytest
from cdk8s import App, Chart, Size

from dindcache import DindDaemon, LocalVolume, NoTls

APP = "docker-dind"
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


def write(path: str, text: str) -> str:
    return f"mkdir -p {path.rpartition('/')[0]}; cat >{path} <<'END-OF-FILE'\n{text.rstrip()}\nEND-OF-FILE\n"


def volumes(pod: dict[str, Any], files: dict[str, str]) -> str:
    """Create the pod's volumes under /volumes, as the kubelet does."""
    script = ""
    for volume in pod["volumes"]:
        directory = f"/volumes/{volume['name']}"
        script += f"mkdir -p {directory}\n"
        for item in volume.get("configMap", {}).get("items", []):
            script += write(f"{directory}/{item['path']}", files[item["key"]])
    return script


def start(container: dict[str, Any]) -> str:
    """Mount a container's volumes and become its command, as its runtime does."""
    script = "set -e\n"
    for mount in container["volumeMounts"]:
        source = shlex.quote(f"/volumes/{mount['name']}/{mount.get('subPath', '')}")
        target = shlex.quote(mount["mountPath"])
        script += f"mkdir -p {target}; mount --bind {source} {target}\n"
        if mount.get("readOnly"):
            script += f"mount -o remount,bind,ro {target}\n"
    script += "".join(f"export {variable['name']}={shlex.quote(variable['value'])}\n" for variable in container["env"])
    return f"{script}exec {shlex.join([*container['command'], *container.get('args', [])])}\n"


def pod_script() -> str:
    """Run the pod of a synthesized daemon, next to the driver."""
    chart = Chart(App(), "cgroup2", namespace="cgroup2", disable_resource_name_hashes=True)
    volume = LocalVolume(chart, "docker", hostname="node1", path="/data", storage=Size.gibibytes(5))
    DindDaemon(chart, APP, volume=volume, tls=NoTls(), disk_guard=False)
    objects = {manifest["kind"]: manifest for manifest in chart.to_json()}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (lock,), (engine,) = pod["initContainers"], pod["containers"]
    return (
        volumes(pod, objects["ConfigMap"]["data"])
        + write("/pod/init-container", start(lock))
        + write("/pod/driver", DRIVER)
        + "unshare -m -p -f --mount-proc sh /pod/init-container || exit\n"
        + "sh /pod/driver &\n"
        + start(engine)
    )


@pytest.fixture(scope="module")
def lines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Lines that the driver printed next to a daemon with 500 MiB."""
    vm = request.config.getoption("--vm")
    if not vm:
        pytest.skip("needs --vm=PROGRAM, a virtual machine with cgroup v2")
    script = tmp_path_factory.mktemp("vm") / "script"
    script.write_text(pod_script())
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
