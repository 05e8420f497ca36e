"""Daemons on a cluster, with everything that they need there."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from cdk8s import App, Chart, Duration, Size

from dindcache import DindDaemon, LocalVolume
from tests.framework.client import Client
from tests.framework.cluster import ROOT, Cluster
from tests.framework.support import REGISTRY

APP = "docker-dind"
"""Name of a site's daemon, unless it has several."""


@contextmanager
def new_site(cluster: Cluster, *namespaces: str, cluster_objects: Sequence[str] = ()) -> Iterator["Site"]:
    """Create namespaces for daemons and their clients, and leave nothing of them behind, whatever fails.

    What an interrupted run has left of them is removed first.

    :param namespaces: Namespaces. The first one has the daemons, and their data is in directories of its name
    :param cluster_objects: Objects to delete besides the PersistentVolumes and StorageClasses that are named after a namespace
    """
    created = Site(cluster, namespaces, cluster_objects)
    created.remove()
    try:
        for namespace in namespaces:
            cluster.create_namespace(namespace)
        yield created
    finally:
        created.remove()


class Site:
    """Namespaces with daemons and clients, and directories on the nodes for the daemons' data."""

    def __init__(self, cluster: Cluster, namespaces: Sequence[str], cluster_objects: Sequence[str]) -> None:
        self.cluster = cluster
        self.namespace = namespaces[0]
        self._namespaces, self._cluster_objects = namespaces, cluster_objects
        self._root = f"{ROOT}/{self.namespace}"

    def directory(self, name: str = APP, *, node: int = 0, disk: str | None = None) -> str:
        """Create a directory on a node, unless it exists.

        :param node: Number of the node
        :param disk: Options of a small file system in memory at this directory, such as ``size=600m``
        """
        path = f"{self._root}/{name}"
        mount = f"grep -q ' {path} ' /proc/mounts || mount -t tmpfs -o {disk} dindcache {path}" if disk else ":"
        self.cluster.on_node(self.cluster.node_names[node], f"mkdir -p {path}; {mount}")
        return path

    def chart(self, id: str = APP) -> Chart:
        """Return a chart of the daemons' namespace."""
        return Chart(App(), id, namespace=self.namespace, disable_resource_name_hashes=True)

    def add_daemon(
        self,
        chart: Chart,
        name: str = APP,
        *,
        node: int = 0,
        disk: str | None = None,
        storage: Size | None = None,
        **props: Any,
    ) -> DindDaemon:
        """Add a daemon to a chart, with a volume of its name on a node.

        It uses the cluster's mirror, registry and mode, and drains only if ``props`` have a ``drain_timeout``.

        :param node: Number of the node
        :param disk: Options of a small file system for its data (``directory``)
        :param storage: Size of its volume
        :param props: Props of the daemon
        """
        volume = LocalVolume(
            chart,
            f"{name}-data",
            hostname=self.cluster.hostnames[node],
            path=self.directory(name, node=node, disk=disk),
            storage=storage or Size.gibibytes(5),
        )
        defaults = {
            "drain_timeout": Duration.seconds(0),
            "user_namespace": self.cluster.user_namespaces,
            "registry_mirrors": self.cluster.registry_mirrors,
            "insecure_registries": [REGISTRY, *self.cluster.mirror_hosts],
        }
        return DindDaemon(chart, name, volume=volume, **{**defaults, **props})

    def start(self, chart: Chart) -> None:
        """Apply a chart, and wait for its Deployments."""
        self.cluster.apply(chart)
        for manifest in chart.to_json():
            if manifest["kind"] == "Deployment":
                self.cluster.rollout(self.namespace, manifest["metadata"]["name"])

    def daemon(self, name: str = APP, **options: Any) -> DindDaemon:
        """Start a daemon in a chart of its own, or give the one of this name other options (``add_daemon``)."""
        chart = self.chart(name)
        daemon = self.add_daemon(chart, name, **options)
        self.start(chart)
        return daemon

    def client(self, daemon: DindDaemon, namespace: str | None = None, name: str = "client") -> Client:
        """Start a client of a daemon on the last node, and wait until the daemon answers it."""
        client = Client(self.cluster, daemon, namespace or self.namespace, self.cluster.node_names[-1], name)
        client.wait_for_daemon()
        return client

    def remove(self) -> None:
        """Remove the namespaces, their volumes and their directories, each even if another one cannot be removed."""
        with ExitStack() as stack:  # last in, first out
            for name in self.cluster.node_names:
                stack.callback(self._remove_directories, name)
            stack.callback(self._remove_cluster_objects)
            stack.callback(self.cluster.remove_namespaces, *self._namespaces)

    def _remove_cluster_objects(self) -> None:
        found = self.cluster.get("persistentvolume,storageclass")["items"]
        objects = [
            f"{item['kind']}/{item['metadata']['name']}"
            for item in found
            if item["metadata"]["name"].startswith(tuple(f"{namespace}." for namespace in self._namespaces))
        ]
        if objects := [*objects, *self._cluster_objects]:
            self.cluster.kubectl("delete", "--ignore-not-found", "--wait", *objects)

    def _remove_directories(self, node_name: str) -> None:
        unmount = f"for disk in $(awk '$2 ~ \"^{self._root}/\" {{ print $2 }}' /proc/mounts); do umount $disk; done"
        self.cluster.on_node(node_name, f"{unmount}; rm -rf {self._root}")
