"""Typed cdk8s constructs for one persistent Docker-in-Docker daemon that CI jobs in Kubernetes share."""

from dindcache.access import Access
from dindcache.daemon import DindDaemon
from dindcache.engine import AddressPool, Engine, ImageStore, Ulimit
from dindcache.garbage_collection import GarbageCollection, Unused
from dindcache.keep import Keep
from dindcache.prune import Prune, PruneSchedule
from dindcache.tls import CertManager, GivenSecrets, NoTls, SelfIssued
from dindcache.volume import ClaimedVolume, LocalStorageClass, LocalVolume

__all__ = [
    "Access",
    "AddressPool",
    "CertManager",
    "ClaimedVolume",
    "DindDaemon",
    "Engine",
    "GarbageCollection",
    "GivenSecrets",
    "ImageStore",
    "Keep",
    "LocalStorageClass",
    "LocalVolume",
    "NoTls",
    "Prune",
    "PruneSchedule",
    "SelfIssued",
    "Ulimit",
    "Unused",
]
