"""``guard-disk.sh`` on file systems that are nearly full of data or of inodes, with an engine that frees some of them."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.scripts.conftest import Process, end, first_line, inner

BLOCK = 4096
OLD = "2020-01-01T00:00:00Z"
# Removing an image frees the file of its name, and the builder frees `cache`.
ANSWERS = r"""
"image rm "*) for id; do rm -rf "$DATA_ROOT/$id"; done ;;
"buildx du") printf 'ID RECLAIMABLE\nShared:\t1GB\nPrivate:\t1.5MB\nReclaimable:\t1GB\nTotal:\t1GB\n'; exit ;;
"builder prune "*) echo "docker $*" >&2; rm -f "$DATA_ROOT/cache"; echo 'Total: 1B'; exit ;;"""
ENVIRONMENT = {
    "LOW_PERCENT": "20 10",
    "ENOUGH_PERCENT": "25 15",
    "URGENT_PERCENT": "17 8",
    "URGENT_ENOUGH_PERCENT": "20 10",
    "AGES_SECONDS": "604800 86400 60",
    "MAX_JOB_SECONDS": "60",
    "KEEP_IMAGES": "",
    "KEEP_VOLUMES": "",
    "USE_PRECISION_SECONDS": "600",
    "RECORD_DELAY_SECONDS": "60",
    "POLL_SECONDS": "0.2",
}


@pytest.fixture
def guard(start, engine, record):
    """Start the guard on a file system of 1000 blocks and 1000 inodes, some of which are taken."""

    def guard(files=0, used=None, **blocks):
        record(image=used or {})
        if "image" in blocks:
            engine.add("image", "image", OLD, names=["app:1"])
        fill = [f"mkdir $DATA_ROOT/files && seq {files} | sed s,^,$DATA_ROOT/files/, | xargs touch"] if files else []
        fill += [f"head -c {number * BLOCK} /dev/zero >$DATA_ROOT/{name}" for name, number in blocks.items()]
        mount = f"mount -t tmpfs -o size={1000 * BLOCK},nr_inodes=1000 data $DATA_ROOT"
        return start(
            "guard-disk.sh",
            setup=" && ".join([mount, *fill]),
            programs={"docker": engine.docker(ANSWERS)},
            environment=ENVIRONMENT,
        )

    return guard


@pytest.fixture
def stop(engine):
    """End the engine after its pod was told to end, and return the guard's status and further lines."""

    def stop(process: Process) -> tuple[int, list[str]]:
        os.kill(inner(process), signal.SIGTERM)
        engine.path.unlink()
        return end(process, seconds=10)

    return stop


def lines(process: Process, number: int) -> list[str]:
    return [first_line(process) for _ in range(number)]


def waits(process: Process) -> bool:
    """Return whether the guard sleeps, and has therefore polled once."""
    try:
        children = Path(f"/proc/{inner(process)}/task/{inner(process)}/children").read_text().split()
        return any("sleep" in Path(f"/proc/{child}/cmdline").read_text() for child in children)
    except (OSError, ValueError):
        return False


def test_with_enough_free_nothing_is_removed(guard, engine, stop):
    process = guard(image=790)
    while not waits(process):
        time.sleep(0.05)
    assert stop(process) == (143, [])


def test_images_go_first_and_no_cache_when_they_were_enough(guard, stop):
    process = guard(image=100, cache=710)
    assert lines(process, 3) == [
        "dindcache: nearly full, 19 % of the space and 99 % of the inodes are free",
        f"removed image app:1 (last used {OLD})",
        "dindcache: reclaimed space, 29 % of the space and 99 % of the inodes are free",
    ]
    assert stop(process) == (143, [])


def test_the_least_recently_used_image_goes_first(guard, engine):
    # The image in daily use has the oldest tag.
    engine.add("image", "daily", "2019-01-01T00:00:00Z", names=["daily:1"])
    process = guard(image=100, daily=710, used={"daily": 3600})
    told = lines(process, 3)
    assert told[1] == f"removed image app:1 (last used {OLD})"
    assert told[2].startswith("dindcache: reclaimed space")
    assert engine.left("image") == {"daily"}


def test_more_images_than_fit_a_batch(guard, engine):
    for i in range(25):
        engine.add("image", f"i{i:02}", f"2020-01-{i + 1:02}T00:00:00Z", names=[f"app:{i}"])
    process = guard(other=630, **{f"i{i:02}": 8 for i in range(25)})
    told = lines(process, 12)
    # Ten at a time, until 25 % are free.
    assert [line.split()[2] for line in told[1:11]] == [f"app:{i}" for i in range(10)]
    assert told[11].startswith("dindcache: reclaimed space")
    assert len(engine.left("image")) == 15


def test_then_as_much_cache_as_is_missing_the_least_recently_used_first(guard):
    process = guard(image=1, cache=80, other=750)
    told = lines(process, 4)
    most = re.fullmatch(r"docker builder prune --force --filter until=604800s --max-used-space (\d+)", told[2])
    assert most
    assert (1500000 - int(most[1])) / BLOCK == 80
    assert told[3].startswith("dindcache: reclaimed space, 2")


def test_what_does_not_help_is_logged_once(guard, stop):
    process = guard(other=850)
    full = "nearly full, 15 % of the space and 99 % of the inodes are free"
    told = lines(process, 6)
    assert told[0] == f"dindcache: {full}"
    assert [line.split()[5] for line in told[1:5]] == ["until=604800s", "until=86400s", "until=60s", "until=0s"]
    assert told[5] == f"dindcache: still {full}, and all that could be removed is in use, young or kept"
    again = lines(process, 8)
    assert again == [*told[1:5], *told[1:5]]
    assert stop(process)[0] == 143


def test_a_disk_that_somebody_else_fills_does_not_cost_the_hot_cache(guard):
    process = guard(other=820)
    told = lines(process, 5)
    assert [line.split()[5] for line in told[1:4]] == ["until=604800s", "until=86400s", "until=60s"]
    assert told[4].startswith("dindcache: still nearly full, 18 % ")


def test_volumes_and_containers_stay_even_on_a_full_disk(guard, engine):
    engine.add("volume", "data", OLD)
    engine.add("container", "c", OLD, image="other")
    process = guard(other=900)
    assert lines(process, 6)[5].startswith("dindcache: still nearly full, 10 % ")
    assert engine.left("volume") == {"data"}
    assert engine.left("container") == {"c"}


def test_inodes_count_too(guard):
    process = guard(cache=100, files=920)
    assert first_line(process) == "dindcache: nearly full, 90 % of the space and 7 % of the inodes are free"
    # 922 inodes hold 100 blocks, and 72 inodes are missing: a bit less than 8 blocks.
    (most,) = re.findall(r"--max-used-space (\d+)$", first_line(process))
    assert 7 < (1500000 - int(most)) / BLOCK < 9


def test_a_daemon_that_drains_is_guarded(guard, engine, stop):
    process = guard(image=100, cache=690)
    while not waits(process):
        time.sleep(0.05)
    os.kill(inner(process), signal.SIGTERM)
    data = f"/proc/{inner(process)}/root{engine.path.parent}/data"
    Path(data, "more").write_bytes(b"\0" * BLOCK * 20)
    assert lines(process, 3)[1] == f"removed image app:1 (last used {OLD})"
    assert stop(process)[0] == 143
