"""The trace of the month and its arithmetic, on invented numbers."""

from xml.etree import ElementTree as ET

import pytest

from benchmarks.lines import Panel, svg
from benchmarks.month import BUILD_MIB, COLLECTED_SECONDS, MAX_USED_MIB, Built, holds, over_budget
from benchmarks.trace import DAILY, Build, base_of, cacheable, hit_rate, of_mondays, trace


def test_the_trace_is_the_same_for_the_same_seed():
    assert trace(1, 30) == trace(1, 30)
    assert trace(1, 30) != trace(2, 30)
    assert trace(1, 30)[: len(trace(1, 10))] == trace(1, 10)


def test_some_projects_are_built_daily_and_a_base_image_comes_each_wednesday():
    builds = trace(1, 30)
    assert [build.number for build in builds] == list(range(len(builds)))
    for day in range(30):
        projects = [build.project for build in builds if build.day == day]
        assert set(range(DAILY)) <= set(projects)
        assert len(projects) == len(set(projects))
    assert [day for day in range(1, 30) if base_of(day) != base_of(day - 1)] == [2, 9, 16, 23]
    assert max(build.dependencies for build in builds) > 0


def made_up(*versions: tuple[int, int, int, int]) -> list[Build]:
    """Builds by their day, project, base and dependencies."""
    return [
        Build(number=number, day=day, project=project, base=base, dependencies=dependencies)
        for number, (day, project, base, dependencies) in enumerate(versions)
    ]


def test_what_a_cache_could_have_is_what_some_build_before_had():
    first = (0, 1, 0, 0)
    builds = made_up(first, first, (1, 1, 0, 1), (1, 1, 0, 1), (2, 1, 1, 1), (2, 2, 1, 1), first)
    assert cacheable(builds) == [0, 3, 1, 3, 0, 0, 3]


def test_mondays_are_of_projects_of_the_week_before():
    builds = made_up(
        (0, 1, 0, 0), (0, 2, 0, 0), (6, 3, 0, 0), (7, 1, 0, 0), (7, 3, 0, 0), (7, 4, 0, 0), (14, 3, 0, 0), (14, 4, 0, 0)
    )
    assert [build.number for build in of_mondays(builds)] == [3, 4, 6, 7]


def test_the_hit_rate_weighs_steps():
    assert hit_rate([3, 0, 0], [3, 1, 0]) == 0.75
    assert hit_rate([0], [0]) is None


def test_the_build_cache_is_over_its_budget_once_it_should_have_been_collected():
    large, small = MAX_USED_MIB + BUILD_MIB + 1, MAX_USED_MIB + BUILD_MIB
    later = COLLECTED_SECONDS + 1.0
    samples = [(0.0, large), (5.0, large), (later, large), (later + 5, small), (later + 10, large)]
    assert over_budget(samples, [1.0]) == [later]
    assert over_budget(samples, []) == []  # the engine looks after builds alone
    assert over_budget([(0.0, large), (5.0, small), (6.0, large), (later, large)], [1.0]) == []


@pytest.mark.parametrize("wrong", [0, 1, 2, 3, None])
def test_each_of_what_must_hold_can_fail(wrong):
    builds = made_up((6, 1, 0, 0), (7, 1, 0, 0))
    builts = [
        Built(build=build, end=7.0, took=1.0, cached=cached, could=could, error="no space left" if wrong == 3 else None)
        for build, cached, could in zip(builds, (0, 2 if wrong == 0 else 3), (0, 3), strict=True)
    ]
    sample = {"disk, MiB": 1000, "used, MiB": 851 if wrong == 1 else 850, "build cache, MiB": 2000 if wrong == 2 else 10}
    samples = [{**sample, "seconds": seconds} for seconds in (0.0, 5.0, 100.0)]
    assert [not is_so for is_so in holds(builts, samples).values()] == [number == wrong for number in range(4)]


def test_the_plot_is_to_scale_and_says_what_it_shows():
    panel = Panel(heading="a & b", top=50, lines={"ours": [(0, 0), (5, 50)], "never": [(10, 25)]}, limits={"full": 50})
    root = ET.fromstring(svg("A <month>", 10, [panel]))  # noqa: S314 - the own
    named = "{http://www.w3.org/2000/svg}"
    texts = {text.text for text in root.iter(f"{named}text")}
    assert {"A <month>", "a & b", "ours", "never", "full", "day", "0", "7", "25", "50"} == texts
    ours, never = [path.get("d", "")[1:] for path in root.iter(f"{named}path") if path.get("class") == "line"][2:]
    (left, bottom), (middle, top) = (map(float, point.split()) for point in ours.split("L"))
    right, half = map(float, never.split())
    assert (right - left) == pytest.approx(2 * (middle - left))
    assert (half - top) == pytest.approx((bottom - top) / 2)
