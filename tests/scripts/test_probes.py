"""The probes of the engine."""

import pytest

from tests.scripts.conftest import end


@pytest.mark.parametrize(
    ("script", "marker", "answers"),
    [
        ("alive.sh", "", {"0": 0, "1": 1}),
        # While the container waits for the lock, no engine runs.
        ("alive.sh", "waiting", {"0": 0, "1": 0}),
        ("ready.sh", "", {"0": 0, "1": 1}),
        # In the second half of a drain.
        ("ready.sh", "closed", {"0": 1, "1": 1}),
    ],
)
def test_a_probe_passes_when_the_engine_answers(start, script, marker, answers):
    for answer, status in answers.items():
        setup = f"touch /run/dindcache.{marker}" if marker else ""
        assert end(start(script, setup=setup, environment={"DOCKER_STATUS": answer}))[0] == status


def test_the_first_answer_after_a_wait_for_the_lock_ends_the_patience(start):
    asked = "touch /run/dindcache.waiting; sh $SCRIPTS/ready.sh && test ! -e /run/dindcache.waiting && echo ended"
    assert end(start("lock.sh", "sh", "-c", asked)) == (0, ["ended"])


@pytest.mark.parametrize("script", ["alive.sh", "ready.sh"])
def test_a_probe_asks_the_engine_of_its_container(start, script):
    docker = """[ "$1" = --host=unix:///var/run/docker.sock ]"""
    environment = {"DOCKER_HOST": "tcp://elsewhere:2375"}
    assert end(start(script, programs={"docker": docker}, environment=environment))[0] == 0
