"""How long a CI job that builds and pushes an image takes, by the ways there are to do it.

``python -m benchmarks.build KUBECONFIG [REGISTRY_MIRROR] [--rounds N]``: the ways in turn within each round, on one cluster,
from the same sources, to the same registry; jobs run on another node than the daemon. A round builds each of
``benchmarks/projects`` from nothing and then as on a Monday, after what a way's schedule removed over the weekend. The base
image, which stands for that of a language, is made of ``busybox`` and pushed to a registry in the cluster, so that no line to
the internet is measured.

Prints tables, and writes each job's times to ``results/build.json`` and a plot to ``results/build.svg``.
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
from benchmarks.ways import NAMESPACE, Way, Ways
from tests.framework.cluster import Cluster
from tests.framework.site import new_site
from tests.framework.support import support

ROUNDS = 5
AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is measured of a way, in this order within a round.

    :param project: a directory of ``benchmarks/projects``
    :param change: a key of ``job.CHANGES``
    :param monday: whether the way's schedule ran just before; those in the week are for the ways that have one, and the first
    :param jobs: that do it at once
    """

    project: str
    change: str
    monday: bool = True
    jobs: int = 1

    def __str__(self) -> str:
        """As the tables have it."""
        what = f"{self.change}, {self.jobs} jobs at once" if self.jobs > 1 else self.change
        return what if self.monday or self.change == "first build" else f"{what}, in the week"

    def is_for(self, way: Way) -> bool:
        """Whether it differs from the other steps of this way."""
        return self.monday or self.change == "first build" or way.weekend is not None


STEPS = [
    Step(project="app", change="first build", monday=False),
    Step(project="app", change="nothing changed"),
    Step(project="app", change="one source changed"),
    Step(project="app", change="one source changed", monday=False),
    Step(project="app", change="one source changed", jobs=AT_ONCE),
    Step(project="app", change="a dependency changed"),  # the last: a cache in the registry is the last job's
    *(
        Step(project=project, change=change, monday=change != "first build")
        for project in ("multistage", "cachemount")
        for change in ("first build", "one source changed")
    ),
]


def in_turn(ways: Sequence[str], number: int) -> list[str]:
    """The ways in a round's order: each is first once in as many rounds as there are ways."""
    first = number % len(ways)
    return [*ways[first:], *ways[:first]]


class Progress:
    """A bar on standard error."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._begin = time.monotonic()

    def show(self, what: str) -> None:
        """Say what is next."""
        part = self._done / self._total
        left = f"{(time.monotonic() - self._begin) * (1 / part - 1) / 60:.0f} min left" if part else ""
        bar = f"{'#' * round(part * 30):30}"
        print(f"\r[{bar}] {self._done}/{self._total} {left} {what}\033[K", end="", file=sys.stderr, flush=True)
        self._done += 1


def one_round(number: int, ways: dict[str, Way], progress: Progress, cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Every step of every way."""
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
    """A step's time in each round; of several jobs the last one's, for which the others' users wait too."""
    found = [run for run in runs if (run["project"], run["step"], run["way"]) == (project, str(step), way)]
    return [max(job["job"] for job in run["jobs"]) for run in found]


def tables(runs: list[dict[str, Any]], ways: Sequence[str]) -> str:
    """Seconds by project, disk, and where the time of a job goes."""
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


def main() -> None:
    """Run the rounds."""
    parser = arguments.parser(__doc__, "build.json and build.svg")
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
            # What was measured is there, whatever the next round meets.
            (given.results / "build.json").write_text(json.dumps(runs, indent=1) + "\n")
    print(file=sys.stderr)
    steps = {str(step): step for step in STEPS if step.project == "app"}
    groups = {
        name: {way.title: seconds(runs, "app", step, key) for key, way in ways.items() if step.is_for(way)}
        for name, step in steps.items()
    }
    title = f"A job that builds and pushes: seconds, median of {given.rounds}, from the fastest to the slowest"
    (given.results / "build.svg").write_text(svg(title, groups))
    for key, way in ways.items():
        print(f"{key}: {way.title}")
    print(tables(runs, list(ways)))


if __name__ == "__main__":
    main()
