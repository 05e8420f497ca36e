"""Options of pods that a cluster can require."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cdk8s import Size
from cdk8s_plus_27 import ContainerResources, Cpu, CpuResources, MemoryResources, k8s

from dindcache import _check
from dindcache._typed import check_fields

UNPRIVILEGED_USER = 10000
"""User and group of pods that do not need root: above the users of a node."""


def restricted_pod() -> k8s.PodSecurityContext:
    """Return what the Pod Security level "restricted" requires of a pod. Its volumes belong to the user."""
    return k8s.PodSecurityContext(
        run_as_non_root=True,
        run_as_user=UNPRIVILEGED_USER,
        run_as_group=UNPRIVILEGED_USER,
        fs_group=UNPRIVILEGED_USER,
        seccomp_profile=k8s.SeccompProfile(type="RuntimeDefault"),
    )


def restricted_container() -> k8s.SecurityContext:
    """Return what the Pod Security level "restricted" requires of a container, which can write to its volumes only."""
    return k8s.SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=k8s.Capabilities(drop=["ALL"]),
    )


@dataclass(frozen=True, kw_only=True)
class PodOptions:
    """Options of every pod of a daemon: its own, those of the certificate Job and those of the prune.

    An option that is left out is inherited: the pods of a `PruneSchedule` or of `SelfIssued` take it from the daemon.

    :param image_pull_secrets: Names of the Secrets for pulling images. Defaults to none
    :param tolerations: Tolerations of the pods, for nodes with taints. Defaults to none
    :param priority_class_name: Name of the PriorityClass. Defaults to the cluster's default priority
    :param annotations: Annotations of the pods, such as ``{"sidecar.istio.io/inject": "false"}``. Defaults to none
    :param labels: Labels of the pods. Defaults to none
    :raises ValueError: A name, a key or a value is invalid, or a label is reserved for a daemon's Service or NetworkPolicy
    """

    image_pull_secrets: Sequence[str] | None = None
    tolerations: Sequence[k8s.Toleration] | None = None
    priority_class_name: str | None = None
    annotations: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Validate the options."""
        check_fields(self)
        for name in self.image_pull_secrets or ():
            _check.dns_subdomain("image_pull_secrets", name)
        if self.priority_class_name is not None:
            _check.dns_subdomain("priority_class_name", self.priority_class_name)
        for toleration in self.tolerations or ():
            _check_toleration(toleration)
        for key in self.annotations or ():
            _check.qualified_name("annotations", key)
        _check.labels("labels", self.labels or {})
        for key in self.labels or ():
            if key == "app" or key.startswith("dindcache/"):
                raise ValueError(f"labels must leave 'app' and 'dindcache/…' to the daemon, got {key!r}")

    def override(self, other: "PodOptions | None") -> "PodOptions":
        """Return these options, overridden by those that another one sets."""
        given = {name: value for name, value in vars(other).items() if value is not None} if other else {}
        return replace(self, **given)

    def spec(self) -> dict[str, Any]:
        """Return the fields of a pod's ``spec``, as plain data."""
        fields = {
            "imagePullSecrets": [{"name": name} for name in self.image_pull_secrets or ()],
            "tolerations": [_toleration(toleration) for toleration in self.tolerations or ()],
            "priorityClassName": self.priority_class_name,
        }
        return {name: value for name, value in fields.items() if value}

    def props(self) -> dict[str, Any]:
        """Return the same fields as arguments of ``k8s.PodSpec``."""
        return {
            "image_pull_secrets": [k8s.LocalObjectReference(name=name) for name in self.image_pull_secrets or ()] or None,
            "tolerations": list(self.tolerations or ()) or None,
            "priority_class_name": self.priority_class_name,
        }


def _check_toleration(toleration: k8s.Toleration) -> None:
    key, operator, effect = toleration.key, toleration.operator or "Equal", toleration.effect
    if key:
        _check.qualified_name("key of tolerations", key)
    if operator not in {"Equal", "Exists"} or (operator == "Equal" and not key):
        raise ValueError(f"operator of tolerations must be 'Exists', or 'Equal' with a key, got {operator!r} and {key!r}")
    if operator == "Exists" and toleration.value:
        raise ValueError(f"value of tolerations must be left out with 'Exists', got {toleration.value!r}")
    if effect not in {None, "", "NoSchedule", "PreferNoSchedule", "NoExecute"}:
        raise ValueError(f"effect of tolerations must be 'NoSchedule', 'PreferNoSchedule' or 'NoExecute', got {effect!r}")


def _toleration(toleration: k8s.Toleration) -> dict[str, Any]:
    fields = {
        "key": toleration.key,
        "operator": toleration.operator,
        "value": toleration.value,
        "effect": toleration.effect,
        "tolerationSeconds": toleration.toleration_seconds,
    }
    return {name: value for name, value in fields.items() if value is not None}


def sidecar_resources(engine: ContainerResources, *, cpu: Cpu, burst: Cpu | None = None, memory: Size) -> ContainerResources:
    """Return the resources of a container beside the engine: little is requested, and more is allowed.

    If the engine requests exactly its limits, so does this container, since a pod is Guaranteed only as a whole.

    :param engine: Resources of the engine's container
    :param cpu: CPU in a Guaranteed pod
    :param burst: Limit of CPU in any other pod. Defaults to the same
    :param memory: Limit of memory
    """
    if _requests_its_limits(engine):
        return ContainerResources(
            cpu=CpuResources(request=cpu, limit=cpu), memory=MemoryResources(request=memory, limit=memory)
        )
    return ContainerResources(
        cpu=CpuResources(request=Cpu.millis(10), limit=burst or cpu),
        memory=MemoryResources(request=Size.mebibytes(16), limit=memory),
    )


def _requests_its_limits(resources: ContainerResources) -> bool:
    cpu, memory = resources.cpu, resources.memory
    # Without a request, Kubernetes takes the limit for it.
    return bool(
        cpu
        and cpu.limit
        and (cpu.request is None or _check.cores(cpu.request.amount) == _check.cores(cpu.limit.amount))
        and memory
        and memory.limit
        and (memory.request is None or memory.request.to_kibibytes() == memory.limit.to_kibibytes())
    )
