"""The collector and the exporter of metrics, with a docker that answers as the real one did."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from dindcache.monitoring.metrics import metrics_text
from tests.scripts.conftest import end, first_line, inner

# As the client of Engine 29.9.3: the newest 50, and filters that all apply, to whole seconds.
LIST = """import json, os, sys
filters = [sys.argv[i + 1] for i, word in enumerate(sys.argv) if word == "--filter"]
def matches(build, text):
    if text == "status=running": return build["status"] == "Running"
    if text.startswith("completedAt>"): return build.get("completed_at", "")[:19] > text[12:31]
    if text.startswith("startedAt<"): return build["created_at"][:19] < text[10:29]
    sys.exit(f"unsupported filter {text}")
builds = [json.loads(line) for line in open(os.environ["ANSWERS"] + "/list")]
found = [build for build in builds if all(matches(build, text) for text in filters)]
for build in sorted(found, key=lambda build: build["created_at"], reverse=True)[:50]:
    print(json.dumps(build, separators=(",", ":"), sort_keys=True))
"""
# What the client prints, with the answers in files: `list`, `inspect-REF` and `logs-REF`.
DOCKER = f"""case $* in
"buildx history ls "*) [ ! -e "$ANSWERS/down" ] && exec {sys.executable} -c '{LIST}' "$@" ;;
"buildx history inspect "*) shift $(($# - 1)); cat "$ANSWERS/inspect-$1" ;;
"buildx history logs "*) shift $(($# - 1)); cat "$ANSWERS/logs-$1" >&2 ;;
"buildx du "*) cat "$ANSWERS/du" ;;
"system df "*) printf 'Images|2|1.98MB\\nContainers|1|0B\\nLocal Volumes|3|1.5GB\\nBuild Cache|12|300kB\\n' ;;
"version "*) echo 29.9.3 ;;
"ps "*) cat "$ANSWERS/places" ;;
"volume ls "*) cat "$ANSWERS/prunes" ;;
*) echo "not understood: $*" >&2; exit 1 ;;
esac"""
DU = """{"CreatedAt":"2026-11-27 16:56:14.73 +0000 UTC",\
"Description":"mount / from exec /bin/sh -c echo \\"with id \\\\\\"no\\\\\\"\\"",\
"ID":"05h","LastUsedAt":"51 seconds ago","Mutable":false,"Parents":["2ha"],"Reclaimable":true,"Shared":true,"Size":"1.5kB",\
"Type":"regular","UsageCount":2}
{"Description":"local source for context","ID":"i6y","Mutable":true,"Parents":null,"Shared":false,"Size":"12B",\
"Type":"source.local","UsageCount":5}
{"Description":"cached mount /c from exec sh -c x  with id \\"4711//c\\"","Shared":false,"Size":"2MB","Type":"exec.cachemount"}
{"Description":"cached mount /c from exec sh -c y  with id \\"/c\\"","Shared":false,"Size":"3MB","Type":"exec.cachemount"}
"""
STEP = '{{"digest":"{0}","name":"[2/3] RUN {0}","started":"2026-11-27T10:00:00.5Z","completed":"2026-11-27T10:00:{1}Z"{2}}}'


class Builds:
    """The history of an engine, and what else the stand-in prints."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.list: dict[str, dict[str, object]] = {}
        for name in ("list", "places", "prunes"):
            (directory / name).write_text("")
        (directory / "du").write_text(DU)

    def add(self, ref, project="4711", status="completed", *, seconds=2.5, cached=0, ran=0, error="", repository="", ago=0.0):
        end = time.time() - ago
        (self.directory / f"inspect-{ref}").write_text(f"{int(end)} {status} {seconds} {error}\n{project}\n{repository}\n")
        steps = [STEP.format(f"c{i}", "00.5", ',"cached":true') for i in range(cached)]
        steps += [STEP.format(f"r{i}", "02.0", "") for i in range(ran)]
        (self.directory / f"logs-{ref}").write_text('{"vertexes":[' + ",".join(steps) + "]}\n")
        self._list(ref, "Completed" if status == "completed" else "Error", begin=end - seconds, end=end)

    def run(self, ref: str) -> None:
        self._list(ref, "Running", begin=time.time())

    def _list(self, ref: str, status: str, *, begin: float, end: float | None = None) -> None:
        build = {
            "created_at": _text(begin),
            "name": 'a "ref":"x/y","status":"z"',
            "ref": f"default/default/{ref}",
            "status": status,
        }
        self.list[ref] = {**build, **({"completed_at": _text(end)} if end else {}), "total_steps": 9}
        new = self.directory / "list.new"
        new.write_text("".join(json.dumps(build) + "\n" for build in self.list.values()))
        new.rename(self.directory / "list")


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.fixture
def builds(tmp_path):
    return Builds(tmp_path / "answers")


@pytest.fixture
def collect(start, tmp_path, scripts):
    """Start the collector of a new pod, or of the same one again."""
    (scripts / "metrics.txt").write_text(metrics_text())
    for name in ("metrics", "state"):
        (tmp_path / name).mkdir()

    def collect(*, setup: str = "", **environment: str):
        values = {
            "ANSWERS": str(tmp_path / "answers"),
            "METRICS": str(tmp_path / "metrics"),
            "STATE": str(tmp_path / "state"),
            "CERTIFICATES": str(tmp_path / "certificates"),
            "INTERVAL_SECONDS": "1",
            "USAGE_SECONDS": "1",
            "MAX_PROJECTS": "50",
            "IMAGE_STORE": "overlay2",
            "PORT": "2376",
            "KEEP_IMAGES": "",
            "KEEP_VOLUMES": "",
            "MAX_JOB_SECONDS": "7200",
        }
        return start("collect.sh", setup=setup, environment={**values, **environment}, programs={"docker": DOCKER})

    return collect


@pytest.fixture
def samples(tmp_path):
    """Wait until a look that began after this call is over, and return its samples without their prefix."""
    path = tmp_path / "metrics" / "dindcache.prom"

    def samples(looks: int = 2) -> dict[str, float]:
        deadline = time.monotonic() + 60
        for _ in range(looks):
            before = path.stat().st_ino if path.exists() else 0
            while not path.exists() or path.stat().st_ino == before:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        lines = [line.rpartition(" ") for line in path.read_text().splitlines() if not line.startswith("#")]
        return {name.removeprefix("dindcache_"): float(value) for name, _, value in lines}

    return samples


def test_builds_are_counted_once_whatever_restarts(collect, builds, samples, tmp_path):
    builds.add("before", ago=60)
    process = collect()
    found = samples(1)
    assert found["engine_up"] == 1
    assert not [name for name in found if "4711" in name and "mount" not in name]
    builds.add("a", seconds=2.5, cached=1, ran=2)
    builds.add("b", status="failed", ran=1, error='"process" ["x: No space left on device"]')
    builds.add("c", status="canceled", project="", repository="https://x:y@gitlab.example/group/app.git")
    builds.run("d")
    expected = {
        'builds_total{project="4711",status="completed"}': 1,
        'builds_total{project="4711",status="failed"}': 1,
        'builds_total{project="gitlab.example/group/app",status="canceled"}': 1,
        "builds_without_space_total": 1,
        'build_seconds_total{project="4711"}': 5,
        'build_steps_total{project="4711",cached="true"}': 1,
        'build_steps_total{project="4711",cached="false"}': 3,
        'build_step_seconds_total{project="4711"}': 4.5,
        'project_info{project="gitlab.example/group/app",repository="gitlab.example/group/app"}': 1,
        'build_duration_seconds_bucket{le="1"}': 0,
        'build_duration_seconds_bucket{le="5"}': 3,
        'build_duration_seconds_bucket{le="+Inf"}': 3,
        "build_duration_seconds_count": 3,
        "build_duration_seconds_sum": 7.5,
        "builds_running": 1,
        "builds_waiting": 0,
    }
    assert expected.items() <= samples().items()
    assert expected.items() <= samples().items()
    # The container is killed, and starts again.
    process.kill()
    process.wait()
    process = collect()
    assert expected.items() <= samples().items()
    # A new pod.
    process.kill()
    process.wait()
    shutil.rmtree(tmp_path / "metrics")
    (tmp_path / "metrics").mkdir()
    collect()
    assert expected.items() <= samples().items()
    builds.add("d", seconds=100)
    assert samples()['builds_total{project="4711",status="completed"}'] == 2
    lines = [line.split() for line in (tmp_path / "state" / "builds").read_text().splitlines()]
    assert [line[0] for line in lines] == ["a", "b", "c", "d"]


def test_more_builds_than_the_client_lists_are_counted(collect, builds, samples):
    collect()
    samples(1)
    builds.add("long", project="slow", seconds=600)  # which began before all others
    for i in range(130):
        builds.add(f"r{i}", ago=(130 - i) / 20)
    found = samples(3)
    assert found['builds_total{project="4711",status="completed"}'] == 130
    assert found['builds_total{project="slow",status="completed"}'] == 1


def test_a_record_that_is_gone_is_left_out(collect, builds, samples):
    collect()
    samples(1)
    builds.add("gone")
    (builds.directory / "inspect-gone").unlink()
    builds.add("a")
    assert samples()['builds_total{project="4711",status="completed"}'] == 1


def test_projects_are_bounded_and_any_name_is_a_label(collect, builds, samples):
    collect(MAX_PROJECTS="3")
    samples(1)
    for i in range(45):
        builds.add(f"r{i}", project=f"p{i}", ago=(45 - i) / 100)
    builds.add("odd", project='a"b\\c{d}\te é')
    found = samples(3)
    projects = {
        match[1]
        for match in (re.search(r'project="([^"]*)"', name) for name in found if name.startswith("builds_total"))
        if match
    }
    assert projects == {"p0", "p1", "p2", "other"}
    assert found['builds_total{project="other",status="completed"}'] == 43


def test_an_odd_name_of_a_project_becomes_a_label(collect, builds, samples, tmp_path):
    collect()
    samples(1)
    builds.add("odd", project='a"b\\c{d}\te')
    builds.add("long", project="x" * 300)
    found = samples()
    assert found['builds_total{project="a_b_c_d__e",status="completed"}'] == 1
    assert found[f'builds_total{{project="{"x" * 100}",status="completed"}}'] == 1
    if shutil.which("promtool"):
        text = (tmp_path / "metrics" / "dindcache.prom").read_text()
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert done.stdout + done.stderr == ""


def test_a_project_that_built_long_ago_makes_room(collect, builds, samples, tmp_path):
    week = int(time.time()) - 8 * 86400
    old = f'project old {week}\ntotal dindcache_builds_total{{project="old",status="completed"}} 7\nsince {int(time.time())}\n'
    (tmp_path / "state" / "state").write_text(old)
    collect(MAX_PROJECTS="1")
    builds.add("a", project="new")
    found = samples()
    assert found['builds_total{project="new",status="completed"}'] == 1
    assert not [name for name in found if '"old"' in name]


def test_sizes_come_from_the_engine(collect, builds, samples):
    (builds.directory / "prunes").write_text(
        "dindcache.keep=,dindcache.prune=1795799102,dindcache.failed=1,dindcache.removed.image=4\n"
    )
    (builds.directory / "places").write_text("p1\np2\n")
    collect()
    found = samples()
    expected = {
        "images": 2,
        "image_bytes": 1980000,
        "containers": 1,
        "volumes": 3,
        "volume_bytes": 1.5e9,
        'build_cache_bytes{kind="regular",shared="true"}': 1500,
        'build_cache_bytes{kind="source.local",shared="false"}': 12,
        'build_cache_bytes{kind="exec.cachemount",shared="false"}': 5e6,
        'cache_mount_bytes{project="4711"}': 2e6,
        'cache_mount_bytes{project="unknown"}': 3e6,
        "prune_last_run_timestamp_seconds": 1795799102,
        "prune_last_run_failed": 1,
        'removed_objects_total{by="prune",kind="image"}': 4,
        'engine_info{version="29.9.3",image_store="overlay2"}': 1,
        "builds_waiting": 2,
        "builds_without_space_total": 0,
    }
    assert expected.items() <= found.items()
    assert 0 < found["disk_free_bytes"] < found["disk_size_bytes"]


def test_what_other_scripts_tell_is_counted(collect, builds, samples, tmp_path):
    events = tmp_path / "metrics" / "events"
    (tmp_path / "metrics" / "drain").write_text("0 rejecting\n")
    events.write_text("start pod\nlocked 7\ndrained shutdown 30\nremoved image 2\nfreed 1.5GB\nreclaim enough\nreclaim short\n")
    collect()
    found = samples()
    expected = {
        'engine_starts_total{reason="pod"}': 1,
        'engine_starts_total{reason="unexpected"}': 0,
        "lock_waits_total": 1,
        "lock_wait_seconds_total": 7,
        'drains_total{reason="shutdown"}': 1,
        'drain_seconds_total{reason="shutdown"}': 30,
        'removed_objects_total{by="disk-guard",kind="image"}': 2,
        'removed_cache_bytes_total{by="disk-guard"}': 1.5e9,
        'reclaims_total{result="enough"}': 1,
        'reclaims_total{result="short"}': 1,
        "draining_rejects": 1,
    }
    assert expected.items() <= found.items()
    assert found["draining_seconds"] > 0
    events.write_text("removed image 3\n")
    (tmp_path / "metrics" / "drain").unlink()
    found = samples()
    assert found['removed_objects_total{by="disk-guard",kind="image"}'] == 5
    assert (found["draining_seconds"], found["draining_rejects"]) == (0, 0)


def test_an_engine_that_does_not_answer_is_down(collect, builds, samples):
    collect()
    assert samples()["engine_up"] == 1
    (builds.directory / "down").touch()
    found = samples()
    assert found["engine_up"] == 0
    assert "disk_free_bytes" in found


def test_a_full_disk_is_logged_once_and_loses_no_count(collect, builds, samples, tmp_path):
    process = collect(setup=f"mount -t tmpfs -o size=4k,nr_inodes=1 full {tmp_path / 'state'}")
    found = samples(1)
    for i in range(3):
        builds.add(f"r{i}")
        found = samples()
    assert found['builds_total{project="4711",status="completed"}'] == 3
    process.kill()
    assert process.stdout
    assert process.stdout.read().count("the counters are not saved: ") == 1


def test_the_expiry_of_the_certificate(collect, builds, samples, tmp_path):
    directory = tmp_path / "certificates"
    directory.mkdir()
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=x"
    command += " -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    now = time.time()
    collect()
    found = samples()
    assert found["certificate_not_before_timestamp_seconds"] == pytest.approx(now, abs=10)
    assert found["certificate_not_after_timestamp_seconds"] == pytest.approx(now + 90 * 86400, abs=10)


# A port that is listened on until the program ends.
LISTEN = f"""{sys.executable} -c 'import socket, time; s = socket.create_server(("", 2376)); time.sleep(100)' & sleep 1"""


@pytest.mark.parametrize("script", ["collect.sh", "export.sh"])
def test_it_ends_with_the_engine(collect, start, builds, tmp_path, script):
    setup = f"{LISTEN}; echo $! >{tmp_path / 'engine'}; ip link set lo up"
    if script == "collect.sh":
        process = collect(setup=setup)
        while not (tmp_path / "metrics" / "dindcache.prom").exists():
            time.sleep(0.1)
    else:
        environment = {"METRICS": str(tmp_path / "metrics"), "PORT": "2376"}
        process = start(
            script, setup=setup, environment=environment, programs={"node_exporter": "echo started; exec sleep 1000"}
        )
        assert first_line(process) == "started"
    pid = inner(process)
    subprocess.run(["kill", "-TERM", str(pid)], check=True)
    time.sleep(3)  # it would end within a second
    assert process.poll() is None
    subprocess.run(["nsenter", "-t", str(pid), "-p", "-m", "sh", "-c", f"kill -KILL $(cat {tmp_path / 'engine'})"], check=True)
    assert end(process)[0] == 143


def test_an_exporter_that_ends_is_started_again(start, tmp_path):
    (tmp_path / "metrics").mkdir()
    process = start(
        "export.sh",
        "--web.listen-address=:9324",
        environment={"METRICS": str(tmp_path / "metrics"), "PORT": "2376"},
        programs={"node_exporter": 'echo "started $*"; sleep 0.5; kill -KILL $$'},
    )
    flags = "--collector.disable-defaults --collector.textfile "
    flags += f"--collector.textfile.directory={tmp_path / 'metrics'} --web.disable-exporter-metrics --log.level=warn"
    for _ in range(3):
        line = first_line(process)
        while not line.startswith("started"):
            line = first_line(process)
        assert line == f"started {flags} --web.listen-address=:9324"
    process.send_signal(signal.SIGKILL)
