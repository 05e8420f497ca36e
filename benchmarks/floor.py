"""Compare a job with the floor: the same build on the socket of the warm daemon, without network, TLS and template.

``python -m benchmarks.floor KUBECONFIG [REGISTRY_MIRROR] [--pairs N]``: build and push ``benchmarks/projects/app`` with
one source changed, alternately, on one daemon; the job runs on another node. Consecutive jobs see the same noise, which on a
busy machine exceeds the difference to be measured.

Prints the parts of the time and whether the bound holds, and fails if it does not. Writes each job to ``results/floor.json``.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks import arguments
from benchmarks.build import in_turn
from benchmarks.job import Job
from benchmarks.ways import NAMESPACE, Ways
from tests.framework.cluster import Cluster
from tests.framework.site import new_site
from tests.framework.support import support

PAIRS = 40
OURS, FLOOR = "dindcache", "floor"
TARGET = 1.10


def table(jobs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the medians of the jobs and of their parts, and the ratio."""
    rows = {way: [{**job["parts"], "the job": job["job"]} for job in jobs[way]] for way in (OURS, FLOOR)}
    lines = [f"| s, median of {len(rows[OURS])} | {OURS} | {FLOOR} |", "| --- | --- | --- |"]
    for what in rows[OURS][0]:
        cells = [f"{median(row[what] for row in rows[way]):.3f}" for way in (OURS, FLOOR)]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    holds = "holds" if ratio(jobs) <= TARGET else "does not hold"
    return "\n".join([*lines, "", f"{OURS} takes {ratio(jobs):.2f} x the floor; at most {TARGET:.2f} {holds}"])


def ratio(jobs: Mapping[str, Sequence[Mapping[str, Any]]]) -> float:
    """Return the ratio of the medians."""
    ours, floor = (median(job["job"] for job in jobs[way]) for way in (OURS, FLOOR))
    return float(ours / floor)


def main() -> int:
    """Run the pairs."""
    parser = arguments.parser(__doc__, "floor.json")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    given = parser.parse_args()
    cluster = Cluster(given.kubeconfig, given.registry_mirror)
    jobs: dict[str, list[dict[str, Any]]] = {OURS: [], FLOOR: []}
    with support(cluster), new_site(cluster, NAMESPACE) as site:
        ways = Ways(site).set_up(OURS, FLOOR)
        for number in range(given.pairs + 1):
            for name in in_turn([OURS, FLOOR], number):
                job = Job(project="app", change="one source changed", stamp=f"p{number}-{name}")
                ((times, _),) = ways[name].at_once([job])
                if number:  # the first build fills the cache
                    jobs[name].append(asdict(times))
    given.results.mkdir(exist_ok=True)
    (given.results / "floor.json").write_text(json.dumps(jobs, indent=1) + "\n")
    print(table(jobs))
    return 0 if ratio(jobs) <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
