"""Who reaches a daemon's port."""

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

METRICS_PORT = 9323
"""Where Docker's documentation lets the engine serve its metrics."""


class Access(Construct):
    """A NetworkPolicy: pods with the client label reach the daemon's port, and nobody else anything of its pod.

    It says nothing of what clients or the daemon itself may reach. A cluster whose network plugin ignores NetworkPolicies
    lets everyone through.

    :param name: the daemon's
    :param port: where it serves
    :param namespaces: where clients are; only the daemon's own where there are none
    """

    CLIENT_LABELS = {"dindcache/client": "true"}  # noqa: RUF012 - jsii's classes have no annotations of class variables
    """What a client's pod carries."""

    def __init__(self, scope: Construct, id: str, *, name: str, port: int, namespaces: Sequence[str]) -> None:
        super().__init__(scope, id)
        self._ports = [NetworkPolicyPort.tcp(port)]
        where = Namespaces.select(self, "namespaces", names=list(namespaces)) if namespaces else None
        clients = Pods.select(self, "clients", labels=self.CLIENT_LABELS, namespaces=where)
        self.network_policy = NetworkPolicy(
            self,
            "network-policy",
            metadata=ApiObjectMetadata(name=name, labels={"app": name}),
            selector=Pods.select(self, "daemon", labels={"app": name}),
            ingress=NetworkPolicyTraffic(rules=[NetworkPolicyRule(peer=clients, ports=self._ports)]),
        )

    def allow_clients(self, peer: INetworkPolicyPeer) -> None:
        """Let others to the daemon's port too.

        :param peer: pods, namespaces or addresses, as cdk8s-plus has them
        """
        self.network_policy.add_ingress_rule(peer, self._ports)

    def allow_metrics(self, peer: INetworkPolicyPeer) -> None:
        """Let what collects metrics to port 9323, where the engine's setting ``metrics-addr`` serves them to whoever asks.

        :param peer: pods, namespaces or addresses, as cdk8s-plus has them
        """
        self.network_policy.add_ingress_rule(peer, [NetworkPolicyPort.tcp(METRICS_PORT)])
