"""Typed cdk8s constructs for a persistent Docker-in-Docker daemon that the CI jobs of a Kubernetes cluster share."""

from dindcache.build_cache import BuildCache, CacheRule
from dindcache.cleanup import Retention
from dindcache.daemon import Client, DindDaemon
from dindcache.egress import EgressPolicy
from dindcache.engine import AddressPool, Engine, ImageStore, Ulimit
from dindcache.fleet import DindFleet, FleetClient
from dindcache.images import ImageDigests
from dindcache.mirror import RegistryMirror
from dindcache.monitoring import Monitoring
from dindcache.namespace import BuildNamespace, PodSecurity
from dindcache.network import ClientPolicy
from dindcache.pod import PodOptions
from dindcache.prune import Prune, PruneSchedule
from dindcache.tls import CertificateSecret, CertManager, GivenSecrets, NoTls, SelfIssued, Tls
from dindcache.volume import ClaimedVolume, DataVolume, LocalStorageClass, LocalVolume

__all__ = [
    "AddressPool",
    "BuildCache",
    "BuildNamespace",
    "CacheRule",
    "CertManager",
    "CertificateSecret",
    "ClaimedVolume",
    "Client",
    "ClientPolicy",
    "DataVolume",
    "DindDaemon",
    "DindFleet",
    "EgressPolicy",
    "Engine",
    "FleetClient",
    "GivenSecrets",
    "ImageDigests",
    "ImageStore",
    "LocalStorageClass",
    "LocalVolume",
    "Monitoring",
    "NoTls",
    "PodOptions",
    "PodSecurity",
    "Prune",
    "PruneSchedule",
    "RegistryMirror",
    "Retention",
    "SelfIssued",
    "Tls",
    "Ulimit",
]
