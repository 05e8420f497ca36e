"""A Docker daemon for all jobs, and its clients."""

from dindcache.daemon.client import Client
from dindcache.daemon.daemon import DindDaemon

__all__ = ["Client", "DindDaemon"]
