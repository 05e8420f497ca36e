"""Typed cdk8s constructs for one persistent Docker-in-Docker daemon that CI jobs in Kubernetes share."""

from dindcache.daemon import DindDaemon
from dindcache.prune import Prune, PruneSchedule
from dindcache.volume import ClaimedVolume, LocalStorageClass, LocalVolume

__all__ = ["ClaimedVolume", "DindDaemon", "LocalStorageClass", "LocalVolume", "Prune", "PruneSchedule"]
