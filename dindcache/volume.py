"""Where the daemon's data lives: a directory of a node, or what a provisioner gives for a claim."""

import jsii
from cdk8s import ApiObject, Chart, JsonPatch, Size
from cdk8s_plus_27 import IStorage, PersistentVolumeClaim, Volume, k8s
from constructs import Construct

from dindcache import _check
from dindcache._names import cluster_name, is_taken, take

# Many pods of one node may mount it, so a replacement can start beside a daemon that still drains. ReadWriteOncePod would
# hold the replacement back, but exists for CSI volumes alone.
_ACCESS_MODES = ["ReadWriteOnce"]


def _without_namespace(api_object: ApiObject) -> None:
    # cdk8s stamps the chart's namespace on every object, on those of the whole cluster too.
    api_object.add_json_patch(JsonPatch.remove("/metadata/namespace"))


class LocalStorageClass(Construct):
    """A StorageClass for volumes that nobody provisions: a claim of it waits for the pod that uses it.

    A `LocalVolume` makes one of its own unless it is given one; give one to several volumes to let them share it.

    :param name: the StorageClass's name; by default the id, after the chart's namespace where it has one
    :raises ValueError: the name is invalid
    """

    def __init__(self, scope: Construct, id: str, *, name: str | None = None) -> None:
        name = _check.dns_subdomain("storage class name", cluster_name(Chart.of(scope), id) if name is None else name)
        super().__init__(scope, id)
        self.name = name
        _without_namespace(
            k8s.KubeStorageClass(
                self,
                "storage-class",
                metadata=k8s.ObjectMeta(name=name),
                provisioner="kubernetes.io/no-provisioner",
                reclaim_policy="Delete",
                volume_binding_mode="WaitForFirstConsumer",
            )
        )


@jsii.implements(IStorage)
class LocalVolume(Construct):
    """A directory of one node as a PersistentVolume, with the StorageClass and the PersistentVolumeClaim that go with it.

    The claim and the volume name each other, so neither binds elsewhere (without a namespace in the chart only the claim
    names the volume). The directory must be there: the kubelet does not make it, and the pod waits with an event until it
    is. Deleting the claim or the volume leaves the data where it is.

    It is an `IStorage`: ``container.mount("/var/lib/docker", volume)``.

    :param hostname: the node's label ``kubernetes.io/hostname``
    :param path: the directory on that node, absolute
    :param storage: what the claim asks for. Kubernetes does not enforce it: give the directory a file system of its own
    :param storage_class: by default the volume makes a StorageClass of its own
    :param claim_name: the PersistentVolumeClaim's name; by default the id
    :param volume_name: the PersistentVolume's name; by default the id, after the chart's namespace where it has one
    :raises ValueError: the path is not absolute or is ``/``, the hostname or a name is invalid, the storage is zero, or the
        chart has a claim or a volume of this name
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        hostname: str,
        path: str,
        storage: Size,
        storage_class: LocalStorageClass | None = None,
        claim_name: str | None = None,
        volume_name: str | None = None,
    ) -> None:
        # A node's name is a DNS subdomain, and a label's value is no longer than 63.
        _check.dns_subdomain("hostname", hostname, longest=63)
        _check.local_path(path)
        _check.more_than_zero("storage", storage)
        chart = Chart.of(scope)
        claim_name = _free_claim_name(chart, id if claim_name is None else claim_name)
        default_name = cluster_name(chart, id)
        volume_name = default_name if volume_name is None else volume_name
        _check.dns_subdomain("volume name", volume_name)
        if is_taken(chart, f"volume {volume_name}"):
            raise ValueError(f"volume name must be unique in a chart, got {volume_name!r} twice")
        if storage_class is None:
            _check.dns_subdomain("storage class name", default_name)

        super().__init__(scope, id)
        take(chart, f"volume {volume_name}")
        self.hostname = hostname
        self.storage = storage
        self.storage_class = storage_class or LocalStorageClass(self, "class", name=default_name)
        namespace = chart.namespace
        self.volume = k8s.KubePersistentVolume(
            self,
            "volume",
            metadata=k8s.ObjectMeta(name=volume_name),
            spec=k8s.PersistentVolumeSpec(
                capacity={"storage": k8s.Quantity.from_string(storage.as_string())},
                access_modes=_ACCESS_MODES,
                persistent_volume_reclaim_policy="Retain",
                storage_class_name=self.storage_class.name,
                claim_ref=k8s.ObjectReference(
                    api_version="v1", kind="PersistentVolumeClaim", name=claim_name, namespace=namespace
                )
                if namespace
                else None,
                local=k8s.LocalVolumeSource(path=path),
                node_affinity=k8s.VolumeNodeAffinity(
                    required=k8s.NodeSelector(
                        node_selector_terms=[
                            k8s.NodeSelectorTerm(
                                match_expressions=[
                                    k8s.NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=[hostname])
                                ]
                            )
                        ]
                    )
                ),
            ),
        )
        _without_namespace(self.volume)
        self.claim = _claim(self, claim_name, storage, self.storage_class.name, volume_name)
        self._mount = _mount(self, claim_name)

    @jsii.member(jsii_name="asVolume")
    def as_volume(self) -> Volume:
        """The claim as a pod's volume, the same one at each call."""
        return self._mount


