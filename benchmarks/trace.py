"""A month of builds, the same for the same seed, and the steps of each that an unlimited cache would have."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MONDAY, WEDNESDAY, SATURDAY, SUNDAY, WEEK = 0, 2, 5, 6, 7
DAILY, RARE = 5, 24
# A rarely built project has a build on every eighth weekday, on average.
RARELY = 1 / 8
# Part of the builds whose dependencies differ from those of the previous build.
CHANGED = 1 / 20


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build of the trace. Its sources are unique.

    :param number: Number in the trace
    :param day: Number of the day; day 0 is a Monday
    :param project: Number of the project
    :param base: Version of its base image. A new one comes each Wednesday
    :param dependencies: Version of its dependencies
    """

    number: int
    day: int
    project: int
    base: int
    dependencies: int


def base_of(day: int) -> int:
    """Return the version of the base image on a day."""
    return (day + WEEK - WEDNESDAY) // WEEK


def trace(seed: int, days: int) -> list[Build]:
    """Return the trace: some projects have a build each day, many have one on some weekdays."""
    dice = random.Random(seed)  # noqa: S311 - reproducible
    dependencies = [0] * (DAILY + RARE)
    builds: list[Build] = []
    for day in range(days):
        projects = list(range(DAILY))
        if day % WEEK < SATURDAY:
            projects += [project for project in range(DAILY, DAILY + RARE) if dice.random() < RARELY]
        dice.shuffle(projects)
        for project in projects:
            dependencies[project] += dice.random() < CHANGED
            versions = {"base": base_of(day), "dependencies": dependencies[project]}
            builds.append(Build(number=len(builds), day=day, project=project, **versions))
    return builds


def cacheable(builds: Iterable[Build]) -> list[int]:
    """Return for each build the number of steps after ``FROM`` that an earlier build had: at most those before its sources.

    The steps are those of ``month.DOCKERFILE``: one depends on the base image, and two depend on the dependencies too.
    """
    seen: set[tuple[int, ...]] = set()
    counts = []
    for build in builds:
        first = (build.project, build.base)
        rest = (*first, build.dependencies)
        counts.append(3 if rest in seen else 1 if first in seen else 0)
        seen |= {first, rest}
    return counts


def of_mondays(builds: Sequence[Build]) -> list[Build]:
    """Return the builds on Mondays, of projects that were built in the previous week."""
    days = {(build.project, build.day) for build in builds}
    return [
        build
        for build in builds
        if build.day % WEEK == MONDAY and any((build.project, build.day - ago) in days for ago in range(1, WEEK + 1))
    ]


def hit_rate(cached: Iterable[int], could: Iterable[int]) -> float | None:
    """Return the ratio of cached to cacheable steps, or None if no step was cacheable."""
    total = sum(could)
    return sum(cached) / total if total else None
