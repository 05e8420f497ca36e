"""Volumes for the data of a daemon: a directory of a node, or a claim that a provisioner serves."""

from typing import Protocol

import jsii
from cdk8s import ApiObject, Size
from cdk8s_plus_27 import IStorage, PersistentVolumeClaim, Volume, k8s
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName, chart_of, cluster_name, reserve
from dindcache._patch import without_namespace
from dindcache._typed import typed

# Several pods of one node can mount it, so a replacement can start while its predecessor drains. ReadWriteOncePod would
# hold the replacement back, but exists only for CSI volumes.
_ACCESS_MODES = ["ReadWriteOnce"]


class DataVolume(Protocol):
    """A volume for the data of a `DindDaemon`: a `LocalVolume`, a `ClaimedVolume` or a class of your own."""

    @property
    def storage(self) -> Size:
        """Size of the volume, from which the budget of the build cache derives."""
        ...

    @property
    def claim(self) -> ApiObject:
        """PersistentVolumeClaim of the volume, in the namespace of the daemon."""
        ...

    @property
    def hostname(self) -> str | None:
        """Label ``kubernetes.io/hostname`` of the volume's node; None if the node is not known."""
        ...


class LocalStorageClass(Construct):
    """A StorageClass without a provisioner, whose claims wait for the pod that uses them.

    A `LocalVolume` creates one of its own by default. Pass one to several volumes to share it.

    :param name: Name of the StorageClass. Defaults to the chart's namespace and the id, such as ``kube-ops.local``
    :raises ValueError: The name is invalid, or another construct of the app creates this StorageClass
    """

    @typed
    def __init__(self, scope: Construct, id: str, *, name: str | None = None) -> None:
        name = cluster_name(chart_of(scope), id) if name is None else name
        _check.dns_subdomain("name", name)
        reserve(scope, id, ObjectName("StorageClass", name))

        super().__init__(scope, id)
        self.name = name
        without_namespace(
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
    """A PersistentVolume for a directory of one node, with its StorageClass and its PersistentVolumeClaim.

    The claim and the volume name each other, so neither binds elsewhere. In a chart without a namespace only the claim names
    the volume. The directory must exist: the kubelet does not create it, and the pod waits with an event until it does.
    Deleting the claim or the volume keeps the data.

    It is an `IStorage`: ``container.mount("/var/lib/docker", volume)``.

    :param hostname: Label ``kubernetes.io/hostname`` of the node
    :param path: Absolute path of the directory on that node
    :param storage: Size that the claim requests, in whole KiB. Kubernetes does not enforce it: give the directory a file system
        of its own
    :param storage_class: StorageClass of the volume. Defaults to one of its own
    :param claim_name: Name of the PersistentVolumeClaim. Defaults to the id
    :param volume_name: Name of the PersistentVolume. Defaults to the chart's namespace and the id, such as ``kube-ops.docker``
    :raises ValueError: The path is not absolute or is ``/``, the hostname or a name is invalid, the storage is not a whole
        number of KiB, or another construct of the app creates an object of this name
    """

    @typed
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
        # The name of a node is a DNS subdomain, and the value of a label has at most 63 characters.
        _check.dns_subdomain("hostname", hostname, longest=63)
        _check.local_path(path)
        _check.whole_kibibytes("storage", storage)
        chart = chart_of(scope)
        claim_name = _check.dns_subdomain("claim_name", id if claim_name is None else claim_name)
        default_name = cluster_name(chart, id)
        volume_name = _check.dns_subdomain("volume_name", default_name if volume_name is None else volume_name)
        if storage_class is None:
            _check.dns_subdomain("name of the StorageClass", default_name)
        objects = [ObjectName("PersistentVolumeClaim", claim_name), ObjectName("PersistentVolume", volume_name)]
        reserve(scope, id, *objects)

        super().__init__(scope, id)
        self.hostname: str | None = hostname
        self.storage = storage
        self.storage_class = storage_class or LocalStorageClass(self, "class", name=default_name)
        self.volume = self._persistent_volume(volume_name, claim_name, path, chart.namespace)
        without_namespace(self.volume)
        self.claim = _claim(self, claim_name, storage, self.storage_class.name, volume_name)
        self._mount = claim_volume(self, self.claim)

    def _persistent_volume(self, name: str, claim_name: str, path: str, namespace: str | None) -> k8s.KubePersistentVolume:
        on_the_node = k8s.NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=[self.hostname or ""])
        claim = k8s.ObjectReference(api_version="v1", kind="PersistentVolumeClaim", name=claim_name, namespace=namespace)
        return k8s.KubePersistentVolume(
            self,
            "volume",
            metadata=k8s.ObjectMeta(name=name),
            spec=k8s.PersistentVolumeSpec(
                capacity={"storage": k8s.Quantity.from_string(self.storage.as_string())},
                access_modes=_ACCESS_MODES,
                persistent_volume_reclaim_policy="Retain",
                storage_class_name=self.storage_class.name,
                claim_ref=claim if namespace else None,
                local=k8s.LocalVolumeSource(path=path),
                node_affinity=k8s.VolumeNodeAffinity(
                    required=k8s.NodeSelector(
                        node_selector_terms=[k8s.NodeSelectorTerm(match_expressions=[on_the_node])],
                    )
                ),
            ),
        )

    @jsii.member(jsii_name="asVolume")
    def as_volume(self) -> Volume:
        """Return the claim as a volume of a pod, the same one at each call."""
        return self._mount


@jsii.implements(IStorage)
class ClaimedVolume(Construct):
    """A PersistentVolumeClaim, for a cluster whose StorageClass has a provisioner.

    The provisioner must provide block storage with a file system of its own: the data root of Docker does not work on NFS.

    It is an `IStorage`: ``container.mount("/var/lib/docker", volume)``.

    :param storage: Size that the claim requests, in whole KiB
    :param storage_class_name: Name of a StorageClass of the cluster. Defaults to the cluster's default StorageClass
    :param claim_name: Name of the PersistentVolumeClaim. Defaults to the id
    :raises ValueError: A name is invalid, the storage is not a whole number of KiB, or another construct of the app creates a
        claim of this name
    """

    @typed
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        storage: Size,
        storage_class_name: str | None = None,
        claim_name: str | None = None,
    ) -> None:
        _check.whole_kibibytes("storage", storage)
        if storage_class_name is not None:
            _check.dns_subdomain("storage_class_name", storage_class_name)
        claim_name = _check.dns_subdomain("claim_name", id if claim_name is None else claim_name)
        reserve(scope, id, ObjectName("PersistentVolumeClaim", claim_name))

        super().__init__(scope, id)
        self.hostname: str | None = None
        self.storage = storage
        self.claim = _claim(self, claim_name, storage, storage_class_name)
        self._mount = claim_volume(self, self.claim)

    @jsii.member(jsii_name="asVolume")
    def as_volume(self) -> Volume:
        """Return the claim as a volume of a pod, the same one at each call."""
        return self._mount


def _claim(
    scope: Construct, name: str, storage: Size, storage_class_name: str | None, volume_name: str | None = None
) -> k8s.KubePersistentVolumeClaim:
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


def claim_volume(scope: Construct, claim: ApiObject) -> Volume:
    """Return a claim as a volume of a pod, named after the claim."""
    reference = PersistentVolumeClaim.from_claim_name(scope, "claim-reference", claim.name)
    # The name of a pod's volume is a DNS label, which the name of a claim need not be.
    return Volume.from_persistent_volume_claim(scope, "mount", reference, name=claim.name.replace(".", "-")[:59] + "-vol")
