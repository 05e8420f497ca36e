"""Several daemons, and which one a project uses."""

from dindcache.fleet.client import FleetClient
from dindcache.fleet.fleet import DindFleet

__all__ = ["DindFleet", "FleetClient"]
