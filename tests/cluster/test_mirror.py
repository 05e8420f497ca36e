"""A mirror of Docker Hub: one pull for all daemons, and what it has while Docker Hub is down."""

from urllib.parse import urlsplit

import pytest
from cdk8s import App, Chart, Duration, Size

from dindcache import DindFleet, LocalVolume, NoTls, RegistryMirror
from tests.framework.client import Client

NAMESPACE = "dindcache-mirror"
# What plays Docker Hub, under a name that can be taken away.
HUB = """
apiVersion: v1
kind: Service
metadata: {{name: hub}}
spec: {{ports: [{{port: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: hub, labels: {{kubernetes.io/service-name: hub}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: ["{address}"]}}]
"""


@pytest.fixture(scope="module")
def fleet(site):
    cluster = site.cluster
    if not cluster.registry_mirrors:
        pytest.skip("needs --registry-mirror=URL with an IPv4 address, which plays Docker Hub")
    (url,) = map(urlsplit, cluster.registry_mirrors)
    hub = HUB.format(port=url.port or 80, address=url.hostname)
    cluster.kubectl("apply", f"--namespace={NAMESPACE}", "-f", "-", stdin=hub)

    def volume(chart: Chart, name: str, node: int) -> LocalVolume:
        path, hostname = site.directory(name, node=node), cluster.hostnames[node]
        return LocalVolume(chart, name, hostname=hostname, path=path, storage=Size.gibibytes(5))

    # A chart of its own: daemons of every namespace can use it.
    app = App()
    own, chart = (Chart(app, name, namespace=NAMESPACE, disable_resource_name_hashes=True) for name in ("own", "fleet"))
    upstream = f"http://hub.{NAMESPACE}.svc:{url.port or 80}"
    mirror = RegistryMirror(own, "mirror", volume=volume(own, "images", 0), upstream=upstream, image="registry:3")
    site.start(own)
    volumes = {f"m{node}": volume(chart, f"data-{node}", node) for node in range(min(3, len(cluster.hostnames)))}
    fleet = DindFleet(chart, "docker", volumes=volumes, tls=NoTls(), mirror=mirror, drain_timeout=Duration.seconds(0))
    site.start(chart)
    return fleet


def test_one_pull_serves_all_members_even_while_docker_hub_is_down(site, fleet):
    cluster = site.cluster
    first, *others = [
        Client(cluster, daemon, NAMESPACE, cluster.node_names[-1], member) for member, daemon in fleet.daemons.items()
    ]
    for client in (first, *others):
        client.wait_for_daemon()
    first.sh("docker pull busybox:latest")
    cluster.kubectl("delete", f"--namespace={NAMESPACE}", "service/hub")
    assert first.run("timeout 60 docker pull moby/buildkit:latest").returncode
    for client in others:
        client.sh("docker pull busybox:latest")
        # A builder of BuildKit pulls by itself.
        client.sh("printf 'FROM busybox:latest\\nRUN date\\n' | docker build -")


def test_only_daemons_reach_it(site, fleet):
    client = Client(site.cluster, next(iter(fleet.daemons.values())), NAMESPACE, site.cluster.node_names[-1], "stranger")
    assert client.run(f"timeout 10 wget -qO- http://mirror.{NAMESPACE}.svc:5000/v2/").returncode != 0
