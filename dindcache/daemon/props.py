"""The props of a daemon that all daemons of a fleet have in common."""

from collections.abc import Mapping, Sequence

from cdk8s import Duration
from cdk8s_plus_27 import ContainerResources
from typing_extensions import TypedDict

from dindcache.build_cache import BuildCache
from dindcache.cleanup.retention import Retention
from dindcache.engine import Engine
from dindcache.mirror import RegistryMirror
from dindcache.monitoring import Monitoring
from dindcache.pod import PodOptions


class DaemonProps(TypedDict, total=False):
    """The props of a `DindDaemon` except its volume, its name and its ``tls``."""

    image: str
    engine: Engine | None
    build_cache: BuildCache | None
    retention: Retention | None
    disk_guard: bool
    monitoring: Monitoring | None
    traces: str | None
    mirror: RegistryMirror | None
    registry_mirrors: Sequence[str]
    insecure_registries: Sequence[str]
    engine_flags: Sequence[str]
    drain_timeout: Duration | None
    reload_timeout: Duration | None
    resources: ContainerResources | None
    user_namespace: bool
    seccomp_profile: str | None
    node_selector: Mapping[str, str] | None
    runtime_class_name: str | None
    pod: PodOptions | None
