"""What is removed from a daemon, and when."""

from dindcache.cleanup.retention import Retention

__all__ = ["Retention"]