@jsii.implements(IStorage)
class ClaimedVolume(Construct):
    """A PersistentVolumeClaim alone, for a cluster whose StorageClass has a provisioner.

    The provisioner must give block storage with a file system of its own: Docker's data-root does not work on NFS.

    It is an `IStorage`: ``container.mount("/var/lib/docker", volume)``.

    :param storage: what the claim asks for
    :param storage_class_name: a StorageClass of the cluster; by default the cluster's default one
    :param claim_name: the PersistentVolumeClaim's name; by default the id
    :raises ValueError: a name is invalid, the storage is zero, or the chart has a claim of this name
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        storage: Size,
        storage_class_name: str | None = None,
        claim_name: str | None = None,
    ) -> None:
        _check.more_than_zero("storage", storage)
        if storage_class_name is not None:
            _check.dns_subdomain("storage class name", storage_class_name)
        claim_name = _free_claim_name(Chart.of(scope), id if claim_name is None else claim_name)

        super().__init__(scope, id)
        self.storage = storage
        self.claim = _claim(self, claim_name, storage, storage_class_name)
        self._mount = _mount(self, claim_name)

    @jsii.member(jsii_name="asVolume")
    def as_volume(self) -> Volume:
        """The claim as a pod's volume, the same one at each call."""
        return self._mount


def _free_claim_name(chart: Chart, name: str) -> str:
    _check.dns_subdomain("claim name", name)
    if is_taken(chart, f"claim {name}"):
        raise ValueError(f"claim name must be unique in a chart, got {name!r} twice")
    return name


def _claim(
    scope: Construct, name: str, storage: Size, storage_class_name: str | None, volume_name: str | None = None
) -> k8s.KubePersistentVolumeClaim:
    take(Chart.of(scope), f"claim {name}")
    return k8s.KubePersistentVolumeClaim(
        scope,
        "claim",
        metadata=k8s.ObjectMeta(name=name),
        spec=k8s.PersistentVolumeClaimSpec(
            access_modes=_ACCESS_MODES,
            storage_class_name=storage_class_name,
            volume_name=volume_name,
            resources=k8s.ResourceRequirements(requests={"storage": k8s.Quantity.from_string(storage.as_string())}),
        ),
    )


def _mount(scope: Construct, claim_name: str) -> Volume:
    # Made once: a second construct of this id would be refused, and as_volume is called at each mount.
    claim = PersistentVolumeClaim.from_claim_name(scope, "claim-reference", claim_name)
    # A pod's volume name is a DNS label, which a claim's name need not be.
    return Volume.from_persistent_volume_claim(scope, "mount", claim, name=claim_name.replace(".", "-")[:59] + "-vol")
