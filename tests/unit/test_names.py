"""No two constructs of an app create one object."""

from typing import Any

import pytest
from cdk8s import App, Chart, Cron, Size

from dindcache import (
    BuildNamespace,
    CertManager,
    ClaimedVolume,
    DindDaemon,
    LocalStorageClass,
    LocalVolume,
    Monitoring,
    PruneSchedule,
    SelfIssued,
)
from dindcache._names import reserved
from dindcache.prometheus import GrafanaDashboard, PodMonitor, PrometheusRule

LOCAL: dict[str, Any] = {"hostname": "node1", "path": "/mnt/docker", "storage": Size.gibibytes(50)}


def claim(chart: Chart, id: str, name: str | None = None) -> ClaimedVolume:
    return ClaimedVolume(chart, id, storage=Size.gibibytes(50), claim_name=name)


@pytest.mark.parametrize("tls", [SelfIssued(client_namespaces=["gitlab"], ca_generation=2), CertManager()])
def test_every_object_of_every_construct_is_reserved(tls):
    app = App()
    chart = Chart(app, "test", namespace="ci", disable_resource_name_hashes=True)
    BuildNamespace(chart, "namespace")
    volume = LocalVolume(chart, "docker", **LOCAL)
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=tls, monitoring=Monitoring())
    PruneSchedule(chart, "prune", daemon=daemon, schedule=Cron.daily())
    PodMonitor(chart, "pod-monitor", daemon=daemon)
    PrometheusRule(chart, "alerts", daemon=daemon)
    GrafanaDashboard(chart, "dashboard")
    created = set()
    for manifest in chart.to_json():
        kind, metadata = manifest["kind"], manifest["metadata"]
        if kind != "Job":  # its name contains a checksum of everything that it applies
            created.add((kind, metadata.get("namespace", ""), metadata["name"]))
    assert created
    assert created <= set(reserved(app))


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        # Names that derive from others.
        (
            lambda c: DindDaemon(c, "docker", volume=claim(c, "a")),
            lambda c: DindDaemon(c, "docker-certs", volume=claim(c, "b")),
            "ConfigMap",
        ),
        (
            lambda c: PruneSchedule(c, "dind", daemon=DindDaemon(c, "docker", volume=claim(c, "a")), schedule=Cron.daily()),
            lambda c: DindDaemon(c, "docker-dind", volume=claim(c, "b")),
            "ConfigMap",
        ),
        (
            lambda c: DindDaemon(c, "docker-x", volume=claim(c, "a")),
            lambda c: PruneSchedule(c, "x-certs", daemon=DindDaemon(c, "docker", volume=claim(c, "b")), schedule=Cron.daily()),
            "CronJob",
        ),
        # Names that are given.
        (lambda c: claim(c, "a", "docker"), lambda c: claim(c, "b", "docker"), "PersistentVolumeClaim"),
        (lambda c: claim(c, "a", "docker"), lambda c: LocalVolume(c, "docker", **LOCAL), "PersistentVolumeClaim"),
        (
            lambda c: LocalVolume(c, "a", **LOCAL, volume_name="docker-pv"),
            lambda c: LocalVolume(c, "b", **LOCAL, volume_name="docker-pv"),
            "PersistentVolume",
        ),
        (lambda c: LocalVolume(c, "a", **LOCAL), lambda c: LocalStorageClass(c, "b", name="kube-ops.a"), "StorageClass"),
        (lambda c: BuildNamespace(c, "a"), lambda c: BuildNamespace(c, "b", name="kube-ops"), "Namespace"),
        (
            lambda c: DindDaemon(c, "a", name="docker", volume=claim(c, "c")),
            lambda c: DindDaemon(c, "b", name="docker", volume=claim(c, "d")),
            "ConfigMap",
        ),
    ],
)
def test_a_second_object_of_one_name_is_rejected(chart, first, second, kind):
    first(chart)
    with pytest.raises(ValueError, match=f"^{kind} '.+' must be unique in an app, got it in 'test/.+' and in 'test/.+'"):
        second(chart)


def test_objects_of_the_cluster_are_unique_in_the_app():
    app = App()
    LocalVolume(Chart(app, "first", namespace="ci"), "a", **LOCAL, volume_name="docker")
    second = Chart(app, "second", namespace="other")
    with pytest.raises(ValueError, match="PersistentVolume 'docker' must be unique .* got it in 'first/a' and in 'second/b'"):
        LocalVolume(second, "b", **LOCAL, volume_name="docker")
    LocalVolume(second, "b", **LOCAL)


def test_objects_of_two_namespaces_do_not_meet():
    app = App()
    for namespace in ("ci", "other"):
        chart = Chart(app, namespace, namespace=namespace)
        DindDaemon(chart, "docker", volume=LocalVolume(chart, "data", **LOCAL))


def test_charts_without_a_namespace_can_be_applied_to_two():
    app = App()
    for name in ("first", "second"):
        chart = Chart(app, name)
        DindDaemon(chart, "docker", volume=claim(chart, "data"))


def test_default_names_of_the_cluster_are_not_ambiguous():
    app = App()
    names = []
    for namespace, volume_id in (("ci", "prod-docker"), ("ci-prod", "docker")):
        volume = LocalVolume(Chart(app, namespace, namespace=namespace), volume_id, **LOCAL)
        names.append((volume.volume.name, volume.storage_class.name))
    assert names == [("ci.prod-docker",) * 2, ("ci-prod.docker",) * 2]


def test_a_rejected_construct_reserves_nothing(chart):
    volume = claim(chart, "data")
    with pytest.raises(ValueError, match="client_namespaces must be other than the daemon"):
        DindDaemon(chart, "docker", volume=volume, tls=SelfIssued(client_namespaces=["kube-ops"]))
    DindDaemon(chart, "docker", volume=volume)
