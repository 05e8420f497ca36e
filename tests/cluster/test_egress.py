"""What builds reach under an egress policy, if the cluster enforces NetworkPolicies."""

from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from cdk8s import Yaml

from dindcache import EgressPolicy, NoTls

NAMESPACE = "dindcache-egress"
# A build without a cached step, which pulls.
BUILD = "printf 'FROM busybox:latest\\nRUN nslookup kubernetes.default.svc.cluster.local\\n' | docker build --no-cache --pull -"


@pytest.fixture(scope="module")
def clients(site):
    """A daemon that can reach the registry, and one that reaches only DNS."""
    cluster = site.cluster
    if not cluster.registry_mirrors:
        pytest.skip("needs --registry-mirror=URL with an address, which plays Docker Hub")
    registry = ip_address(urlsplit(cluster.registry_mirrors[0]).hostname)
    chart = site.chart()
    daemons = {name: site.add_daemon(chart, name, tls=NoTls()) for name in ("named", "closed")}
    EgressPolicy(chart, "named-egress", daemon=daemons["named"], to=[f"{registry}/{registry.max_prefixlen}"])
    EgressPolicy(chart, "closed-egress", daemon=daemons["closed"], to=[])
    site.start(chart)
    # The second apply changes nothing.
    difference = cluster.run("diff", "-f", "-", stdin=Yaml.stringify(*chart.to_json()))
    assert difference.returncode == 0, difference.stdout
    return {name: site.client(daemon, name=f"{name}-client") for name, daemon in daemons.items()}


def test_a_build_reaches_what_is_named_and_dns(clients):
    clients["named"].sh(BUILD)


def test_nothing_else_is_reached(clients):
    # The control: the pod of the client reaches it, so it is not down.
    url = clients["closed"].cluster.registry_mirrors[0]
    clients["closed"].sh(f"wget -qO- {url}/v2/")
    done = clients["closed"].run(BUILD)
    assert done.returncode != 0
    assert "busybox" in done.stderr
