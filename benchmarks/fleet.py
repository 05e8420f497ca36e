"""Simulate the choice of a fleet's member: 10,000 projects whose popularity falls as Zipf's law says, on 5, 50 and 500 members.

``python -m benchmarks.fleet``: 100,000 builds for each way to choose, with the same projects in the same order. In the middle a
member is added. A build is a hit if its member has built the project before. It takes one time unit, and a member can run
``LIMIT`` builds at once; 60 % of all places are taken on average. Needs no cluster, and takes minutes. Prints the table of
``docs/explanation/benchmarks.md`` and writes ``results/fleet.json``.
"""

import heapq
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from dindcache import Client, FleetClient

PROJECTS, BUILDS, LIMIT, LOAD = 10_000, 100_000, 4, 0.6
SIZES = (5, 50, 500)
RESULTS = Path(__file__).parent / "results" / "fleet.json"
Choose = Callable[[int, int, Random], Sequence[str]]


def orders(members: Sequence[str]) -> list[list[str]]:
    """Return the two members that each project prefers."""
    clients = {member: Client(daemon=member, host=f"tcp://{member}:2376", secret=None) for member in members}
    fleet = FleetClient(clients=clients, weights=dict.fromkeys(members, 1), failover_seconds=60)
    return [fleet.order(f"group/project-{project}")[:2] for project in range(PROJECTS)]


def ways(before: Sequence[str], after: Sequence[str]) -> dict[str, Choose]:
    """Return each way to choose by its name: the candidates for a project, before or after a member is added."""
    found = [orders(before), orders(after)]
    members = [before, after]

    def modulo(phase: int, project: int, _: Random) -> Sequence[str]:
        number = int(sha256(f"group/project-{project}".encode()).hexdigest(), 16)
        return [members[phase][number % len(members[phase])]]

    return {
        "a fleet": lambda phase, project, _: found[phase][project][:1],
        "a fleet with a second choice": lambda phase, project, _: found[phase][project],
        "modulo": modulo,
        # So does a Service with sessionAffinity: each job has a pod, and thus an address, of its own.
        "random": lambda phase, _, random: [random.choice(members[phase])],
    }


def simulate(choose: Choose, members: int, builds: Sequence[int]) -> dict[str, float]:
    """Return the share of hits before and after a member is added, and the share of builds that wait for a place."""
    random = Random(2)  # noqa: S311 - the same in each run
    seen: set[tuple[int, str]] = set()
    running: dict[str, list[float]] = {}
    hits, waits, clock = [0, 0], 0, 0.0
    for number, project in enumerate(builds):
        phase = int(number >= len(builds) // 2)
        clock += random.expovariate(members * LIMIT * LOAD)
        candidates = choose(phase, project, random)
        for candidate in candidates:
            ends = running.setdefault(candidate, [])
            while ends and ends[0] <= clock:
                heapq.heappop(ends)
        free = [candidate for candidate in candidates if len(running[candidate]) < LIMIT]
        member = free[0] if free else candidates[0]
        begin = clock if free else heapq.nsmallest(len(running[member]) - LIMIT + 1, running[member])[-1]
        waits += not free
        heapq.heappush(running[member], begin + 1)
        hits[phase] += (project, member) in seen
        seen.add((project, member))
    half = len(builds) // 2
    return {"hits": hits[0] / half, "hits after": hits[1] / half, "waits": waits / len(builds)}


def measure(size: int) -> dict[str, Any]:
    """Return all that is measured with a number of members."""
    before = [f"node{i}" for i in range(size)]
    after = [*before, f"node{size}"]
    popularity = list(accumulate(1 / (rank + 1) for rank in range(PROJECTS)))
    builds = Random(1).choices(range(PROJECTS), cum_weights=popularity, k=BUILDS)  # noqa: S311 - the same in each run
    result: dict[str, Any] = {}
    for name, choose in ways(before, after).items():
        random = Random(3)  # noqa: S311 - the same in each run
        first = [choose(0, project, random)[0] for project in range(PROJECTS)]
        second = [choose(1, project, random)[0] for project in range(PROJECTS)]
        counts = [first.count(member) for member in before]
        result[name] = {
            "most": max(counts) / (PROJECTS / size),
            "moved": sum(one != other for one, other in zip(first, second, strict=True)) / PROJECTS,
            **simulate(choose, size, builds),
        }
    return result


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of the docs."""
    lines = [
        "| members | way | projects of the largest member | moved by one more | hits | hits after it | builds that wait |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for size, found in results.items():
        for name, values in found.items():
            cells = [f"{values['most']:.2f} x", *(f"{values[what]:.1%}" for what in ("moved", "hits", "hits after", "waits"))]
            lines.append(f"| {size} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate each size."""
    results = {str(size): measure(size) for size in SIZES}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
