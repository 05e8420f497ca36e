"""The Services and NetworkPolicies of daemons and mirrors."""

from collections.abc import Mapping, Sequence
from typing import Any

from cdk8s import ApiObjectMetadata
from cdk8s_plus_27 import (
    INetworkPolicyPeer,
    Namespaces,
    NetworkPolicy,
    NetworkPolicyPort,
    NetworkPolicyRule,
    NetworkPolicyTraffic,
    Pods,
    k8s,
)
from constructs import Construct

from dindcache._typed import typed

CLIENT_LABELS = {"dindcache/client": "true"}
"""Labels of a client's pod."""

METRICS_PORT = 9323
"""Port of an engine's metrics, as in Docker's documentation."""


def service_props(*, name: str, port: int) -> dict[str, Any]:
    """Return the arguments of a ``KubeService`` with one port, for the pods whose label ``app`` has its name."""
    labels = {"app": name}
    ports = [k8s.ServicePort(port=port, target_port=k8s.IntOrString.from_number(port))]
    return {"metadata": k8s.ObjectMeta(name=name, labels=labels), "spec": k8s.ServiceSpec(ports=ports, selector=labels)}


def ingress_policy(scope: Construct, *, name: str, port: int, peer: INetworkPolicyPeer) -> NetworkPolicy:
    """Create a NetworkPolicy that admits a peer, and nobody else, to a port of the pods whose label ``app`` has its name."""
    labels = {"app": name}
    return NetworkPolicy(
        scope,
        "network-policy",
        metadata=ApiObjectMetadata(name=name, labels=labels),
        selector=Pods.select(scope, "daemon", labels=labels),
        ingress=NetworkPolicyTraffic(rules=[NetworkPolicyRule(peer=peer, ports=[NetworkPolicyPort.tcp(port)])]),
    )


class ClientPolicy(Construct):
    """A NetworkPolicy that lets pods with the client label reach the daemon's port, and blocks all other ingress to its pod.

    It does not restrict what clients or the daemon itself can reach. A cluster whose network plugin does not enforce
    NetworkPolicies lets everyone through.

    :param name: Name of the daemon
    :param port: Port of the daemon
    :param namespaces: Namespaces of the clients. If empty, the daemon's own
    :raises ValueError: A value has the wrong type
    """

    @typed
    def __init__(self, scope: Construct, id: str, *, name: str, port: int, namespaces: Sequence[str]) -> None:
        super().__init__(scope, id)
        self._ports, self._metrics_ports = [NetworkPolicyPort.tcp(port)], [NetworkPolicyPort.tcp(METRICS_PORT)]
        where = Namespaces.select(self, "namespaces", names=list(namespaces)) if namespaces else None
        clients = Pods.select(self, "clients", labels=CLIENT_LABELS, namespaces=where)
        self.network_policy = ingress_policy(self, name=name, port=port, peer=clients)

    @typed
    def allow_from(self, peer: INetworkPolicyPeer) -> None:
        """Also allow a peer to reach the daemon's port.

        :param peer: Pods, namespaces or addresses of cdk8s-plus
        :raises ValueError: It is not a peer
        """
        self.network_policy.add_ingress_rule(peer, self._ports)

    def allow_scrapers(self, port: int, *, labels: Mapping[str, str], namespaces: Sequence[str]) -> None:
        """Allow pods to scrape a port of the daemon's pod, and `allow_metrics_from` to admit others to it.

        :param port: Port of the metrics
        :param labels: Labels of the pods
        :param namespaces: Namespaces of the pods. If empty, all
        """
        where = Namespaces.select(self, "scraper-namespaces", names=list(namespaces)) if namespaces else None
        peer = Pods.select(self, "scrapers", labels=dict(labels), namespaces=where or Namespaces.all(self, "all-namespaces"))
        self._metrics_ports.append(NetworkPolicyPort.tcp(port))
        self.network_policy.add_ingress_rule(peer, self._metrics_ports[-1:])

    @typed
    def allow_metrics_from(self, peer: INetworkPolicyPeer) -> None:
        """Allow a peer to scrape port 9323, where the engine serves metrics without authentication if ``metrics-addr`` is set.

        With `Monitoring`, it can scrape port 9324 too.

        :param peer: Pods, namespaces or addresses of cdk8s-plus
        :raises ValueError: It is not a peer
        """
        self.network_policy.add_ingress_rule(peer, self._metrics_ports)
