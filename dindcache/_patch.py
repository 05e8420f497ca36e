"""Fields and kinds that have no prop and no class in cdk8s and cdk8s-plus-27."""

from collections.abc import Mapping
from typing import Any

from cdk8s import ApiObject, ApiObjectMetadata, JsonPatch
from cdk8s_plus_27 import CronJob, Workload
from constructs import Construct


def patch_pod(
    workload: Workload, fields: Mapping[str, Any] | None = None, *, containers: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Add fields to the pod of a workload, and to its containers and init containers by name.

    :param fields: Values by their path in the pod's ``spec``, such as ``priorityClassName``. None and empty values are left out
    :param containers: Values for each container by its name, such as ``{"docker": {"livenessProbe/periodSeconds": 5}}``
    """
    spec = "/spec/jobTemplate/spec/template/spec" if isinstance(workload, CronJob) else "/spec/template/spec"
    values = {f"{spec}/{path}": value for path, value in (fields or {}).items()}
    paths = {
        container.name: f"{spec}/{kind}/{i}"
        for kind, found in (("containers", workload.containers), ("initContainers", workload.init_containers))
        for i, container in enumerate(found)
    }
    for name, additions in (containers or {}).items():
        values |= {f"{paths[name]}/{path}": value for path, value in additions.items()}
    ApiObject.of(workload).add_json_patch(
        *(JsonPatch.add(path, value) for path, value in values.items() if value or value is False)
    )


def without_namespace(api_object: ApiObject) -> None:
    """Remove the namespace that cdk8s adds to every object of a chart, even to cluster-scoped objects."""
    api_object.add_json_patch(JsonPatch.remove("/metadata/namespace"))


def custom_object(
    scope: Construct, id: str, *, api_version: str, kind: str, metadata: ApiObjectMetadata, spec: Mapping[str, Any]
) -> ApiObject:
    """Create an object of a kind that a CRD defines: a plain one, since users import the bindings of CRDs themselves."""
    created = ApiObject(scope, id, api_version=api_version, kind=kind, metadata=metadata)
    created.add_json_patch(JsonPatch.add("/spec", spec))
    return created
