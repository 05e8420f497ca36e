"""``relieve.sh`` on file systems that are nearly full of room or of inodes, with a docker that frees some of them."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.test_scripts import end, first_line, inner, start  # noqa: F401 - a fixture

BLOCK = 4096
# An image whose removal frees what is in `image`, and a builder that frees `cache`.
DOCKER = """case "$*" in
"image ls "*label*|"container "*) ;;
"image ls "*) [ ! -e "$DATA_ROOT/image" ] || echo a ;;
"image inspect "*) echo "2020-01-01T00:00:00Z a app:1" ;;
"image rm "*) rm -r "$DATA_ROOT/image" ;;
"buildx du") printf "ID RECLAIMABLE\\nShared:\\t1GB\\nPrivate:\\t1.5MB\\nReclaimable:\\t1GB\\nTotal:\\t1GB\\n" ;;
"builder prune "*) echo "docker $*" >&2; rm -f "$DATA_ROOT/cache"; echo "Total: 1B" ;;
esac"""


@pytest.fixture
def relieve(start):  # noqa: F811
    """Begin on a file system of 1000 blocks and 1000 inodes, some of which are taken."""

    def relieve(files=0, job=60, **blocks):
        fill = [f"mkdir $DATA_ROOT/files && seq {files} | sed s,^,$DATA_ROOT/files/, | xargs touch"] if files else []
        fill += [f"head -c {number * BLOCK} /dev/zero >$DATA_ROOT/{name}" for name, number in blocks.items()]
        mount = f"mount -t tmpfs -o size={1000 * BLOCK},nr_inodes=1000 data $DATA_ROOT"
        environment = {"POLL_SECONDS": "1"}
        return start(
            "relieve.sh", str(job), setup=" && ".join([mount, *fill]), programs={"docker": DOCKER}, environment=environment
        )

    return relieve


def lines(process: "subprocess.Popen[str]", number: int) -> list[str]:
    return [first_line(process) for _ in range(number)]


def stop(process: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    os.kill(inner(process), signal.SIGTERM)
    return end(process, seconds=3)


def waits(process: "subprocess.Popen[str]") -> bool:
    """Whether it sleeps, so has looked once."""
    try:
        children = Path(f"/proc/{inner(process)}/task/{inner(process)}/children").read_text().split()
        return any("sleep" in Path(f"/proc/{child}/cmdline").read_text() for child in children)
    except (OSError, ValueError):
        return False


def test_with_room_nothing_is_asked_and_the_end_is_at_once(relieve):
    process = relieve(image=790)
    while not waits(process):
        time.sleep(0.05)
    assert stop(process) == (143, [])


def test_images_first_and_no_cache_when_they_were_enough(relieve):
    process = relieve(image=100, cache=710)
    assert lines(process, 3) == [
        "dindcache: nearly full, 19 % of the room and 99 % of the inodes are free",
        "removed image app:1 (last tagged 2020-01-01T00:00:00Z)",
        "dindcache: relieved, 29 % of the room and 99 % of the inodes are free",
    ]
    assert stop(process) == (143, [])


def test_then_the_cache_the_oldest_first_and_as_much_as_is_missing(relieve):
    process = relieve(image=1, cache=80, other=750)
    told = lines(process, 4)
    most = re.fullmatch(r"docker builder prune --force --filter until=604800s --max-used-space (\d+)", told[2])
    assert most
    assert (1500000 - int(most[1])) / BLOCK == 80
    assert told[3].startswith("dindcache: relieved, 2")


def test_what_cannot_be_relieved_is_said_once(relieve):
    process = relieve(other=850)
    full = "nearly full, 15 % of the room and 99 % of the inodes are free"
    told = lines(process, 6)
    assert told[0] == f"dindcache: {full}"
    assert [line.split()[5] for line in told[1:5]] == ["until=604800s", "until=86400s", "until=60s", "until=0s"]
    assert told[5] == f"dindcache: still {full}, and all that could be removed is in use, young or kept"
    again = lines(process, 8)
    assert again == [*told[1:5], *told[1:5]]
    assert stop(process) == (143, [])


def test_a_disk_that_somebody_else_fills_does_not_cost_the_hot_cache(relieve):
    process = relieve(other=820)
    told = lines(process, 5)
    assert [line.split()[5] for line in told[1:4]] == ["until=604800s", "until=86400s", "until=60s"]
    assert told[4].startswith("dindcache: still nearly full, 18 % ")
    assert stop(process) == (143, [])


def test_what_builds_used_within_a_long_job_goes_last(relieve):
    process = relieve(other=820, job=2 * 86400)
    told = lines(process, 5)
    assert [line.split()[5] for line in told[1:4]] == ["until=604800s", "until=172800s", "until=172800s"]
    assert told[4].startswith("dindcache: still nearly full, 18 % ")
    assert stop(process) == (143, [])


def test_the_time_of_a_pulled_image_begins_though_there_is_room(start):  # noqa: F811
    docker = """exec 9>>/proc/1/fd/1
    case "$*" in
    "image ls "*label*|"container "*) ;;
    "image ls "*) echo a ;;
    "image inspect "*) echo "0001-01-01T00:00:00Z a app:1" ;;
    "image tag "*) echo "docker $*" >&9; kill 1 ;;
    esac"""
    process = start("relieve.sh", "60", programs={"docker": docker}, environment={"POLL_SECONDS": "0"})
    assert end(process, seconds=60) == (143, ["docker image tag a dindcache.invalid/untagged:a"])


def test_inodes_count_too(relieve):
    process = relieve(cache=100, files=920)
    assert first_line(process) == "dindcache: nearly full, 90 % of the room and 7 % of the inodes are free"
    # 100 blocks are on 922 inodes, of which 72 are missing: that is a bit less than 8 blocks.
    (most,) = re.findall(r"--max-used-space (\d+)$", first_line(process))
    assert 7 < (1500000 - int(most)) / BLOCK < 9
