"""``report.sh``: how well the cache works, what the disk holds, and what goes next."""

import time

import pytest

from tests.scripts.conftest import end

OLD = "2020-01-01T00:00:00Z"


@pytest.fixture
def report(start, engine, tmp_path):
    """Print the report of some builds, and return its lines."""

    def report(*arguments: str, builds: str = "", state: str = "") -> tuple[int, list[str]]:
        for path, text in (("metrics/work/state", state), ("state/builds", builds)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        environment = {
            "METRICS": str(tmp_path / "metrics"),
            "STATE": str(tmp_path / "state"),
            "KEEP_IMAGES": "",
            "KEEP_VOLUMES": "",
            "MAX_JOB_SECONDS": "60",
        }
        return end(start("report.sh", *arguments, environment=environment, programs={"docker": engine.docker()}))

    return report


def test_the_project_with_the_most_time_comes_first_and_all_last(report, engine, record):
    now = int(time.time())
    builds = f"""r1 {now - 60} completed 100 0 3 4 60 4711 -
r2 {now - 50} failed 20 1 0 1 20 4711 -
r3 {now - 40} completed 300.5 0 0 2 250 12 -
r4 {now - 30 * 86400} completed 9999 0 0 2 250 4711 -
"""
    engine.add("image", "i1", OLD, names=["app:1"])
    record()
    status, lines = report(builds=builds, state="repository 12 gitlab.example/group/app\n")
    assert status == 0
    assert lines[0].startswith("Builds of the last 7 days. ")
    table = [line.split() for line in lines[1:5]]
    assert table == [
        "project builds failed cached mean s minutes saved min".split(),
        "gitlab.example/group/app 1 0 0 % 300.5 5 0.0".split(),
        "4711 2 1 60 % 60.0 2 2.0".split(),
        "all 3 1 43 % 140.2 7 4.1".split(),
    ]
    assert "Disk" in lines
    assert f"image app:1, last used {OLD[:10]} 00:00" in lines
    assert lines[-1] == "then build cache, the least recently used first"


def test_many_projects_are_cut_short(report):
    now = int(time.time())
    lines = report(builds="".join(f"r{i} {now} completed {i} 0 1 2 1 p{i} -\n" for i in range(100)))[1]
    assert lines[2].split()[0] == "p99"
    assert lines[21].split()[0] == "p80"
    assert lines[22] == "80 further projects"
    assert lines[23].split()[:2] == ["all", "100"]


def test_another_time_can_be_asked_for_and_nothing_else(report):
    assert report("30")[1][0].startswith("Builds of the last 30 days. ")
    for wrong in ("x", "0", "-1", "7d"):
        assert report(wrong) == (64, [f"dindcache: the days must be a number, got '{wrong}'"])


def test_a_daemon_that_has_built_nothing_has_a_report(report):
    status, lines = report()
    assert status == 0
    assert "no image: all are in use, kept, or were used within the longest time of a job" in lines
