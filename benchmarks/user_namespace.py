"""Compare builds in a user namespace with those of a privileged daemon.

``python -m benchmarks.user_namespace KUBECONFIG [REGISTRY_MIRROR] --node NAME [--rounds N]``: both daemons run on this node,
which needs what ``docs/guides/user-namespaces.md`` says. They build the same sources alternately; the client is on another
node. Prints a table of medians in seconds with their ratio, and writes the runs as JSON.
"""

import json
import statistics
import sys

from benchmarks import arguments
from benchmarks.image_store import seconds
from dindcache import NoTls
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import Site, new_site
from tests.framework.support import support

NAMESPACE = "dindcache-bench"
ROUNDS = 7
MODES = {"privileged": False, "user-namespace": True}
# Many small files, computation, a cache mount, processes of another user, and steps that do next to nothing.
DOCKERFILE = r"""FROM busybox:latest
ARG round
RUN mkdir /dependencies; for i in $(seq 2000); do echo $round$i >/dependencies/$i; done
RUN --mount=type=cache,target=/cache cp -r /dependencies /cache/$round; rm -r /cache/$round
COPY source /source
RUN i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; head -c 20000000 /dev/urandom | sha256sum >/sum
USER 1000
RUN cat /source >/tmp/1
RUN cat /source >/tmp/2
RUN cat /source >/tmp/3
"""
WRITE = f"mkdir -p /tmp/app; cd /tmp/app; date >source\ncat >Dockerfile <<'EOF'\n{DOCKERFILE}EOF"


def measure(client: Client, number: int) -> dict[str, float]:
    """Run one round with one daemon."""
    build = f"docker build -q --build-arg round={number} -t app /tmp/app >/dev/null"
    result = {"first build": seconds(client, build)}
    client.sh(f"echo {number} >/tmp/app/source")
    result["one source changed"] = seconds(client, build)
    result["nothing changed"] = seconds(client, build)
    result["docker run"] = seconds(client, "docker run --rm app true")
    return result


def rounds(site: Site, number_of_rounds: int) -> dict[str, list[dict[str, float]]]:
    """Run all rounds, and return the results by mode. The first round fills caches, and does not count."""
    clients = {}
    for name, user_namespace in MODES.items():
        daemon = site.daemon(name, user_namespace=user_namespace, tls=NoTls())
        clients[name] = site.client(daemon, name=f"client-{name}")
        clients[name].sh(WRITE)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in MODES}
    for number in range(number_of_rounds + 1):
        for name in MODES if number % 2 else reversed(MODES):
            result = measure(clients[name], number)
            if number:
                runs[name].append(result)
        print(f"round {number} of {number_of_rounds}", file=sys.stderr)
    return runs


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Return the medians of both modes and their ratio."""
    lines = [f"| median of {len(runs['privileged'])}, s | {' | '.join(MODES)} | ratio |", "| --- | --- | --- | --- |"]
    for what in runs["privileged"][0]:
        outside, inside = (statistics.median(run[what] for run in runs[name]) for name in MODES)
        lines.append(f"| {what} | {outside:.2f} | {inside:.2f} | {inside / outside:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the rounds."""
    parser = arguments.parser(__doc__, "user_namespace.json")
    parser.add_argument("--node", required=True, help="the node of the daemons")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    cluster = Cluster(given.kubeconfig, given.registry_mirror, daemon_node=given.node)
    with support(cluster), new_site(cluster, NAMESPACE) as site:
        runs = rounds(site, given.rounds)
    given.results.mkdir(exist_ok=True)
    (given.results / "user_namespace.json").write_text(json.dumps(runs, indent=1) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main()
