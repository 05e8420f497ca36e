"""Objects that all tests and benchmarks of a cluster share: a registry, and a pod on each node."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cdk8s import ApiObjectMetadata, App, Chart, Yaml
from cdk8s_plus_27 import ContainerPort, ContainerResources, ContainerSecurityContextProps, Deployment, Node

from tests.framework.cluster import NODE_DIRECTORY, ROOT, SUPPORT, Cluster

REGISTRY = f"registry.{SUPPORT}.svc:5000"
"""Registry in the cluster, without TLS."""


@contextmanager
def support(cluster: Cluster) -> Iterator[None]:
    """Create the objects that ``Cluster.on_node`` and pushes need, and delete them at the end."""
    set_up(cluster)
    try:
        yield
    finally:
        tear_down(cluster)


def set_up(cluster: Cluster) -> None:
    """Create the objects, unless they exist, all or none."""
    try:
        cluster.create_namespace(SUPPORT)
        cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*_manifests(cluster)))
        for name in ["registry", *(f"node-{name}" for name in cluster.node_names)]:
            cluster.rollout(SUPPORT, name)
    except BaseException:
        tear_down(cluster)
        raise


def tear_down(cluster: Cluster) -> None:
    """Delete the objects."""
    for name in cluster.node_names:
        cluster.run("exec", f"--namespace={SUPPORT}", f"deployment/node-{name}", "--", "rmdir", ROOT)
    cluster.remove_namespaces(SUPPORT)


def idle_deployment(chart: Chart, name: str, image: str, node_name: str) -> Deployment:
    """Add a Deployment of one pod that waits for ``kubectl exec``."""
    deployment = Deployment(chart, name, metadata=ApiObjectMetadata(name=name), replicas=1)
    deployment.add_container(
        image=image,
        command=["sh", "-c", "trap exit TERM; while :; do sleep 1; done"],
        resources=ContainerResources(),
        security_context=ContainerSecurityContextProps(ensure_non_root=False, read_only_root_filesystem=False),
    )
    deployment.scheduling.assign(Node.named(node_name))
    return deployment


def _manifests(cluster: Cluster) -> list[Any]:
    chart = Chart(App(), "support", namespace=SUPPORT, disable_resource_name_hashes=True)
    registry = Deployment(chart, "registry", metadata=ApiObjectMetadata(name="registry"), replicas=1)
    registry.add_container(
        image="registry:2",
        ports=[ContainerPort(number=5000)],
        resources=ContainerResources(),
        security_context=ContainerSecurityContextProps(ensure_non_root=False, read_only_root_filesystem=False),
    )
    registry.scheduling.assign(Node.named(cluster.node_names[-1]))  # away from the daemons, whose nodes are drained
    registry.expose_via_service(name="registry")
    manifests = chart.to_json()
    for name in cluster.node_names:
        nodes = Chart(App(), "nodes", namespace=SUPPORT, disable_resource_name_hashes=True)
        idle_deployment(nodes, f"node-{name}", "busybox:latest", name)
        (deployment,) = nodes.to_json()
        pod = deployment["spec"]["template"]["spec"]
        pod["securityContext"] = {}
        pod["hostPID"] = True
        pod["volumes"] = [{"name": "node", "hostPath": {"path": NODE_DIRECTORY}}]
        (container,) = pod["containers"]
        container["volumeMounts"] = [{"name": "node", "mountPath": NODE_DIRECTORY, "mountPropagation": "Bidirectional"}]
        container["securityContext"] = {"privileged": True}
        manifests.append(deployment)
    return manifests
