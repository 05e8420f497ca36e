"""The scripts themselves, each as process 1 of namespaces of its own, under the machine's sh and under BusyBox alone."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "dindcache" / "scripts"
NAMESPACES = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
if os.getuid() != 0:
    NAMESPACES += ["--user", "--map-root-user"]

START = ("2376", "86400", "1800")  # the port, and what the reload goes by

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["sh", "busybox"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start ``setup; exec sh SCRIPT ARGUMENT…`` with stand-ins for the image's programs."""
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare, and namespaces for this user")
    path = tmp_path / "bin"
    path.mkdir()
    if request.param == "busybox":
        busybox = shutil.which("busybox")
        if busybox is None:
            pytest.skip("needs busybox")
        subprocess.run([busybox, "--install", "-s", path], check=True)
        for program in ("flock", "openssl"):
            if not (path / program).exists():  # Debian's BusyBox has no flock, nobody's an openssl
                (path / program).symlink_to(shutil.which(program) or program)
        search = str(path)
    else:
        search = f"{path}:{os.environ['PATH']}"

    def write(programs: dict[str, str]) -> None:
        for name, script in programs.items():
            (path / name).unlink(missing_ok=True)
            (path / name).write_text(f"#!{shutil.which('sh', path=search)}\n{script}\n")
            (path / name).chmod(0o755)

    # Rules can be added, and there are none to delete.
    write(dict.fromkeys(("iptables", "ip6tables"), '[ "$2" != -D ]'))
    write({"docker": "exit ${DOCKER_STATUS:-0}", "dockerd-entrypoint.sh": 'printf "%s\\n" "$@"'})
    (tmp_path / "data").mkdir()
    started: list[subprocess.Popen[str]] = []

    def start(
        script: str,
        *arguments: str,
        setup: str = "",
        environment: dict[str, str] | None = None,
        programs: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        write(programs or {})
        prepare = f"mount -t sysfs sys /sys && mount -t tmpfs run /run && {setup or ':'}"
        command = f"{prepare} && exec env PATH='{search}' sh {SCRIPTS / script} "
        process = subprocess.Popen(
            [*NAMESPACES, "sh", "-c", command + '"$@"', "sh", *arguments],
            env={**os.environ, "DATA_ROOT": str(tmp_path / "data"), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process: "subprocess.Popen[str]", seconds: float = 30) -> tuple[int, list[str]]:
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output.splitlines()


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def inner(process: "subprocess.Popen[str]") -> int:
    """The process that is 1 in its own namespace."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())


def test_the_lock_is_held_by_what_the_script_becomes(start):
    holder = start("lock.sh", "sh", "-c", "echo serving; exec sleep 60")
    assert first_line(holder) == "serving"
    waiter = start("lock.sh", "sh", "-c", "test -e /run/dindcache.waiting && echo serving")
    assert first_line(waiter).startswith("dindcache: another daemon holds ")
    os.kill(inner(holder), signal.SIGKILL)
    status, lines = end(waiter)
    assert status == 0
    assert lines[0].endswith(" is free")
    assert lines[1] == "serving"


def test_who_waits_is_gone_at_once_when_deleted(start):
    holder = start("lock.sh", "sh", "-c", "echo serving; exec sleep 60")
    assert first_line(holder) == "serving"
    waiter = start("lock.sh", "true")
    first_line(waiter)
    os.kill(inner(waiter), signal.SIGTERM)
    assert end(waiter, seconds=5)[0] == 143


def test_a_shared_process_namespace_is_refused(start):
    status, lines = end(start("lock.sh", "true", setup=f"sh {SCRIPTS / 'lock.sh'} true; echo $?; echo"))
    assert status == 0
    assert lines[0].endswith("not 1: hostPID and shareProcessNamespace must be off")
    assert lines[1] == "1"


def test_the_engine_gets_the_pods_mtu(start):
    setup = "ip link add eth7 type veth peer eth8 && ip link set eth7 mtu 1390 up && ip addr add 10.1.1.1/24 dev eth7"
    status, lines = end(
        start("start.sh", *START, "--debug", "--tls=false", setup=f"{setup} && ip route add default via 10.1.1.2")
    )
    assert status == 0
    mtu = ["--mtu=1390", "--default-network-opt=bridge=com.docker.network.driver.mtu=1390"]
    assert lines[-4:] == [*mtu, "--debug", "--tls=false"]


def test_what_a_node_does_not_have_is_said_and_left_out(start):
    status, lines = end(start("start.sh", *START, "--tls=false"))
    assert status == 0
    assert lines[0] == "dindcache: left out: the pod network's MTU (no interface eth0)"
    assert not [line for line in lines if line.startswith("--mtu")]
    assert lines[-1] == "--tls=false"


def test_a_directory_that_others_share_gets_a_socket(start):
    _, lines = end(start("start.sh", *START, "--tls=false", setup="mkdir /run/dindcache"))
    assert lines[-2:] == ["--host=unix:///run/dindcache/docker.sock", "--tls=false"]
    _, lines = end(start("start.sh", *START, "--tls=false"))
    assert not [line for line in lines if line.startswith("--host")]


def test_images_of_the_other_store_are_named(start):
    setup = "mkdir -p $DATA_ROOT/containerd/daemon/io.containerd.content.v1.content/blobs"
    _, lines = end(start("start.sh", *START, setup=setup))
    note = "dindcache: the containerd image store has images on this volume: they are kept there, and not shown"
    assert note in lines
    _, lines = end(start("start.sh", *START, setup="rm -r $DATA_ROOT/containerd"))
    assert note not in lines


def test_a_drain_without_clients_ends_after_ten_seconds(start):
    status, lines = end(start("drain.sh", "30", "60", "2375"))
    assert (status, lines) == (
        0,
        ["dindcache: drain: waiting for clients, at most 60 s", "dindcache: drain: no client for 10 s"],
    )


CLIENT = """python3 -c '
import socket, sys, time
family = socket.AF_INET6 if sys.argv[1] == "::1" else socket.AF_INET
server = socket.create_server((sys.argv[1], 2375), family=family)
client = socket.create_connection((sys.argv[1], 2375))
time.sleep(60)
' {address} & until cat /proc/net/tcp /proc/net/tcp6 | grep -q ':0947 .* 01 '; do :; done"""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_drain_waits_for_a_client_and_ends_at_its_deadline(start, address):
    drain = start("drain.sh", "2", "4", "2375", setup=f"ip link set lo up && {CLIENT.format(address=address)}")
    status, lines = end(drain)
    assert (status, lines) == (
        0,
        [
            "dindcache: drain: waiting for clients, at most 4 s",
            "dindcache: drain: no new clients from here on",
            "dindcache: drain: 1 connections left at the deadline",
        ],
    )


def test_a_drain_that_nobody_can_come_back_to_does_not_wait_for_them(start):
    status, lines = end(start("drain.sh", "2", "60", "2375"), seconds=9)
    assert (status, lines[1:]) == (0, ["dindcache: drain: no new clients from here on", "dindcache: drain: no client for 1 s"])


def test_a_drain_ends_at_once_when_the_engine_does_not_answer(start):
    drain = start("drain.sh", "30", "60", "2375", environment={"DOCKER_STATUS": "1"})
    status, lines = end(drain, seconds=9)
    assert (status, lines[-1]) == (0, "dindcache: drain: the engine does not answer")


@pytest.mark.parametrize(
    ("script", "marker", "statuses"),
    [("alive.sh", "waiting", {"0": 0, "1": 0}), ("alive.sh", "", {"0": 0, "1": 1}), ("ready.sh", "closed", {"0": 1, "1": 1})],
)
def test_probes(start, script, marker, statuses):
    for answer, status in statuses.items():
        setup = f"touch /run/dindcache.{marker}" if marker else ""
        assert end(start(script, setup=setup, environment={"DOCKER_STATUS": answer}))[0] == status


def test_no_lock_is_no_reason_to_wait(start):
    status, lines = end(start("lock.sh", "true", programs={"flock": "echo no locks >&2; exit 1"}))
    assert status == 1
    assert lines[0].endswith("/data: no locks")


def test_the_first_answer_after_a_wait_ends_the_patience(start):
    asked = f"touch /run/dindcache.waiting; sh {SCRIPTS / 'ready.sh'} && test ! -e /run/dindcache.waiting && echo ended"
    assert end(start("lock.sh", "sh", "-c", asked)) == (0, ["ended"])


def test_a_ready_engine_answers(start):
    assert end(start("ready.sh"))[0] == 0
    assert end(start("ready.sh", environment={"DOCKER_STATUS": "1"}))[0] == 1
