"""Measure the cost of typed constructs: ``python main.py`` against the bare app of ``bare.py``, and fleets of many members.

Whole processes are timed, the two apps alternately, with 10 runs each after a warm-up run. ``make bench`` runs it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cdk8s import App, Chart, Size

from benchmarks import bare
from dindcache import ClaimedVolume, DindFleet

ROOT = Path(__file__).parent.parent
RUNS = 10


def run(app: Path, outdir: str) -> float:
    """Return the seconds that the app takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, app], cwd=ROOT, check=True, env={**os.environ, "CDK8S_OUTDIR": outdir})
    return time.perf_counter() - start


def compare() -> None:
    """Print the medians of the two apps and their ratio."""
    with tempfile.TemporaryDirectory() as directory:
        other = Path(directory) / "bare.py"
        other.write_text(bare.app())
        apps = [ROOT / "main.py", other]
        seconds: dict[Path, list[float]] = {app: [] for app in apps}
        for number in range(RUNS + 1):
            for app in apps:
                took = run(app, f"{directory}/dist")
                if number:  # the first run is a warm-up
                    seconds[app].append(took)
    for app in apps:
        low, median, high = min(seconds[app]), statistics.median(seconds[app]), max(seconds[app])
        print(f"{app.name:8} {low:6.3f} {median:6.3f} {high:6.3f} s (minimum, median, maximum)")
    print(f"ratio of the medians: {statistics.median(seconds[apps[0]]) / statistics.median(seconds[apps[1]]):.2f}")


def grow() -> None:
    """Print the milliseconds and the YAML of each member of growing fleets, in one chart and in many."""
    for number, charts in ((10, 1), (100, 1), (500, 1), (500, 50)):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as outdir:
            app = App(outdir=outdir)
            for i in range(charts):
                chart = Chart(app, f"chart-{i}", namespace=f"kube-ops-{i}", disable_resource_name_hashes=True)
                names = [f"node{member}" for member in range(number // charts)]
                volumes = {name: ClaimedVolume(chart, f"docker-{name}", storage=Size.gibibytes(50)) for name in names}
                DindFleet(chart, "docker-dind", volumes=volumes)
            app.synth()
            written = sum(path.stat().st_size for path in Path(outdir).iterdir())
        each = (time.perf_counter() - start) / number * 1000
        print(f"{number:5} members in {charts:2} charts: {each:5.1f} ms and {written / number / 1024:5.1f} KiB of YAML each")


if __name__ == "__main__":
    compare()
    grow()
