"""A CI job of the benchmark as one shell script, and how long its parts took."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

PROJECTS = Path(__file__).parent / "projects"
# Where a pod has the projects, of which each job takes a copy, as it would clone its own.
BUILDS = "/tmp/builds"  # noqa: S108 - of a pod
# The clock of all pods of a node; BusyBox has none with fractions besides.
MARK = "mark() { echo \"@ $1 $(cut -d' ' -f1 /proc/uptime)\"; }"
CHANGES = {
    "first build": ":",
    "nothing changed": ":",
    "one source changed": "echo $stamp >>source/0100",
    "a dependency changed": 'sed -i "s/^package-20 .*/package-20 $stamp/" dependencies.lock',
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One build of a project with one change, pushed.

    :param project: a directory of ``benchmarks/projects``
    :param change: a key of ``CHANGES``
    :param stamp: what no other job has
    """

    project: str
    change: str
    stamp: str

    def script(self, steps: str) -> str:
        """The job with these steps between its marks ``begin`` and ``end``."""
        # A home of its own, or the client sends only what changed since the job before it: a job's pod is new.
        return f"""set -eu
            {MARK}
            export HOME=$(mktemp -d) BUILDKIT_PROGRESS=rawjson
            stamp={self.stamp}; directory=$HOME/{self.project}
            cp -r {BUILDS}/{self.project} $directory; cd $directory; {CHANGES[self.change]}
            exec 2>&1
            mark begin
            {steps}
            mark end
            rm -rf $HOME"""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds.

    :param job: all of it, with the wait for its daemon
    :param parts: that follow each other, so that they add up to the job
    """

    job: float
    parts: dict[str, float]


def projects() -> str:
    """A script that writes the projects with their sources."""
    lines = [f"mkdir -p {BUILDS}"]
    for path in sorted(PROJECTS.rglob("*")):
        target = f"{BUILDS}/{path.relative_to(PROJECTS)}"
        lines += [f"mkdir -p {target}"] if path.is_dir() else [f"cat >{target} <<'END_OF_FILE'\n{path.read_text()}END_OF_FILE"]
    lines += [f"chmod +x {BUILDS}/base/install-dependencies {BUILDS}/base/compile"]
    # What is one project's is no other's, or its first build would find the other's layers.
    for seed, name in enumerate(("app", "multistage", "cachemount"), start=2):
        lines += [f"sh {BUILDS}/sources.sh {BUILDS}/{name} {BUILDS}/base/generate.awk {seed}"]
    return "\n".join(lines)


def read(output: str) -> Times:
    """The times of a job from all that it printed.

    Its marks are in their order: ``begin``, ``build``, ``push`` where that is a command of its own, ``pushed``, ``end``.
    A push that the build does itself is a step of it.
    """
    marks: dict[str, float] = {}
    steps: dict[str, tuple[str, float, float]] = {}
    for line in output.splitlines():
        if line.startswith("@ "):
            _, name, uptime = line.split()
            marks[name] = float(uptime)
        elif line.startswith("{"):
            for vertex in json.loads(line).get("vertexes", []):
                if "completed" in vertex:
                    steps[vertex["digest"]] = (vertex["name"], _seconds(vertex["started"]), _seconds(vertex["completed"]))
    if "end" not in marks:
        raise RuntimeError(f"a job failed:\n{output}")
    built = marks.get("push", marks["pushed"])
    command = built - marks["build"]
    solve = max(end for _, _, end in steps.values()) - min(start for _, start, _ in steps.values())
    context = _together(steps.values(), "[internal] load build context")
    export = _together(steps.values(), "exporting to image", "exporting cache")
    pushing = _together(steps.values(), "pushing ")
    parts = {
        "before the build": marks["build"] - marks["begin"],
        "client": command - solve,
        "context": context,
        "steps": solve - context - export - pushing,
        "export": export,
        "push": pushing + marks["pushed"] - built,
        "after the push": marks["end"] - marks["pushed"],
    }
    return Times(job=marks["end"] - marks["begin"], parts={name: round(seconds, 3) for name, seconds in parts.items()})


def _seconds(time: str) -> float:
    # With nanoseconds, of which Python 3.10 reads no more than six digits, and only as many.
    date, _, fraction = time.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{date}+00:00").timestamp() + float(f"0.{fraction or 0}")


def _together(steps: Iterable[tuple[str, float, float]], *names: str) -> float:
    return sum(end - start for name, start, end in steps if name.startswith(names))
