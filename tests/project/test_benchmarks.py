"""The arithmetic and the plots of the benchmarks, on invented numbers."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import build, fleet, metrics, month
from benchmarks.build import STEPS, in_turn, seconds, tables
from benchmarks.floor import table
from benchmarks.job import BUILDS, CHANGES, Job, projects, read
from benchmarks.plot import svg

ROOT = Path(__file__).parents[2]
OUTPUT = """@ begin 100.00
dindcache: waiting
@ build 100.50
{"vertexes":[{"digest":"a","name":"[internal] load build context","started":"AT5Z"}]}
{"vertexes":[{"digest":"a","name":"[internal] load build context","started":"AT5Z","completed":"AT5.250000001Z"}]}
{"vertexes":[{"digest":"b","name":"[5/5] RUN compile","started":"AT5.25Z","completed":"AT5.9Z"}]}
{"vertexes":[{"digest":"c","name":"exporting to image","started":"AT5.9Z","completed":"AT7Z"}]}
@ push 103.00
The push refers to repository [registry/app]
@ pushed 103.75
@ end 104.00
""".replace("AT", "2026-01-02T03:04:0")


def test_the_parts_of_a_job_add_up_to_it():
    times = read(OUTPUT)
    assert times.job == pytest.approx(4.0)
    assert times.parts == {
        "before the build": 0.5,
        "client": 0.5,
        "context": 0.25,
        "steps": 0.65,
        "export": 1.1,
        "push": 0.75,
        "after the push": 0.25,
    }
    assert sum(times.parts.values()) == pytest.approx(times.job)


def test_a_push_that_the_build_does_itself_is_a_step_of_it():
    output = re.sub("@ push .*\n", "", OUTPUT)
    assert read(output).parts["push"] == 0
    parts = read(output.replace("[5/5] RUN compile", "pushing registry/app with docker")).parts
    assert (parts["push"], parts["steps"]) == (0.65, 0)


def test_a_job_that_does_not_come_to_its_end_failed():
    with pytest.raises(RuntimeError, match="a job failed:\n@ begin"):
        read(OUTPUT.replace("@ end", ""))


def test_each_way_is_first_as_often():
    rounds = [in_turn("abc", number) for number in range(6)]
    assert [ways[0] for ways in rounds] == list("abcabc")
    assert all(sorted(ways) == list("abc") for ways in rounds)


def test_the_time_of_several_jobs_is_the_last_ones():
    runs = [{"project": "app", "step": "four", "way": "a", "jobs": [{"job": 1.0}, {"job": 3.0}, {"job": 2.0}]}]
    assert seconds(runs, "app", "four", "a") == [3.0]


def made_up_runs() -> list[dict[str, Any]]:
    """Three rounds of two ways, in which each of the jobs of the floor takes 10, 20 and 90 s, and ours 1.09 times as long."""
    return [
        {"way": way, "project": step.project, "step": str(step), "jobs": [{"job": took, "parts": {"push": took / 2}}]}
        for took in (10.0, 20.0, 90.0)
        for way, took in {"floor": took, "dindcache": took * 1.09}.items()
        for step in STEPS
    ] + [{"way": way, "project": "all", "step": "disk", "MB": 7.0} for way in ("floor", "dindcache")]


def test_the_tables_have_medians_and_ranges():
    text = tables(made_up_runs(), ["dindcache", "floor"])
    assert "| first build | 21.8 (10.9 to 98.1) | 20.0 (10.0 to 90.0) |" in text
    assert "| push | 10.90 | 10.00 |" in text


def test_the_pairs_say_whether_it_holds():
    def pairs(ours: float) -> str:
        jobs = {"floor": (1.0, 2.0, 9.0), "dindcache": (ours, 2 * ours, 9 * ours)}
        return table({way: [{"job": took, "parts": {"push": took / 2}} for took in tooks] for way, tooks in jobs.items()})

    assert "| push | 1.090 | 1.000 |\n| the job | 2.180 | 2.000 |" in pairs(1.09)
    assert pairs(1.09).endswith("dindcache takes 1.09 x the floor; at most 1.10 holds")
    assert pairs(1.2).endswith("dindcache takes 1.20 x the floor; at most 1.10 does not hold")


def test_the_plot_is_to_scale_and_says_what_it_shows():
    text = svg("Jobs <fast>", {"nothing changed": {"a & b": [1, 2, 4], "c": [8, 8, 8]}, "all changed": {"c": [8, 8, 8]}})
    root = ET.fromstring(text)  # noqa: S314 - the own
    named = "{http://www.w3.org/2000/svg}"
    bars = [float(bar.get("width", "")) for bar in root.iter(f"{named}rect") if bar.get("fill")]
    assert bars[1] == pytest.approx(4 * bars[0])
    ranges = [re.findall(r"[\d.]+", path.get("d", "")) for path in root.iter(f"{named}path")]
    low, _, high = map(float, ranges[0])
    left = low - bars[0] / 2
    assert (high - left) == pytest.approx(2 * bars[0])
    colours = [bar.get("fill") for bar in root.iter(f"{named}rect") if bar.get("fill")]
    assert colours[1] == colours[2] != colours[0]
    texts = [text.text for text in root.iter(f"{named}text")]
    assert {"Jobs <fast>", "nothing changed", "all changed", "a & b", "2.0 s", "c", "8.0 s"} == set(texts)


def test_a_change_is_of_one_file(tmp_path):
    def run(script: str) -> str:
        script = script.replace(BUILDS, str(tmp_path))
        return subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True).stdout

    run(projects())
    sums = "find . -type f | sort | xargs sha256sum"
    changed = {}
    for change in CHANGES:
        output = run(Job(project="app", change=change, stamp="1").script(f"mark build; {sums}; mark pushed"))
        files = {line for line in output.splitlines() if not line.startswith("@ ")}
        marks = [line.split()[1] for line in output.splitlines() if line.startswith("@ ")]
        assert marks == ["begin", "build", "pushed", "end"]
        unchanged = set(run(f"cd {BUILDS}/app; {sums}").splitlines())
        changed[change] = [line.split()[1] for line in files - unchanged]
    assert changed == {
        "first build": [],
        "nothing changed": [],
        "one source changed": ["./source/0100"],
        "a dependency changed": ["./dependencies.lock"],
    }
    assert {step.change for step in STEPS} == set(CHANGES)


def test_the_sources_are_the_same_each_time(tmp_path):
    listings = []
    for name in ("first", "second"):
        script = f"{projects()}\ncd {BUILDS}; find . -type f | sort | xargs sha256sum".replace(BUILDS, str(tmp_path / name))
        listings.append(subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True).stdout)
    assert listings[0] == listings[1]
    assert len(listings[0].splitlines()) > 3 * 200


@pytest.mark.parametrize(("name", "plot"), [("build", build.plot), ("month", month.plot), ("metrics", metrics.plot)])
def test_plots_of_the_docs_are_drawn_from_results(name: str, plot: Callable[[Any], str], request: pytest.FixtureRequest):
    if name == "metrics" and sys.version_info < (3, 11):
        pytest.skip("needs Python 3.11, as the pinned matplotlib does")
    results = ROOT / "benchmarks" / "results" / f"{name}.json"
    committed = ROOT / "docs" / "assets" / f"{name}.svg"
    drawn = plot(json.loads(results.read_text()))
    if request.config.getoption("--update-golden"):
        committed.write_text(drawn)
    assert committed.read_text() == drawn


def test_the_page_has_the_results_of_the_simulation():
    results = json.loads(fleet.RESULTS.read_text())
    assert fleet.table(results) in (ROOT / "docs" / "explanation" / "benchmarks.md").read_text()
    for size, ways in results.items():
        assert ways["a fleet"]["moved"] <= 1 / (int(size) + 1) + 0.01
        assert ways["a fleet"]["hits after"] > max(ways["modulo"]["hits after"], ways["random"]["hits after"])


def test_a_small_simulation(monkeypatch):
    monkeypatch.setattr(fleet, "PROJECTS", 200)
    monkeypatch.setattr(fleet, "BUILDS", 2000)
    ways = fleet.measure(5)
    assert ways["a fleet"]["moved"] < 0.3 < ways["modulo"]["moved"]
    assert ways["a fleet"]["hits"] > ways["random"]["hits"]
    assert ways["a fleet with a second choice"]["waits"] < ways["a fleet"]["waits"]
