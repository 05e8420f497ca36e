"""docs/guides/volumes.md: an event names what is missing, and no step loses the data of a local volume."""

import re
from pathlib import Path

from cdk8s import Chart, Duration, Size, Yaml

from dindcache import DindDaemon, LocalStorageClass, LocalVolume, NoTls
from tests.framework import pages
from tests.framework.cluster import Cluster
from tests.framework.site import Site, new_site

PAGE = "docs/guides/volumes.md"
NAMESPACE = "dindcache-volume"


def add_daemon(
    site: Site,
    chart: Chart,
    name: str,
    *,
    path: str,
    hostname: str | None = None,
    storage: int = 5,
    storage_class: LocalStorageClass | None = None,
) -> LocalVolume:
    """Add a volume and its daemon ``<name>-dind``, without what takes time and is not tested here: certificates and a drain."""
    volume = LocalVolume(
        chart,
        name,
        hostname=hostname or site.cluster.hostnames[0],
        path=path,
        storage=Size.gibibytes(storage),
        storage_class=storage_class,
    )
    DindDaemon(
        chart,
        f"{name}-dind",
        volume=volume,
        tls=NoTls(),
        drain_timeout=Duration.seconds(0),
        registry_mirrors=site.cluster.registry_mirrors,
    )
    return volume


def volume_chart(site: Site, name: str, *, path: str, hostname: str | None = None, storage: int = 5) -> Chart:
    chart = site.chart(name)
    add_daemon(site, chart, name, path=path, hostname=hostname, storage=storage)
    return chart


def phase(cluster: Cluster, kind: str, name: str) -> str:
    found: str = cluster.get(kind, name, f"--namespace={NAMESPACE}")["status"]["phase"]
    return found


def docker(cluster: Cluster, name: str, *arguments: str) -> str:
    return cluster.kubectl("exec", f"--namespace={NAMESPACE}", f"deployment/{name}-dind", "--", "docker", *arguments)


def start_with_data(site: Site, name: str, chart: Chart) -> None:
    site.start(chart)
    docker(site.cluster, name, "volume", "create", "data")


def follow(site: Site, name: str, chart: Chart, script: str, directory: Path) -> None:
    """Run commands of the page with the names of this volume and daemon."""
    (directory / "dist").mkdir(exist_ok=True)
    (directory / "dist" / "chart.k8s.yaml").write_text(Yaml.stringify(*chart.to_json()))
    names = {"kube-ops.docker": f"{NAMESPACE}.{name}", "kube-ops": NAMESPACE, "pvc/docker": f"pvc/{name}"}
    pages.run(site.cluster, script, directory, {**names, "docker-dind": f"{name}-dind"})


def has_data(site: Site, name: str) -> bool:
    return "data" in docker(site.cluster, name, "volume", "ls", "--quiet").split()


def test_a_wrong_hostname_is_an_event(cluster, site):
    cluster.apply(volume_chart(site, "wrong", path=site.directory("wrong"), hostname="nowhere"))
    cluster.wait_for_event(NAMESPACE, "FailedScheduling", "didn't match PersistentVolume's node affinity")


def test_a_missing_directory_is_an_event_until_it_exists(cluster, site):
    path = f"{site.directory('missing')}/later"
    chart = volume_chart(site, "missing", path=path)
    cluster.apply(chart)
    cluster.wait_for_event(NAMESPACE, "FailedMount", f'path "{path}" does not exist')
    site.directory("missing/later")
    site.start(chart)


def test_a_released_volume_is_bound_again_and_grows_with_its_data(cluster, site, tmp_path):
    name, path = "grown", site.directory("grown")
    chart = volume_chart(site, name, path=path)
    start_with_data(site, name, chart)
    cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{name}-dind", "--replicas=0")
    cluster.kubectl("delete", f"--namespace={NAMESPACE}", f"persistentvolumeclaim/{name}", "--wait")
    cluster.wait(lambda: phase(cluster, "persistentvolume", f"{NAMESPACE}.{name}") == "Released", "the volume is Released")
    follow(site, name, chart, pages.block(PAGE, "## Bind a Released volume again"), tmp_path)
    cluster.rollout(NAMESPACE, f"{name}-dind")
    assert phase(cluster, "persistentvolumeclaim", name) == "Bound"
    assert has_data(site, name)

    grown = volume_chart(site, name, path=path, storage=10)
    rejected = cluster.run("apply", "-f", "-", stdin=Yaml.stringify(*grown.to_json()))
    assert f'persistentvolumeclaims "{name}" is forbidden' in rejected.stderr
    follow(site, name, grown, pages.block(PAGE, "## Grow a volume"), tmp_path)
    cluster.rollout(NAMESPACE, f"{name}-dind")
    claim = cluster.get("persistentvolumeclaim", name, f"--namespace={NAMESPACE}")
    assert claim["status"]["capacity"] == {"storage": "10Gi"}
    assert has_data(site, name)


def test_a_volume_moves_and_its_data_can_be_taken_along(cluster, site, tmp_path):
    name, last = "moved", len(cluster.node_names) - 1
    old, new = site.directory("here"), site.directory("there", node=last)
    start_with_data(site, name, volume_chart(site, name, path=old))
    moved = volume_chart(site, name, path=new, hostname=cluster.hostnames[last])
    rejected = cluster.run("apply", "-f", "-", stdin=Yaml.stringify(*moved.to_json()))
    assert "spec.persistentvolumesource" in rejected.stderr
    assert "Forbidden" in rejected.stderr
    stop, apply = re.split("^# Copy .*$", pages.block(PAGE, "## Move to another directory or node"), flags=re.MULTILINE)
    follow(site, name, moved, stop, tmp_path)
    archive = cluster.on_node(cluster.node_names[0], f"tar -cz -C {old} volumes | base64 | tr -d '\\n'")
    cluster.on_node(cluster.node_names[last], f"echo {archive} | base64 -d | tar -xz -C {new}")
    follow(site, name, moved, apply, tmp_path)
    cluster.rollout(NAMESPACE, f"{name}-dind")
    assert has_data(site, name)
    assert "data" in cluster.on_node(cluster.node_names[0], f"ls {old}/volumes").split()


def test_two_volumes_of_one_class(cluster, site):
    last = len(cluster.node_names) - 1
    chart = site.chart("volumes")
    first = add_daemon(site, chart, "first", path=site.directory("first"))
    add_daemon(
        site,
        chart,
        "second",
        path=site.directory("second", node=last),
        hostname=cluster.hostnames[last],
        storage_class=first.storage_class,
    )
    assert [o["kind"] for o in chart.to_json()].count("StorageClass") == 1
    site.start(chart)
    for name in ("first", "second"):
        assert phase(cluster, "persistentvolumeclaim", name) == "Bound"


def test_a_users_app(cluster, user_app):
    with new_site(cluster, "user-app", cluster_objects=["storageclass/user-app-disks"]) as site:
        mirrors = cluster.registry_mirrors or ["https://mirror.example"]
        manifest: Path = user_app(cluster.hostnames[0], site.directory(), *mirrors)
        cluster.kubectl("apply", "-f", manifest)
        cluster.rollout(site.namespace, "builder")
