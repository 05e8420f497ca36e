"""Compare the two image stores of the engine: ``python -m benchmarks.image_store KUBECONFIG [REGISTRY_MIRROR]``.

Two daemons on one node build the same sources, one after the other in each round. The client is on another node. The
Dockerfile below was fixed before the first measurement. Prints a table of medians in seconds and writes the runs as JSON.
"""

import json
import statistics
import sys
import time

from benchmarks import arguments
from dindcache import Engine, ImageStore
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import Site, new_site
from tests.framework.support import REGISTRY, support

NAMESPACE = "dindcache-bench"
ROUNDS = 5
# A base of 150 MB, 4,000 small files of dependencies, sources, a compile step.
DOCKERFILE = """FROM busybox:latest
RUN head -c 150000000 /dev/urandom >/base
RUN mkdir /dependencies; for i in $(seq 4000); do head -c 8192 /dev/urandom >/dependencies/$i; done
COPY source /source
RUN cat /source /dependencies/1 >/result; head -c 5000000 /dev/urandom >/binary
"""
WRITE = f"""mkdir -p /tmp/app; cd /tmp/app; date >source
cat >Dockerfile <<'EOF'
{DOCKERFILE}EOF"""


def seconds(client: Client, script: str) -> float:
    """Return the seconds that a script takes in the pod of the client."""
    start = time.perf_counter()
    client.sh(script)
    return time.perf_counter() - start


def measure(site: Site, client: Client, name: str, number: int) -> dict[str, float]:
    """Run one round with one daemon, starting with an empty cache."""
    image = f"{REGISTRY}/bench-{name}:{number}"
    build = f"docker build -q -t {image} /tmp/app >/dev/null"
    change = "date >>/tmp/app/source; cat /proc/uptime >>/tmp/app/source"
    client.sh("docker system prune -af >/dev/null; docker pull -q busybox:latest >/dev/null")
    result = {"cold": seconds(client, build)}
    client.sh(f"docker push -q {image} >/dev/null")
    client.sh(change)
    result["one source changed"] = seconds(client, build)
    result["push of the changed layers"] = seconds(client, f"docker push -q {image} >/dev/null")
    result["nothing changed"] = seconds(client, build)
    four = "\n".join(
        f'(cp -r /tmp/app /tmp/app{i}; echo {i} >>/tmp/app{i}/source; docker build -q /tmp/app{i} >/dev/null) & all="$all $!"'
        for i in range(4)
    )
    result["four builds at once"] = seconds(client, f"all=\n{four}\nfor build in $all; do wait $build; done")
    used = site.cluster.on_node(site.cluster.node_names[0], f"du -sm {site.directory(name)}")
    result["disk, MB"] = float(used.split()[0])
    return result


def rounds(site: Site) -> dict[str, list[dict[str, float]]]:
    """Run all rounds, and return the results by image store."""
    clients = {}
    for store in ImageStore:
        daemon = site.daemon(store.value, engine=Engine(image_store=store))
        clients[store] = site.client(daemon, name=f"client-{store.value}")
        clients[store].sh(WRITE)
    runs: dict[str, list[dict[str, float]]] = {store.value: [] for store in ImageStore}
    for number in range(ROUNDS):
        for store in ImageStore if number % 2 else reversed(ImageStore):
            runs[store.value].append(measure(site, clients[store], store.value, number))
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    return runs


def main() -> None:
    """Run the rounds."""
    given = arguments.parser(__doc__, "image_store.json").parse_args()
    cluster = Cluster(given.kubeconfig, given.registry_mirror)
    with support(cluster), new_site(cluster, NAMESPACE) as site:
        runs = rounds(site)
    given.results.mkdir(exist_ok=True)
    (given.results / "image_store.json").write_text(json.dumps(runs, indent=1) + "\n")
    print(f"| median of {ROUNDS}, s | {' | '.join(runs)} |\n| --- | --- | --- |")
    for what in runs["overlay2"][0]:
        medians = [statistics.median(run[what] for run in runs[store]) for store in runs]
        print(f"| {what} | {' | '.join(f'{median:.2f}' for median in medians)} |")


if __name__ == "__main__":
    main()
