"""The scripts themselves, each as process 1 of namespaces of its own, under the machine's sh and under BusyBox alone."""

import os
import signal

import pytest

from tests.scripts.conftest import end, first_line, inner

START = ("2376", "86400", "1800")  # the port, and what the reload goes by


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
    status, lines = end(start("lock.sh", "true", setup="sh $SCRIPTS/lock.sh true; echo $?; echo"))
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
    asked = "touch /run/dindcache.waiting; sh $SCRIPTS/ready.sh && test ! -e /run/dindcache.waiting && echo ended"
    assert end(start("lock.sh", "sh", "-c", asked)) == (0, ["ended"])


def test_a_ready_engine_answers(start):
    assert end(start("ready.sh"))[0] == 0
    assert end(start("ready.sh", environment={"DOCKER_STATUS": "1"}))[0] == 1
