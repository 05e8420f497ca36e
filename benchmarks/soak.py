"""Kill the processes of daemons at any moment of a build, and count the finished layers that are lost.

``python -m benchmarks.soak KUBECONFIG [REGISTRY_MIRROR] [--node NAME] [--user-namespaces] [--kills N]``: start a daemon for
each image store, and kill each of its three processes N times. The stores run in parallel. After each kill, the benchmark adds
it to ``results/soak.json``, so that a run that ends early counts too. Prints the sums of all runs.
"""

import json
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import arguments
from dindcache import Engine, ImageStore, NoTls
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.kills import KILLS_PER_POD, PROCESSES, lost_layers, renew
from tests.framework.site import new_site
from tests.framework.support import support

NAMESPACE = "dindcache-soak"
KILLS = 30
# A build takes 5 s, and with its export 6 s. On a machine without KVM it takes longer, and later moments count too.
LONGEST_BUILD = 12


class Soak:
    """The kills of all runs, in a file.

    :param path: File with the kills of earlier runs
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.runs: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []

    def kill(self, client: Client, app: str, kills: int, **what: str) -> None:
        """Kill each process of a daemon so many times, and note what it lost."""
        moment = random.Random()  # noqa: S311 - other moments in each run
        day = datetime.now(timezone.utc).date().isoformat()
        for process in PROCESSES:
            run: dict[str, Any] = {"date": day, **what, "process": process, "kills": 0, "lost layers": 0}
            for number in range(kills):
                if number % KILLS_PER_POD == 0:
                    renew(client, app)
                lost = lost_layers(client, app, process, moment.uniform(0, LONGEST_BUILD))
                self._note(run, lost)
                print(f"{app}: {process} {number + 1} of {kills}", *sorted(lost), file=sys.stderr)

    def _note(self, run: dict[str, Any], lost: set[str]) -> None:
        with self._lock:
            if not run["kills"]:
                self.runs.append(run)
            run["kills"] += 1
            run["lost layers"] += len(lost)
            self._path.write_text(json.dumps(self.runs, indent=1) + "\n")


def table(runs: list[dict[str, Any]]) -> str:
    """Return the sums of all runs, by mode, image store and process."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    for run in runs:
        of = sums.setdefault((run["mode"], run["image store"], run["process"]), [0, 0])
        of[0] += run["kills"]
        of[1] += run["lost layers"]
    lines = ["| mode | image store | process | kills | finished layers lost |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {mode} | {store} | {process} | {kills} | {lost} |" for (mode, store, process), (kills, lost) in sums.items()]
    kills, lost = (sum(of[i] for of in sums.values()) for i in (0, 1))
    return "\n".join([*lines, f"| all | | | {kills} | {lost} |"])


def main() -> int:
    """Run the kills."""
    parser = arguments.parser(__doc__, "soak.json")
    parser.add_argument("--node", help="the node of the daemons, the first one by default")
    parser.add_argument("--user-namespaces", action="store_true", help="run them in user namespaces, which that node can")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"number of kills of each process, {KILLS} by default")
    given = parser.parse_args()
    cluster = Cluster(given.kubeconfig, given.registry_mirror, daemon_node=given.node, user_namespaces=given.user_namespaces)
    given.results.mkdir(exist_ok=True)
    soak = Soak(given.results / "soak.json")
    mode = "user namespace" if given.user_namespaces else "privileged"
    namespace = f"{NAMESPACE}-{mode.replace(' ', '-')}"
    with support(cluster), new_site(cluster, namespace) as site, ThreadPoolExecutor(len(ImageStore)) as pool:
        futures = []
        # jsii takes one thread at a time, so all daemons start before the first kill.
        clients = {}
        for store in ImageStore:
            daemon = site.daemon(store.value, engine=Engine(image_store=store), tls=NoTls())
            clients[store] = site.client(daemon, name=f"client-{store.value}")
        for store, client in clients.items():
            what = {"mode": mode, "image store": store.value}
            futures.append(pool.submit(soak.kill, client, store.value, given.kills, **what))
        for future in futures:
            future.result()
    print(table(soak.runs))
    return 1 if any(run["lost layers"] for run in soak.runs) else 0


if __name__ == "__main__":
    sys.exit(main())
