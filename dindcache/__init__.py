"""Typed cdk8s constructs for one persistent Docker-in-Docker daemon that CI jobs in Kubernetes share."""

from dindcache.daemon import DindDaemon
from dindcache.engine import AddressPool, Engine, ImageStore, Ulimit
from dindcache.prune import Prune, PruneSchedule
from dindcache.volume import ClaimedVolume, LocalStorageClass, LocalVolume

__all__ = [
    "AddressPool",
    "ClaimedVolume",
    "DindDaemon",
    "Engine",
    "ImageStore",
    "LocalStorageClass",
    "LocalVolume",
    "Prune",
    "PruneSchedule",
    "Ulimit",
]
