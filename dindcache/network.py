"""The NetworkPolicy of a daemon."""

from collections.abc import Sequence

from cdk8s import ApiObjectMetadata
from cdk8s_plus_27 import (
    INetworkPolicyPeer,
    Namespaces,
    NetworkPolicy,
    NetworkPolicyPort,
    NetworkPolicyRule,
    NetworkPolicyTraffic,
    Pods,
)
from constructs import Construct

from dindcache._typed import typed

CLIENT_LABELS = {"dindcache/client": "true"}
"""Labels of a client's pod."""

METRICS_PORT = 9323
"""Port of an engine's metrics, as in Docker's documentation."""


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
        self._ports = [NetworkPolicyPort.tcp(port)]
        where = Namespaces.select(self, "namespaces", names=list(namespaces)) if namespaces else None
        clients = Pods.select(self, "clients", labels=CLIENT_LABELS, namespaces=where)
        self.network_policy = NetworkPolicy(
            self,
            "network-policy",
            metadata=ApiObjectMetadata(name=name, labels={"app": name}),
            selector=Pods.select(self, "daemon", labels={"app": name}),
            ingress=NetworkPolicyTraffic(rules=[NetworkPolicyRule(peer=clients, ports=self._ports)]),
        )

    @typed
    def allow_from(self, peer: INetworkPolicyPeer) -> None:
        """Also allow a peer to reach the daemon's port.

        :param peer: Pods, namespaces or addresses of cdk8s-plus
        :raises ValueError: It is not a peer
        """
        self.network_policy.add_ingress_rule(peer, self._ports)

    @typed
    def allow_metrics_from(self, peer: INetworkPolicyPeer) -> None:
        """Allow a peer to scrape port 9323, where the engine serves metrics without authentication if ``metrics-addr`` is set.

        :param peer: Pods, namespaces or addresses of cdk8s-plus
        :raises ValueError: It is not a peer
        """
        self.network_policy.add_ingress_rule(peer, [NetworkPolicyPort.tcp(METRICS_PORT)])
