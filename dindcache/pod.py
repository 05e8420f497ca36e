"""Options of pods that a cluster can require."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cdk8s_plus_27 import k8s

from dindcache import _check
from dindcache._typed import check_fields


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
