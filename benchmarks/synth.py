"""Measure the cost of typed constructs: ``python main.py`` against the bare app of ``bare.py``, and many daemons in one chart.

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
from dindcache import ClaimedVolume, DindDaemon

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
    """Print the milliseconds for each daemon with its claim, for growing numbers of them."""
    for number in (10, 100, 1000):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as outdir:
            app = App(outdir=outdir)
            chart = Chart(app, "chart", namespace="kube-ops", disable_resource_name_hashes=True)
            for i in range(number):
                volume = ClaimedVolume(chart, f"volume-{i}", storage=Size.gibibytes(50))
                DindDaemon(chart, f"daemon-{i}", volume=volume)
            app.synth()
        print(f"{number:5} daemons: {(time.perf_counter() - start) / number * 1000:5.1f} ms each")


if __name__ == "__main__":
    compare()
    grow()
