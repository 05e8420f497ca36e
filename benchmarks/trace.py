"""A month of builds, the same for the same seed, and what a cache that forgets nothing would have of each."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MONDAY, WEDNESDAY, SATURDAY, SUNDAY, WEEK = 0, 2, 5, 6, 7
DAILY, RARE = 5, 24
# A project that is built rarely has a build on each eighth weekday, on average.
RARELY = 1 / 8
# Of all builds, those with other dependencies than the one before.
CHANGED = 1 / 20


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build of the trace. Its sources are no other build's.

    :param number: in the trace
    :param day: from 0, a Monday
    :param project: its number
    :param base: which version of the base image it is from; a new one comes each Wednesday
    :param dependencies: which version of them it has
    """

    number: int
    day: int
    project: int
    base: int
    dependencies: int


def base_of(day: int) -> int:
    """Which version of the base image a day has."""
    return (day + WEEK - WEDNESDAY) // WEEK


def trace(seed: int, days: int) -> list[Build]:
    """Some projects have a build each day, many have one on some weekdays."""
    dice = random.Random(seed)  # noqa: S311 - to be had again
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
    """Of each build the number of steps, after ``FROM``, that some build before it had: at most those before its sources.

    The steps are ``month.DOCKERFILE``'s: one that goes by the base image, and two that go by the dependencies too.
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
    """Those on Mondays, of projects that were built in the week before."""
    days = {(build.project, build.day) for build in builds}
    return [
        build
        for build in builds
        if build.day % WEEK == MONDAY and any((build.project, build.day - ago) in days for ago in range(1, WEEK + 1))
    ]


def hit_rate(cached: Iterable[int], could: Iterable[int]) -> float | None:
    """Steps that were cached of those that could be; None where none could."""
    total = sum(could)
    return sum(cached) / total if total else None
