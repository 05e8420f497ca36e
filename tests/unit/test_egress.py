"""What a daemon can reach."""

from typing import Any

import pytest
from cdk8s import App, Chart, Cron, Size
from cdk8s_plus_27 import Namespaces

from dindcache import ClaimedVolume, DindDaemon, DindFleet, EgressPolicy, PruneSchedule, RegistryMirror


def volume(chart: Chart, name: str) -> ClaimedVolume:
    return ClaimedVolume(chart, name, storage=Size.gibibytes(50))


def daemon(chart: Chart) -> DindDaemon:
    return DindDaemon(chart, "docker-dind", volume=volume(chart, "data"))


def selected(manifests: list[dict[str, Any]], policy: dict[str, Any]) -> set[str]:
    """Return the workloads whose pods a policy selects."""
    wanted = policy["spec"]["podSelector"]["matchLabels"].items()
    found = set()
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
        if wanted <= template.get("metadata", {}).get("labels", {}).items():
            found.add(manifest["metadata"]["name"])
    return found


def test_egress_policy(chart, golden):
    mirror = RegistryMirror(chart, "mirror", volume=volume(chart, "images"))
    own = Chart(chart.node.root, "policies", namespace=chart.namespace)
    packages = Namespaces.select(chart, "packages", names=["packages"])
    EgressPolicy(own, "egress", daemon=daemon(chart), to=[mirror, "203.0.113.0/24", "2001:db8::/32", packages])
    golden(own)


def test_it_selects_the_pods_of_the_daemons_alone(chart, find):
    """Pods that issue certificates reach the API server."""
    docker = daemon(chart)
    EgressPolicy(chart, "one", daemon=docker, to=[])
    PruneSchedule(chart, "weekly", daemon=docker, schedule=Cron.weekly())
    fleet = DindFleet(chart, "fleet", volumes={name: volume(chart, name) for name in "ab"})
    EgressPolicy(chart, "all", daemon=fleet, to=[])
    manifests = chart.to_json()
    assert selected(manifests, find("NetworkPolicy", "docker-dind-egress")) == {"docker-dind"}
    assert selected(manifests, find("NetworkPolicy", "fleet-egress")) == {"fleet-a", "fleet-b"}


@pytest.mark.parametrize("namespaces", [["kube-ops", "kube-ops"], ["kube-ops", "mirrors"], [None, None]])
def test_a_mirror_is_reached_in_its_namespace(namespaces):
    app = App()
    own, other = (Chart(app, f"chart-{i}", namespace=name) for i, name in enumerate(namespaces))
    mirror = RegistryMirror(other, "mirror", volume=volume(other, "images"))
    EgressPolicy(own, "egress", daemon=daemon(own), to=[mirror])
    (policy,) = [found for found in own.to_json() if found["metadata"]["name"] == "docker-dind-egress"]
    (peer,) = policy["spec"]["egress"][0]["to"]
    assert peer["podSelector"]["matchLabels"] == {"app": "mirror"}
    # Without a namespace, in that of the policy.
    expected = namespaces[1] and {"matchLabels": {"kubernetes.io/metadata.name": namespaces[1]}}
    assert peer.get("namespaceSelector") == expected
    assert "ports" not in policy["spec"]["egress"][0]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("registry.example", "to must have networks such as '203.0.113.0/24', got 'registry.example'"),
        ("203.0.113.7", "to must have networks such as '203.0.113.7/32', got '203.0.113.7'"),
        ("203.0.113.7/24", "to must have networks such as .* got '203.0.113.7/24': .* has host bits set"),
        ("203.0.113.0/255.255.255.0", "to must have networks such as .* got '203.0.113.0/255.255.255.0'"),
    ],
)
def test_a_wrong_network_is_rejected(chart, network, message):
    with pytest.raises(ValueError, match=message):
        EgressPolicy(chart, "egress", daemon=daemon(chart), to=[network])
    assert not chart.node.try_find_child("egress")


def test_it_is_in_the_namespace_of_the_daemon_and_once(chart):
    docker = daemon(chart)
    other = Chart(App(), "other", namespace="ci")
    with pytest.raises(ValueError, match="scope must be in the namespace of the daemon, 'kube-ops', got 'ci'"):
        EgressPolicy(other, "egress", daemon=docker, to=[])
    EgressPolicy(chart, "egress", daemon=docker, to=[])
    with pytest.raises(ValueError, match="NetworkPolicy 'docker-dind-egress' must be unique in an app"):
        EgressPolicy(chart, "again", daemon=docker, to=[])
