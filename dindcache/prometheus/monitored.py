"""The daemons that an object for Prometheus is about."""

from collections.abc import Mapping, Sequence
from typing import Any

from cdk8s import ApiObject, ApiObjectMetadata
from constructs import Construct

from dindcache._patch import custom_object
from dindcache.daemon import DindDaemon
from dindcache.fleet import DindFleet


def monitored(daemon: DindDaemon | DindFleet) -> Sequence[DindDaemon]:
    """Return the daemons that have metrics: the only one, or those of a fleet that are not cordoned.

    :raises ValueError: A daemon has no metrics
    """
    if isinstance(daemon, DindFleet):
        daemons = [found for member, found in daemon.daemons.items() if member not in daemon.cordoned]
    else:
        daemons = [daemon]
    for found in daemons:
        if found.monitoring is None:
            raise ValueError(f"daemon must have metrics, as with monitoring=Monitoring(), got {found.name!r} without")
    return daemons


def create(
    scope: Construct,
    *,
    kind: str,
    name: str,
    daemon: DindDaemon | DindFleet,
    labels: Mapping[str, str],
    spec: Mapping[str, Any],
) -> ApiObject:
    """Create an object of Prometheus' operator in the namespace of the daemon.

    :param kind: Kind of the object
    :param name: Name of the object
    :param daemon: Daemon or fleet that it is about
    :param labels: Labels by which a Prometheus finds it
    :param spec: Value of ``spec``
    """
    metadata = ApiObjectMetadata(name=name, namespace=daemon.namespace, labels={"app": daemon.name, **labels})
    return custom_object(scope, "object", api_version="monitoring.coreos.com/v1", kind=kind, metadata=metadata, spec=spec)
