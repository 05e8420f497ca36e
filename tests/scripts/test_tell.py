"""What the scripts of the engine and of its disk guard tell the metrics, if they are on."""

import os
import re
import signal

import pytest

from tests.scripts import test_drain, test_start
from tests.scripts.conftest import end, first_line, inner

OLD = "2020-01-01T00:00:00Z"


@pytest.fixture
def metrics(tmp_path):
    """Directory of the metrics; ``told()`` returns the events since the last call."""
    directory = tmp_path / "metrics"
    directory.mkdir()
    return directory


@pytest.fixture
def told(metrics):
    def told() -> list[str]:
        events = metrics / "events"
        lines = events.read_text().splitlines() if events.exists() else []
        events.unlink(missing_ok=True)
        return lines

    return told


def test_a_start_has_its_reason(start, metrics, told):
    environment = {**test_start.ENVIRONMENT, "METRICS": str(metrics)}
    end(start("start.sh", environment=environment))
    assert told() == ["start pod"]
    end(start("start.sh", environment=environment))
    assert told() == ["start unexpected"]
    (metrics / "restart").write_text("certificate\n")
    (metrics / "drain").write_text("1 waiting\n")
    end(start("start.sh", environment=environment))
    assert told() == ["start certificate"]
    assert not (metrics / "drain").exists()
    end(start("start.sh", environment=environment))
    assert told() == ["start unexpected"]


def test_a_drain_shows_itself_and_tells_its_length(start, metrics, told):
    environment = {
        **test_drain.ENVIRONMENT,
        "METRICS": str(metrics),
        "DRAIN_REJECT_AFTER_SECONDS": "1",
        "DRAIN_QUIET_SECONDS": "9",
    }
    shown = 'case $1 in -I|*) cat "$METRICS/drain" | cut -d" " -f2 ;; esac'
    process = start("drain.sh", environment=environment, programs={"iptables": shown})
    status, lines = end(process)
    assert status == 0
    assert "rejecting" in lines
    (event,) = told()
    assert event.split()[:2] == ["drained", "shutdown"]
    assert 1 <= int(event.split()[2]) <= 5
    assert not (metrics / "drain").exists()
    end(start("drain.sh", environment={**environment, "DRAIN_REASON": "certificate", "DRAIN_QUIET_SECONDS": "0"}))
    (event,) = told()
    assert re.fullmatch("drained certificate [0-5]", event)  # on a busy machine, nothing takes seconds too


def test_a_wait_for_the_lock_is_told(start, metrics, told):
    environment = {"METRICS": str(metrics)}
    holder = start("lock.sh", "sh", "-c", "echo serving; exec sleep 60", environment=environment)
    assert first_line(holder) == "serving"
    assert told() == []
    waiter = start("lock.sh", "true", environment=environment)
    first_line(waiter)
    os.kill(inner(holder), signal.SIGKILL)
    end(waiter)
    (event,) = told()
    assert event.split()[0] == "locked"


def test_events_that_nobody_reads_stay_small(start, metrics):
    (metrics / "events").write_text("x" * 65536)
    end(start("start.sh", environment={**test_start.ENVIRONMENT, "METRICS": str(metrics)}))
    assert (metrics / "events").stat().st_size == 65536


def test_a_prune_leaves_its_result_and_the_number_of_all_removed_objects(start, engine, told):
    def prune() -> dict[str, str]:
        values = {"MAX_JOB_SECONDS": "60", "UNUSED_SECONDS": "60", "KEEP_IMAGES": "", "KEEP_VOLUMES": ""}
        end(start("prune.sh", environment=values, programs={"docker": engine.docker()}))
        labels: dict[str, str]
        (labels,) = (v["labels"] for v in engine.read()["volume"].values() if "dindcache.prune" in v["labels"])
        return labels

    engine.add("container", "c1", OLD, name="c1", image="i")
    engine.add("image", "i1", OLD, names=["app:1"])
    engine.add("image", "i2", OLD, names=["app:2"])
    labels = prune()
    assert int(labels.pop("dindcache.prune")) > 1e9
    removed = {"dindcache.removed.container": "1", "dindcache.removed.image": "2"}
    assert labels == {"dindcache.keep": "", "dindcache.failed": "0", **removed}
    engine.add("image", "i3", OLD, names=["app:3"])
    with engine.change() as state:  # a run in the same second would leave no version of its own
        names = [name for name in state["volume"] if name.startswith("dindcache-prune-")]
        state["volume"]["dindcache-prune-1"] = state["volume"].pop(names[0])
    assert prune()["dindcache.removed.image"] == "3"
