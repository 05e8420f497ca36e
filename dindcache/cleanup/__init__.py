"""The removal of unused objects from a daemon."""

from dindcache.cleanup.retention import Retention

__all__ = ["Retention"]
