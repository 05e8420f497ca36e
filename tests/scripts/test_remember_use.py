"""The record of use that ``guard-disk.sh`` keeps, with an engine that is a file."""

import os
import re
import signal
import time

import pytest

from tests.scripts.conftest import end, first_line, inner

OLD = "2020-01-01T00:00:00Z"
BEGINS = "dindcache: the use of images and volumes is recorded from now on"


@pytest.fixture
def guard(start, engine):
    """Start the guard next to an engine whose disk is not full."""

    def guard(*, precision=0, delay=0, answers=""):
        return start(
            "guard-disk.sh",
            programs={"docker": engine.docker(answers)},
            environment={
                **{f"{name}_PERCENT": "0 0" for name in ("LOW", "ENOUGH", "URGENT", "URGENT_ENOUGH")},
                "AGES_SECONDS": "60",
                "MAX_JOB_SECONDS": "60",
                "KEEP_IMAGES": "",
                "KEEP_VOLUMES": "",
                "USE_PRECISION_SECONDS": str(precision),
                "RECORD_DELAY_SECONDS": str(delay),
                "POLL_SECONDS": "0.2",
            },
        )

    return guard


@pytest.fixture
def recorded(engine):
    """Wait until the record has keys and does not have others, and return their times."""

    def recorded(*keys, without=()):
        end = time.monotonic() + 30
        while True:
            record = engine.record() if engine.path.exists() else {}
            if record.keys() >= set(keys) and not record.keys() & set(without):
                return [record[key] for key in keys]
            assert time.monotonic() < end, f"{keys} are not in {record}, or {without} are"
            time.sleep(0.1)

    return recorded


def test_what_containers_use_is_recorded(guard, engine, recorded):
    engine.add("image", "sha256:1", OLD, names=["app:latest"])
    begin = int(time.time())
    process = guard()
    assert first_line(process) == BEGINS
    (since,) = recorded("dindcache.since")
    assert begin <= since
    engine.emit("image app", "volume data", "image gone:1")
    image, volume = recorded("image.sha256:1", "volume.data")
    assert begin <= image <= time.time()
    assert begin <= volume <= time.time()
    assert engine.record().keys() == {"dindcache.last-used", "dindcache.since", "image.sha256:1", "volume.data"}


def test_the_versions_replace_each_other(guard, engine, recorded):
    guard()
    for name in ("a", "b", "c"):
        engine.emit(f"volume {name}")
        recorded(f"volume.{name}")
    versions = [name for name in engine.read()["volume"] if name.startswith("dindcache-last-used-")]
    assert len(versions) <= 2  # the previous one can exist for a moment


def test_what_exists_and_is_in_use_at_the_start_is_recorded_and_the_rest_is_dropped(guard, engine, record, recorded):
    engine.add("volume", "mine", OLD)
    engine.add("volume", "idle", OLD)
    engine.add("image", "i", OLD, names=["i:1"])
    engine.add("container", "c", OLD, image="i", volumes=["mine"], is_started=False)
    record(age=60, volume={"mine": 3600, "idle": 3600, "gone": 60}, image={"gone": 60})
    begin = int(time.time())
    guard()
    mine, idle, image = recorded("volume.mine", "volume.idle", "image.i", without=["volume.gone", "image.gone"])
    assert mine >= begin
    assert idle < begin
    assert image >= begin


def test_a_record_that_nobody_has_kept_begins_again(guard, engine, record, recorded):
    engine.add("volume", "a", OLD)
    engine.add("image", "i", OLD, names=["i:1"])
    record(age=3 * 3600, volume={"a": 4 * 3600}, image={"i": 4 * 3600})
    begin = int(time.time())
    process = guard()
    assert first_line(process) == BEGINS
    since, _ = recorded("dindcache.since", "image.i", without=["volume.a"])
    assert since >= begin


def test_another_use_within_the_precision_costs_no_version(guard, engine, recorded):
    guard(precision=1000)
    engine.emit("volume a")
    (first,) = recorded("volume.a")
    time.sleep(1.1)  # times are in seconds
    engine.emit("volume a", "image a", "volume b")
    recorded("volume.b")
    assert recorded("volume.a") == [first]


