"""A daemon whose clients are the jobs of another namespace."""

from collections.abc import Iterator
from contextlib import contextmanager

from cdk8s import App, Chart, Duration, Size

from dindcache import DindDaemon, LocalVolume, SelfIssued
from tests.framework.cluster import REGISTRY, ROOT, Cluster


@contextmanager
def daemon_of_jobs(cluster: Cluster, namespace: str, jobs: str) -> Iterator[DindDaemon]:
    """One in a namespace, for the jobs of another; all of it is gone afterwards."""
    directory = f"{ROOT}/{namespace}"
    for name in (namespace, jobs):
        cluster.create_namespace(name)
    cluster.on_node(cluster.node_names[0], f"rm -rf {directory}; mkdir -p {directory}")
    chart = Chart(App(), namespace, namespace=namespace, disable_resource_name_hashes=True)
    volume = LocalVolume(chart, "docker", hostname=cluster.hostnames[0], path=directory, storage=Size.gibibytes(5))
    daemon = DindDaemon(
        chart,
        "docker-dind",
        volume=volume,
        tls=SelfIssued(client_namespaces=[jobs]),
        drain_timeout=Duration.seconds(30),
        registry_mirrors=cluster.registry_mirrors,
        insecure_registries=[REGISTRY],
    )
    cluster.apply(chart)
    cluster.rollout(namespace, "docker-dind")
    yield daemon
    cluster.forget(namespace, f"persistentvolume/{namespace}-docker", f"storageclass/{namespace}-docker")
    cluster.forget(jobs)
    cluster.on_node(cluster.node_names[0], f"rm -rf {directory}")
