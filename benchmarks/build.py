"""Compare the times of a CI job that builds and pushes an image, for several ways to build.

``python -m benchmarks.build KUBECONFIG [REGISTRY_MIRROR] [--rounds N]``: each round runs the ways one after
another, on one cluster, with the same sources and the same registry. Jobs run on a different node than the daemon. A round
builds each of ``benchmarks/projects`` without a cache, and then as on a Monday, after the scheduled prune of the weekend. The
base image, which represents that of a language, is built on ``busybox`` and pushed to a registry in the cluster, so that the
times do not include an internet connection.

Prints tables. Writes the times of each job to ``results/build.json``; ``make golden`` draws the plot.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks import arguments
from benchmarks.job import Job
from benchmarks.plot import svg
from benchmarks.ways import NAMESPACE, TITLES, Way, Ways
from tests.framework.cluster import Cluster
from tests.framework.site import new_site
from tests.framework.support import support

ROUNDS = 5
AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Step:
    """A measurement of a way. A round runs the steps in this order.

    :param project: Directory in ``benchmarks/projects``
    :param change: Key of ``job.CHANGES``
    :param monday: Whether the scheduled prune of the way runs just before the step
    :param jobs: Number of simultaneous jobs
    """

    project: str
    change: str
    monday: bool = True
    jobs: int = 1

    def __str__(self) -> str:
        """Return the label of the step in the tables."""
        what = f"{self.change}, {self.jobs} jobs at once" if self.jobs > 1 else self.change
        return what if self.monday or self.change == "first build" else f"{what}, in the week"

    def is_for(self, way: Way) -> bool:
        """Return whether the step differs from the other steps of this way."""
        return self.monday or self.change == "first build" or way.weekend is not None


STEPS = [
    Step(project="app", change="first build", monday=False),
    Step(project="app", change="nothing changed"),
    Step(project="app", change="one source changed"),
    Step(project="app", change="one source changed", monday=False),
    Step(project="app", change="one source changed", jobs=AT_ONCE),
    Step(project="app", change="a dependency changed"),  # the last, since a cache in the registry is that of the last job
    *(
        Step(project=project, change=change, monday=change != "first build")
        for project in ("multistage", "cachemount")
        for change in ("first build", "one source changed")
    ),
]


def in_turn(ways: Sequence[str], number: int) -> list[str]:
    """Return the order of the ways in a round: another way is first in each round."""
    first = number % len(ways)
    return [*ways[first:], *ways[:first]]


class Progress:
    """A progress bar on standard error."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._begin = time.monotonic()

    def show(self, what: str) -> None:
        """Show the next step."""
        part = self._done / self._total
        left = f"{(time.monotonic() - self._begin) * (1 / part - 1) / 60:.0f} min left" if part else ""
        bar = f"{'#' * round(part * 30):30}"
        print(f"\r[{bar}] {self._done}/{self._total} {left} {what}\033[K", end="", file=sys.stderr, flush=True)
        self._done += 1


def one_round(number: int, ways: dict[str, Way], progress: Progress, cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Run every step of every way."""
    for name in in_turn(list(ways), number):
        way = ways[name]
        way.empty()
        used = []
        for count, step in enumerate(step for step in STEPS if step.is_for(way)):
            progress.show(f"{name}: {step.project}, {step}")
            if step.monday and way.weekend:
                way.weekend()
            stamp = f"r{number}-{name}-{count}"
            jobs = [Job(project=step.project, change=step.change, stamp=f"{stamp}-{i}") for i in range(step.jobs)]
            done = way.at_once(jobs)
            used += [float(line.split()[1]) for _, output in done for line in output.splitlines() if line.startswith("used ")]
            times = [asdict(times) for times, _ in done]
            yield {"round": number, "way": name, "project": step.project, "step": str(step), "jobs": times}
        if way.directory:
            used = [float(cluster.on_node(cluster.node_names[0], f"du -sm {way.directory}").split()[0])]
        yield {"round": number, "way": name, "project": "all", "step": "disk", "MB": max(used)}


def seconds(runs: list[dict[str, Any]], project: str, step: Step | str, way: str) -> list[float]:
    """Return the time of a step in each round. Of simultaneous jobs, the slowest counts."""
    found = [run for run in runs if (run["project"], run["step"], run["way"]) == (project, str(step), way)]
    return [max(job["job"] for job in run["jobs"]) for run in found]


def tables(runs: list[dict[str, Any]], ways: Sequence[str]) -> str:
    """Return tables of the seconds of each project, the disk space, and the parts of a job."""
    lines = []
    for project in dict.fromkeys(step.project for step in STEPS):
        lines += ["", f"| {project}, s: median (minimum to maximum) | {' | '.join(ways)} |", f"| --- |{' --- |' * len(ways)}"]
        for step in (step for step in STEPS if step.project == project):
            cells = [_range(seconds(runs, project, step, way)) for way in ways]
            lines.append(f"| {step} | {' | '.join(cells)} |")
    disk = [[run["MB"] for run in runs if run["step"] == "disk" and run["way"] == way] for way in ways]
    lines += [f"| disk, MB | {' | '.join(_range(used, 0) for used in disk)} |"]
    changed = str(Step(project="app", change="one source changed"))
    lines += ["", f"| app, {changed}, s | {' | '.join(ways)} |", f"| --- |{' --- |' * len(ways)}"]
    parts = [
        [run["jobs"][0]["parts"] for run in runs if (run["project"], run["step"], run["way"]) == ("app", changed, w)]
        for w in ways
    ]
    for part in parts[0][0]:
        lines.append(f"| {part} | {' | '.join(f'{median(run[part] for run in of_way):.2f}' for of_way in parts)} |")
    return "\n".join(lines[1:])


def _range(values: list[float], digits: int = 1) -> str:
    if not values:
        return ""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def plot(runs: list[dict[str, Any]]) -> str:
    """Return the plot of the times of ``app``."""
    groups: dict[str, dict[str, list[float]]] = {}
    for step in (step for step in STEPS if step.project == "app"):
        found = {title: seconds(runs, "app", step, key) for key, title in TITLES.items()}
        groups[str(step)] = {title: values for title, values in found.items() if values}
    rounds = len({run["round"] for run in runs})
    return svg(f"A job that builds and pushes: seconds, median of {rounds}, with the fastest and the slowest", groups)


def main() -> None:
    """Run the rounds."""
    parser = arguments.parser(__doc__, "build.json")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    cluster = Cluster(given.kubeconfig, given.registry_mirror)
    given.results.mkdir(exist_ok=True)
    runs: list[dict[str, Any]] = []
    print("setting up", end="", file=sys.stderr, flush=True)
    with support(cluster), new_site(cluster, NAMESPACE) as site:
        ways = Ways(site).set_up()
        progress = Progress(given.rounds * sum(step.is_for(way) for step in STEPS for way in ways.values()))
        for number in range(given.rounds):
            runs += one_round(number, ways, progress, cluster)
            # Keep these results if the next round fails.
            (given.results / "build.json").write_text(json.dumps(runs, indent=1) + "\n")
    print(file=sys.stderr)
    for key in ways:
        print(f"{key}: {TITLES[key]}")
    print(tables(runs, list(ways)))


if __name__ == "__main__":
    main()
