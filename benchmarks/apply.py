"""Measure ``kubectl apply`` of fleets on a cluster, whose daemons need not start: ``python -m benchmarks.apply KUBECONFIG``.

Prints the milliseconds of each member for growing fleets, and fails if a second apply would change something.
"""

import sys
import time

from cdk8s import App, Chart, Cron, Size, Yaml

from benchmarks import arguments
from dindcache import ClaimedVolume, DindFleet
from tests.framework.cluster import PREFIX, Cluster

NAMESPACE = f"{PREFIX}-apply"


def manifest(number: int) -> str:
    """Return the YAML of a fleet whose claims no provisioner serves."""
    chart = Chart(App(), "chart", namespace=NAMESPACE, disable_resource_name_hashes=True)
    volumes = {
        f"node{i}": ClaimedVolume(chart, f"docker-{i}", storage=Size.gibibytes(50), storage_class_name="none")
        for i in range(number)
    }
    DindFleet(chart, "docker-dind", volumes=volumes).schedule_prune("clear-cache", schedule=Cron.daily())
    return Yaml.stringify(*chart.to_json())


def main() -> int:
    """Apply fleets of 10 and of 50 members."""
    cluster = Cluster(arguments.parser(__doc__, "none").parse_args().kubeconfig, None)
    for number in (10, 50):
        text = manifest(number)
        cluster.create_namespace(NAMESPACE)
        try:
            begin = time.perf_counter()
            cluster.kubectl("apply", "-f", "-", stdin=text)
            took = time.perf_counter() - begin
            print(f"{number:3} members: {took:5.1f} s, {took / number * 1000:5.1f} ms each")
            if cluster.run("diff", "-f", "-", stdin=text).returncode:
                return 1
        finally:
            cluster.remove_namespaces(NAMESPACE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
