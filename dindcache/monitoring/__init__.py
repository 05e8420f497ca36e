"""The metrics of a daemon: what they are, and the containers that collect and serve them."""

from dindcache.monitoring.monitoring import Monitoring

__all__ = ["Monitoring"]
