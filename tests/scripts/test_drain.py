"""``drain.sh``: the clients that a terminating daemon waits for, and for how long."""

import pytest

from tests.scripts.conftest import end

# Shorter than in a pod, so that the tests do not wait.
ENVIRONMENT = {
    "PORT": "2375",
    "DRAIN_SECONDS": "60",
    "DRAIN_REJECT_AFTER_SECONDS": "30",
    "DRAIN_QUIET_SECONDS": "2",
    "LIVENESS_PERIOD_SECONDS": "1",
    "LIVENESS_FAILURES": "3",
}
# A client of the port, connected before the drain starts.
CLIENT = """ip link set lo up && {{ python3 -c '
import socket, sys, time
family = socket.AF_INET6 if sys.argv[1] == "::1" else socket.AF_INET
server = socket.create_server((sys.argv[1], 2375), family=family)
client = socket.create_connection((sys.argv[1], 2375))
time.sleep(60)
' {address} & until cat /proc/net/tcp /proc/net/tcp6 | grep -q ':0947 .* 01 '; do :; done; }}"""


def drain(start, *, setup: str = ":", seconds: float = 30, **environment: str) -> list[str]:
    process = start("drain.sh", setup=setup, environment={**ENVIRONMENT, **environment})
    status, lines = end(process, seconds=seconds)
    assert status == 0
    return [line.removeprefix("dindcache: drain: ") for line in lines]


def test_a_drain_without_clients_ends_after_a_quiet_time(start):
    assert drain(start) == ["waiting up to 60 s for clients", "no client for 2 s"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_drain_waits_for_a_client_and_ends_at_its_deadline(start, address):
    lines = drain(start, setup=CLIENT.format(address=address), DRAIN_SECONDS="4", DRAIN_REJECT_AFTER_SECONDS="2")
    assert lines == ["waiting up to 4 s for clients", "rejecting new clients", "1 connections left at the deadline"]


def test_a_client_of_another_port_is_not_waited_for(start):
    assert drain(start, setup=CLIENT.format(address="127.0.0.1"), PORT="2376")[-1] == "no client for 2 s"


def test_a_drain_that_rejects_clients_does_not_wait_for_them_to_come_back(start):
    lines = drain(start, DRAIN_QUIET_SECONDS="20", DRAIN_REJECT_AFTER_SECONDS="1", seconds=15)
    assert lines[1:] == ["rejecting new clients", "no client for 1 s"]


def test_a_drain_ends_when_the_engine_does_not_answer(start):
    lines = drain(start, setup=CLIENT.format(address="127.0.0.1"), DOCKER_STATUS="1", seconds=20)
    assert lines[-1] == "the engine does not answer"


def test_an_engine_that_answers_late_is_waited_for(start):
    """A busy engine fails at most two checks in a row: the liveness probe would not restart it either."""
    late = """tries=$(cat /run/tries 2>/dev/null || echo 0); echo $((tries + 1)) >/run/tries; [ $((tries % 3)) = 2 ]"""
    process = start(
        "drain.sh",
        setup=CLIENT.format(address="127.0.0.1"),
        environment={**ENVIRONMENT, "DRAIN_SECONDS": "8"},
        programs={"docker": late},
    )
    assert end(process)[1][-1] == "dindcache: drain: 1 connections left at the deadline"


# A row of /proc/net/tcp: slot, local and remote address, state, queues, timer, retransmits, user, unanswered probes, inode.
ROW = "0: 0100007F:0947 0100007F:C001 01 00000000:00000000 00:00000000 {retransmits} 0 {probes} 1 1 0 20 0 0 10 -1"


@pytest.mark.parametrize(
    ("retransmits", "probes", "last"),
    [
        ("00000000", "0", "1 connections left at the deadline"),
        ("00000007", "3", "1 connections left at the deadline"),
        # The client's node has vanished: eight retransmissions or four keepalive probes have had no answer.
        ("00000008", "0", "no client for 1 s"),
        ("0000000F", "0", "no client for 1 s"),
        ("00000000", "4", "no client for 1 s"),
    ],
)
def test_a_client_whose_node_vanished_is_not_waited_for(start, tmp_path, retransmits, probes, last):
    row = ROW.format(retransmits=retransmits, probes=probes)
    (tmp_path / "tcp").write_text(f"{row}\n")
    lines = drain(start, DRAIN_SECONDS="3", DRAIN_QUIET_SECONDS="1", NETWORK=str(tmp_path))
    assert lines[-1] == last
