"""The namespaces of daemons and of jobs."""

from enum import Enum

from cdk8s_plus_27 import k8s
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName, chart_of, reserve
from dindcache._patch import without_namespace
from dindcache._typed import typed


class PodSecurity(Enum):
    """A level of the Pod Security Standards."""

    PRIVILEGED = "privileged"
    """No restrictions. The daemon's namespace needs it, since dockerd runs privileged."""

    BASELINE = "baseline"
    """No known privilege escalation. It is enough for jobs that use a daemon and start none of their own."""

    RESTRICTED = "restricted"
    """Hardened pods only. Jobs whose images run as root are rejected."""


class BuildNamespace(Construct):
    """A Namespace that enforces a level of the Pod Security Standards.

    :param name: Name of the Namespace. Defaults to the chart's namespace
    :param pod_security: Level that the Namespace enforces. Defaults to the level that a daemon needs
    :raises ValueError: The name is invalid or missing, or another construct of the app creates this Namespace
    """

    @typed
    def __init__(
        self, scope: Construct, id: str, *, name: str | None = None, pod_security: PodSecurity = PodSecurity.PRIVILEGED
    ) -> None:
        name = chart_of(scope).namespace if name is None else name
        if name is None:
            raise ValueError("name must be given where the chart has no namespace, got None")
        _check.dns_label("name", name)
        reserve(scope, id, ObjectName("Namespace", name))

        super().__init__(scope, id)
        self.name = name
        labels = {"pod-security.kubernetes.io/enforce": pod_security.value}
        without_namespace(k8s.KubeNamespace(self, "namespace", metadata=k8s.ObjectMeta(name=name, labels=labels)))
