"""The names of objects: no two constructs of an app create the same object."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

from cdk8s import Chart
from constructs import Construct, IConstruct

# Kinds without a namespace. The last two are not objects: they limit each volume and each workload to one daemon.
_CLUSTER_KINDS = {"Namespace", "PersistentVolume", "StorageClass", "daemon of volume", "daemon of workload"}


class ObjectName(NamedTuple):
    """The kind, the name and the namespace of a Kubernetes object. The namespace defaults to the chart's."""

    kind: str
    name: str
    namespace: str | None = None


# By app. This keeps a reference to each app for the life of the process, as jsii itself does.
_owners: dict[IConstruct, dict[tuple[str, str, str], str]] = {}


def cluster_name(chart: Chart, id: str) -> str:
    """Return the default name of a cluster-scoped object, which is unique because a namespace contains no dot."""
    return f"{chart.namespace}.{id}" if chart.namespace else id


def short_name(name: str, longest: int) -> str:
    """Return a name without dots and of a limited length. If it differs, it ends with a checksum of the name.

    It depends on nothing else, so an object keeps its name when others are added or removed.
    """
    if len(name) <= longest and "." not in name:
        return name
    checksum = sha256(name.encode()).hexdigest()[:8]
    return f"{name.replace('.', '-')[: longest - 9].rstrip('-')}-{checksum}"


def chart_of(scope: Construct) -> Chart:
    """Return the chart of a scope.

    :raises ValueError: The scope is in no chart
    """
    try:
        return Chart.of(scope)
    except RuntimeError:
        raise ValueError(f"scope must be a Chart or in one, got {scope.node.path!r}") from None


def reserve(scope: Construct, id: str, *objects: ObjectName) -> None:
    """Reserve the id of a construct and the names of its objects, all or none.

    :raises ValueError: The scope has a child with this id, or another construct of the app creates one of the objects
    """
    check_id(scope, id)
    reserve_names(scope, f"{scope.node.path}/{id}", *objects)


def check_id(scope: Construct, id: str) -> None:
    """Check that a scope has no child with this id.

    :raises ValueError: It has one
    """
    if scope.node.try_find_child(id):
        raise ValueError(f"id must be unique in its scope, got {id!r} twice in {scope.node.path!r}")


@contextmanager
def all_or_none(scope: Construct, id: str) -> Iterator[None]:
    """Remove a construct that raises, so that its id and the names of its objects stay free.

    A construct that is composed of others needs it: each of those checks its own props.
    """
    before = dict(_owners.get(scope.node.root, {}))
    is_taken = scope.node.try_find_child(id) is not None
    try:
        yield
    except ValueError:
        if not is_taken:
            scope.node.try_remove_child(id)
        _owners[scope.node.root] = before
        raise


def reserve_names(scope: Construct, owner: str, *objects: ObjectName) -> None:
    """Reserve the names of objects for an owner, all or none.

    :raises ValueError: Another construct of the app creates one of the objects
    """
    check_names(scope, owner, *objects)
    chart = chart_of(scope)
    _owners[scope.node.root].update({_key(chart, object_): owner for object_ in objects})


def check_names(scope: Construct, owner: str, *objects: ObjectName) -> None:
    """Check that no construct of the app creates one of the objects.

    :raises ValueError: Another construct creates one of them
    """
    chart, owners = chart_of(scope), _owners.setdefault(scope.node.root, {})
    for object_ in objects:
        other = owners.get(_key(chart, object_))
        if other is not None:
            raise ValueError(f"{object_.kind} {object_.name!r} must be unique in an app, got it in {other!r} and in {owner!r}")


def reserved(app: IConstruct) -> Iterable[tuple[str, str, str]]:
    """Return the kinds, scopes and names that constructs of an app have reserved."""
    return _owners.get(app, {}).keys()


def _key(chart: Chart, object_: ObjectName) -> tuple[str, str, str]:
    if object_.kind in _CLUSTER_KINDS:
        return object_.kind, "", object_.name
    # Two charts without a namespace can be applied to different namespaces.
    where = object_.namespace or chart.namespace or f"chart {chart.node.path}"
    return object_.kind, where, object_.name