def test_uses_are_recorded_together(guard, engine, recorded):
    guard(delay=1000)
    (first,) = recorded("dindcache.last-used")
    engine.emit("volume a")
    time.sleep(2)  # ten polls
    assert recorded("dindcache.last-used") == [first]


def test_a_version_claims_no_use_that_came_after_it_was_collected(guard, engine, recorded):
    """Or a prune, which reads the events since then, would not see such a use."""
    listed = engine.path.with_name("listed")
    guard(answers=f"*label=dindcache.last-used) touch {listed}; sleep 2 ;;")
    (written,) = recorded("dindcache.last-used")
    assert written <= listed.stat().st_mtime


def test_a_record_that_somebody_deletes_is_written_again(guard, engine, recorded):
    guard()
    engine.emit("volume a")
    (time_of_a,) = recorded("volume.a")
    with engine.change() as state:
        state["volume"] = {}
    engine.emit("volume b")
    assert recorded("volume.a", "volume.b")[0] == time_of_a


def test_a_full_disk_costs_no_record(guard, engine, recorded):
    process = guard()
    assert first_line(process) == BEGINS
    engine.emit("volume a")
    recorded("volume.a")
    with engine.change() as state:
        state["is_full"] = True
    engine.emit("volume b")
    assert re.match(r"dindcache: the record of use is not written: .*no space left", first_line(process))
    recorded("volume.a")
    time.sleep(1)  # for some tries, which are not logged
    with engine.change() as state:
        state["is_full"] = False
    recorded("volume.a", "volume.b")
    os.kill(inner(process), signal.SIGTERM)
    engine.path.unlink()
    assert end(process) == (143, [])


def test_another_engine_is_followed_and_nothing_is_forgotten(guard, engine, recorded):
    process = guard()
    engine.emit("volume a")
    recorded("volume.a")
    state = engine.path.read_text()
    engine.path.unlink()
    time.sleep(1)  # for some tries
    engine.path.write_text(state)
    with engine.change() as changed:
        changed["events"] = ["volume b"]  # between its start and the scan
    recorded("volume.b")
    engine.emit("volume c")
    recorded("volume.a", "volume.c")
    assert process.poll() is None


def test_while_the_pod_ends_each_use_is_recorded_at_once(guard, engine, recorded):
    process = guard(delay=1000)
    recorded("dindcache.since")
    engine.emit("volume a")
    time.sleep(1)
    os.kill(inner(process), signal.SIGTERM)
    recorded("volume.a")
    engine.emit("volume b")
    recorded("volume.b")
    engine.path.unlink()
    assert end(process, seconds=5)[0] == 143


def test_a_record_of_many_volumes_fits_the_arguments_of_a_command(guard, engine, record, recorded):
    names = [f"{i:0255}" for i in range(6000)]
    with engine.change() as state:
        state["volume"] = {name: {"created": OLD, "labels": {}} for name in names}
    record(age=5, volume=dict.fromkeys(names, 60))
    guard()
    engine.emit("volume new")
    recorded("volume.new", *(f"volume.{name}" for name in names))


def test_a_record_has_a_bound_for_each_kind(guard, engine, record, recorded, scripts):
    script = scripts / "remember-use.sh"
    bounds = "most_entries=50000"
    assert bounds in script.read_text()
    script.write_text(script.read_text().replace(bounds, "most_entries=3"))
    for i in range(5):
        engine.add("volume", f"v{i}", OLD)
        engine.add("image", f"i{i}", OLD, names=[f"i:{i}"])
    record(age=5, volume={f"v{i}": 100 + i for i in range(5)}, image={f"i{i}": 200 + i for i in range(5)})
    before = engine.record()
    guard()
    recorded("volume.v2", without=["volume.v4"])
    # All volumes that are not listed count as used when the last of them was.
    kept = {"dindcache.last-used", *(f"{kind}{i}" for kind in ("volume.v", "image.i") for i in range(3))}
    assert engine.record().keys() == kept | {"dindcache.since"}
    assert engine.record()["dindcache.since"] == before["volume.v3"]
