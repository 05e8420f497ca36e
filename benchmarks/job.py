"""A CI job of the benchmark as one shell script, and the times of its parts."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

PROJECTS = Path(__file__).parent / "projects"
# Directory of the projects in a pod. Each job copies its project, as a CI job clones it.
BUILDS = "/tmp/builds"  # noqa: S108 - of a pod
# A clock that all pods of a node share. BusyBox has no other with fractions of a second.
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

    :param project: Directory in ``benchmarks/projects``
    :param change: Key of ``CHANGES``
    :param stamp: Unique text
    """

    project: str
    change: str
    stamp: str

    def script(self, steps: str) -> str:
        """Return the script of the job, with these steps between its marks ``begin`` and ``end``."""
        # A new HOME, as in the pod of a CI job. Otherwise the client sends only the changes since the previous job.
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
    """Times of a job, in seconds.

    :param job: Time of the whole job, including the wait for its daemon
    :param parts: Times of its consecutive parts, whose sum is the time of the job
    """

    job: float
    parts: dict[str, float]


def projects() -> str:
    """Return a script that writes the projects with their sources."""
    lines = [f"mkdir -p {BUILDS}"]
    for path in sorted(PROJECTS.rglob("*")):
        target = f"{BUILDS}/{path.relative_to(PROJECTS)}"
        lines += [f"mkdir -p {target}"] if path.is_dir() else [f"cat >{target} <<'END_OF_FILE'\n{path.read_text()}END_OF_FILE"]
    lines += [f"chmod +x {BUILDS}/base/install-dependencies {BUILDS}/base/compile"]
    # Each project has its own files. Otherwise its first build would find layers of another project.
    for seed, name in enumerate(("app", "multistage", "cachemount"), start=2):
        lines += [f"sh {BUILDS}/sources.sh {BUILDS}/{name} {BUILDS}/base/generate.awk {seed}"]
    return "\n".join(lines)


def read(output: str) -> Times:
    """Return the times of a job from its output.

    The order of the marks is ``begin``, ``build``, ``push`` if that is a separate command, ``pushed``, ``end``.
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
    # Python 3.10 parses only fractions of exactly six digits.
    date, _, fraction = time.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{date}+00:00").timestamp() + float(f"0.{fraction or 0}")


def _together(steps: Iterable[tuple[str, float, float]], *names: str) -> float:
    return sum(end - start for name, start, end in steps if name.startswith(names))
