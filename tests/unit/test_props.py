"""Every prop of every public class rejects a value of every wrong type at the call, and then creates nothing."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from cdk8s import App, Chart, Cron, Duration, Size
from cdk8s_plus_27 import ContainerProps, ContainerResources, Job, Namespaces, k8s
from constructs import Construct
from typing_extensions import Unpack, is_typeddict

import dindcache
import dindcache.gitlab
import dindcache.prometheus
from dindcache import (
    AddressPool,
    ClaimedVolume,
    Client,
    DindDaemon,
    Engine,
    LocalStorageClass,
    Monitoring,
    NoTls,
    PodOptions,
    Prune,
)
from dindcache.gitlab import GitLabRunner

CLASSES = {
    name: found
    for module in (dindcache, dindcache.gitlab, dindcache.prometheus)
    for name in module.__all__
    for found in [getattr(module, name)]
    if not issubclass(found, Enum) and not getattr(found, "_is_protocol", False)
}


def daemon(chart: Chart, id: str = "docker") -> DindDaemon:
    volume = ClaimedVolume(chart, f"{id}-data", storage=Size.gibibytes(50))
    return DindDaemon(chart, id, volume=volume, tls=NoTls(), monitoring=Monitoring())


# The required props of each class that has any.
REQUIRED: dict[str, Callable[[Chart], dict[str, Any]]] = {
    "AddressPool": lambda _: {"base": "172.30.0.0/16"},
    "BuildNamespace": lambda _: {"name": "ci"},
    "CacheRule": lambda _: {"unused_for": Duration.days(1)},
    "CertificateSecret": lambda _: {"name": "a", "items": {}},
    "ClaimedVolume": lambda _: {"storage": Size.gibibytes(1)},
    "Client": lambda _: {"daemon": "docker", "host": "tcp://docker:2375", "secret": None},
    "ClientPolicy": lambda _: {"name": "docker", "port": 2376, "namespaces": []},
    "DindDaemon": lambda chart: {"volume": ClaimedVolume(chart, "data", storage=Size.gibibytes(50))},
    "EgressPolicy": lambda chart: {"daemon": daemon(chart), "to": []},
    "GitLabCi": lambda chart: {"daemon": daemon(chart)},
    "GitLabRunner": lambda chart: {"daemon": daemon(chart), "namespace": "ci"},
    "GivenSecrets": lambda _: {"server": "a", "client": "b"},
    "ImageDigests": lambda _: {"file": "images.json"},
    "LocalVolume": lambda _: {"hostname": "node1", "path": "/mnt/docker", "storage": Size.gibibytes(1)},
    "PodMonitor": lambda chart: {"daemon": daemon(chart)},
    "PrometheusRule": lambda chart: {"daemon": daemon(chart)},
    "PruneSchedule": lambda chart: {"daemon": daemon(chart), "schedule": Cron.weekly()},
    "DindFleet": lambda chart: {"volumes": {"a": ClaimedVolume(chart, "data", storage=Size.gibibytes(50))}},
    "FleetClient": lambda _: {
        "clients": {"a": Client(daemon="a", host="tcp://a:2375", secret=None)},
        "weights": {"a": 1},
        "failover_seconds": 60,
    },
    "RegistryMirror": lambda chart: {"volume": ClaimedVolume(chart, "images", storage=Size.gibibytes(50))},
    "Ulimit": lambda _: {"soft": 1, "hard": 2},
}
# A value of each type that a user could mix up, including our own types.
VALUES: list[Any] = [
    "50Gi",
    0,
    1.5,
    True,
    None,
    b"docker",
    ["docker"],
    ["docker", 5],
    ("docker",),
    {"docker"},
    {"docker": 1},
    {"docker": "docker"},
    (word for word in ("docker",)),
    object(),
    Size,
    Size.gibibytes(1),
    Duration.days(1),
    Cron.weekly(),
    ContainerResources(),
    Prune.UNUSED,
    PodOptions(),
    Engine(),
    AddressPool(base="10.0.0.0/16"),
    k8s.Toleration(operator="Exists"),
]


def props(found: type) -> dict[str, Any]:
    """Return the props of a class and their types."""
    hints = get_type_hints(inspect.getattr_static(found, "__init__"))
    # A fleet has those of a daemon too.
    further = {
        name: own
        for hint in hints.values()
        if get_origin(hint) is Unpack
        for name, own in get_type_hints(get_args(hint)[0]).items()
    }
    hints |= further
    return {name: hint for name, hint in hints.items() if name not in {"return", "scope"} and get_origin(hint) is not Unpack}


def accepts(hint: Any, value: Any) -> bool:
    """Return whether a value has the type of a prop, by the rules of a type checker."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind in {Union, UnionType}:
        return any(value is None if argument is NoneType else accepts(argument, value) for argument in arguments)
    if kind is Any:
        return True
    if kind is Sequence:
        return isinstance(value, list | tuple) and all(accepts(arguments[0], item) for item in value)
    if kind is Mapping:
        return isinstance(value, dict) and all(accepts(arguments[1], item) for item in value.values())
    if getattr(kind, "_is_protocol", False) or is_typeddict(kind):
        return False
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


