"""What builds can reach."""

from collections.abc import Sequence
from ipaddress import ip_network

from cdk8s import ApiObject, ApiObjectMetadata, JsonPatch
from cdk8s_plus_27 import (
    INetworkPolicyPeer,
    Namespaces,
    NetworkPolicy,
    NetworkPolicyIpBlock,
    NetworkPolicyPort,
    NetworkPolicyRule,
    NetworkPolicyTraffic,
    NetworkProtocol,
    Pods,
)
from constructs import Construct

from dindcache._names import ObjectName, chart_of, reserve
from dindcache._typed import typed
from dindcache.daemon import DindDaemon
from dindcache.fleet import DindFleet
from dindcache.fleet.fleet import FLEET_LABEL
from dindcache.mirror import RegistryMirror

# Of NodeLocal DNSCache, in its documentation.
_NODE_LOCAL_DNS = "169.254.20.10/32"


class EgressPolicy(Construct):
    """A NetworkPolicy that lets a daemon, its builds and its containers reach only what is named, and the cluster's DNS.

    Without it, they reach all that the network of the pod does. A NetworkPolicy knows addresses and pods, but no names of
    hosts: name the addresses of a registry, or a proxy that knows names. A cluster whose network plugin does not enforce
    NetworkPolicies lets everything through.

    :param daemon: Daemon, or all daemons of a fleet
    :param to: What they can reach: mirrors of this app, networks such as ``203.0.113.0/24``, and pods, namespaces or addresses
        of cdk8s-plus. Nothing but DNS if empty
    :raises ValueError: A network is invalid, the chart is in another namespace, or the daemon already has one
    """

    @typed
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        daemon: DindDaemon | DindFleet,
        to: Sequence[RegistryMirror | str | INetworkPolicyPeer],
    ) -> None:
        namespace, name = chart_of(scope).namespace, f"{daemon.name}-egress"
        if namespace != daemon.namespace:
            raise ValueError(f"scope must be in the namespace of the daemon, {daemon.namespace!r}, got {namespace!r}")
        for network in (item for item in to if isinstance(item, str)):
            _check_network(network)
        reserve(scope, id, ObjectName("NetworkPolicy", name))

        super().__init__(scope, id)
        label = FLEET_LABEL if isinstance(daemon, DindFleet) else "app"
        peers = [self._peer(f"peer-{i}", item) for i, item in enumerate(to)]
        self.network_policy = NetworkPolicy(
            self,
            "network-policy",
            metadata=ApiObjectMetadata(name=name, labels={"app": daemon.name}),
            selector=Pods.select(self, "daemons", labels={label: daemon.name}),
            egress=NetworkPolicyTraffic(rules=[NetworkPolicyRule(peer=peer) for peer in peers]),
        )
        policy = ApiObject.of(self.network_policy)
        for i in range(len(peers)):
            # All ports. The API server drops the empty list, so that `kubectl diff` would never be empty.
            policy.add_json_patch(JsonPatch.remove(f"/spec/egress/{i}/ports"))
        for peer in self._dns_servers():
            self.network_policy.add_egress_rule(
                peer,
                [NetworkPolicyPort.of(port=53, protocol=protocol) for protocol in (NetworkProtocol.UDP, NetworkProtocol.TCP)],
            )

    def _dns_servers(self) -> list[INetworkPolicyPeer]:
        where = Namespaces.select(self, "kube-system", names=["kube-system"])
        return [
            Pods.select(self, "kube-dns", labels={"k8s-app": "kube-dns"}, namespaces=where),
            NetworkPolicyIpBlock.ipv4(self, "node-local-dns", _NODE_LOCAL_DNS),
        ]

    def _peer(self, id: str, item: RegistryMirror | str | INetworkPolicyPeer) -> INetworkPolicyPeer:
        if isinstance(item, str):
            version = NetworkPolicyIpBlock.ipv6 if ":" in item else NetworkPolicyIpBlock.ipv4
            return version(self, id, item)
        if isinstance(item, RegistryMirror):
            where = Namespaces.select(self, f"{id}-namespace", names=[item.namespace]) if item.namespace else None
            return Pods.select(self, id, labels={"app": item.name}, namespaces=where)
        return item


def _check_network(network: str) -> None:
    try:
        parsed = ip_network(network)
    except ValueError as error:
        raise ValueError(f"to must have networks such as '203.0.113.0/24', got {network!r}: {error}") from None
    # An address alone is a network for Python, as is a mask, but not for Kubernetes.
    if network not in {str(parsed), parsed.exploded}:
        raise ValueError(f"to must have networks such as {str(parsed)!r}, got {network!r}")