PROPS = [(name, prop) for name, found in CLASSES.items() for prop in props(found)]


def required_props(name: str, chart: Chart) -> dict[str, Any]:
    return REQUIRED[name](chart) if name in REQUIRED else {}


@pytest.fixture
def chart() -> Chart:
    return Chart(App(), "test", namespace="ci")


def create(name: str, chart: Chart, given: dict[str, Any]) -> Any:
    found = CLASSES[name]
    if issubclass(found, Construct):
        scope = App() if name == "ImageDigests" else chart  # it comes before the charts
        return found(scope, **{"id": "created", **given})
    return found(**given)


@pytest.mark.parametrize(("name", "prop"), PROPS)
def test_a_value_of_the_wrong_type_is_rejected_and_the_id_stays_free(chart, name, prop):
    required = required_props(name, chart)
    before = [construct.node.path for construct in chart.node.find_all()]
    wrong = [value for value in VALUES if not accepts(props(CLASSES[name])[prop], value)]
    assert len(wrong) >= len(VALUES) - 3
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^(key of )?{prop}(\[.+\])? must be .+, got ") as error:
            create(name, chart, {**required, prop: value})
        if isinstance(value, str | int):
            assert repr(value) in str(error.value)
    assert [construct.node.path for construct in chart.node.find_all()] == before
    create(name, chart, required)


def test_every_class_is_created_in_these_tests(chart):
    for i, name in enumerate(CLASSES):
        own = Chart(chart, f"chart-{i}", namespace=f"ci-{i}")
        create(name, own, required_props(name, own))


def test_a_scope_in_no_chart_is_rejected():
    with pytest.raises(ValueError, match="scope must be a Chart or in one, got ''"):
        LocalStorageClass(App(), "class")
    with pytest.raises(ValueError, match="scope must be a Construct, got 'test'"):
        LocalStorageClass("test", "class")  # type: ignore[arg-type]


# A daemon creates its own ClientPolicy, and ImageDigests is in no chart (test_images.py).
OTHERS = {"ClientPolicy", "ImageDigests"}
CONSTRUCTS = [name for name, found in CLASSES.items() if issubclass(found, Construct) and name not in OTHERS]


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_an_id_twice_is_rejected_before_anything_is_created(chart, name):
    Construct(chart, "taken")
    required = required_props(name, chart)
    before = [construct.node.path for construct in chart.node.find_all()]
    with pytest.raises(ValueError, match="id must be unique in its scope, got 'taken' twice in 'test'"):
        create(name, chart, {**required, "id": "taken"})
    assert [construct.node.path for construct in chart.node.find_all()] == before


METHODS: dict[str, dict[str, Any]] = {
    "DindDaemon.client": {"namespace": 5},
    "DindDaemon.connect": {"workload": "job"},
    "Client.connect": {"workload": ContainerProps(image="docker")},
    "Client.pod_template": {"container": None},
    "ClientPolicy.allow_from": {"peer": "10.0.0.0/8"},
    "ClientPolicy.allow_metrics_from": {"peer": {"app": "prometheus"}},
    "GitLabRunner.merged": {"config": b"[[runners]]"},
}


@pytest.mark.parametrize("method", METHODS)
def test_an_argument_of_the_wrong_type_is_rejected(chart, method):
    name, _, attribute = method.partition(".")
    docker = daemon(chart)
    owners = {
        "DindDaemon": docker,
        "Client": docker.client(),
        "ClientPolicy": docker.client_policy,
        "GitLabRunner": GitLabRunner(daemon=docker, namespace="ci"),
    }
    ((argument, value),) = METHODS[method].items()
    with pytest.raises(ValueError, match=f"^{argument} must be .+, got {re.escape(repr(value))}"):
        getattr(owners[name], attribute)(**{argument: value})


def test_peers_and_workloads_of_cdk8s_are_accepted(chart):
    docker = daemon(chart)
    docker.client_policy.allow_from(Namespaces.all(chart, "all"))
    docker.connect(Job(chart, "job", containers=[ContainerProps(image="docker")]))


def test_every_public_class_documents_its_props():
    for name, found in CLASSES.items():
        documented = re.findall(r":param (\w+):", inspect.getdoc(found) or "")
        hints = get_type_hints(inspect.getattr_static(found, "__init__"))
        wanted = [name for name in hints if name not in {"return", "scope", "id"}]
        assert documented == wanted, name
