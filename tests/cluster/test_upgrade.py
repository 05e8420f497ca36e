"""Upgrades: a pod that drains keeps its scripts, and the state before keeps its data."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cdk8s import Cron, Duration, Size, Yaml

import dindcache
from dindcache import DindDaemon, PruneSchedule, SelfIssued
from tests.framework import pages
from tests.framework.certificates import secret, sync
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import APP, Site, new_site
from tests.framework.support import REGISTRY

NAMESPACE, JOBS = "dindcache-upgrade", "dindcache-upgrade-jobs"
SCRIPTS = "scripts"
BEFORE = "62e45cf"  # the state that these steps are for
STEPS = ("CHANGELOG.md", "#### Upgrading from the state before")
OLD_APP = """
import sys
from cdk8s import App, Chart, Cron, Size
from dindcache import DindDaemon, LocalVolume, PruneSchedule, SelfIssued
namespace, jobs, hostname, path, registry, *mirrors = sys.argv[1:]
app = App()
chart = Chart(app, "old", namespace=namespace, disable_resource_name_hashes=True)
volume = LocalVolume(chart, "docker", hostname=hostname, path=path, storage=Size.gibibytes(5))
daemon = DindDaemon(
    chart,
    "docker-dind",
    volume=volume,
    tls=SelfIssued(client_namespaces=[jobs]),
    registry_mirrors=mirrors,
    insecure_registries=[registry],
)
PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())
app.synth()
"""
# Longer than three probes that fail.
SLOW = "FROM busybox:latest\nARG number\nRUN sleep 45; date >built\n"


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Site]:
    with new_site(cluster, NAMESPACE, JOBS, cluster_objects=[f"pv/{NAMESPACE}-docker", f"sc/{NAMESPACE}-docker"]) as site:
        yield site


def start_slow_build(client: Client, number: int) -> "subprocess.Popen[str]":
    client.sh(f"mkdir -p /tmp/slow; printf '{SLOW}' >/tmp/slow/Dockerfile".replace("\n", "\\n"))
    return client.start_build(f"--build-arg=number={number} /tmp/slow", f"slow:{number}")


def finish(build: "subprocess.Popen[str]") -> None:
    output, _ = build.communicate(timeout=600)
    assert build.returncode == 0, output


def scripts_app(site: Site, *, names: Sequence[str] = (), changed: bool = False) -> tuple[DindDaemon, list[Any]]:
    """Return a daemon, and objects whose engine also sees the ConfigMap as the kubelet writes it, under /current.

    :param names: Names of the server, a change of which renews its certificate
    :param changed: Whether each script needs a variable that pods without this change do not have
    """
    chart = site.chart(SCRIPTS)
    daemon = site.add_daemon(
        chart,
        SCRIPTS,
        tls=SelfIssued(names=names),
        drain_timeout=Duration.minutes(2),
        reload_timeout=Duration.minutes(10),
    )
    manifests = chart.to_json()
    (deployment,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    pod["containers"][0]["volumeMounts"].append({"name": "config", "mountPath": "/current"})
    if changed:
        for container in [*pod["initContainers"], *pod["containers"]]:
            container["env"].append({"name": "INTERFACE", "value": "2"})
        data = config_map(manifests)["data"]
        for name in (name for name in data if name.endswith(".sh")):
            data[name] = data[name].replace("\n", '\n: "${INTERFACE:?}"\n', 1)
    return daemon, manifests


def config_map(manifests: Sequence[Any]) -> Any:
    (found,) = (m for m in manifests if (m["kind"], m["metadata"]["name"]) == ("ConfigMap", SCRIPTS))
    return found


def apply(cluster: Cluster, *manifests: Any) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*manifests))


def test_a_draining_pod_keeps_its_scripts(cluster, site):
    daemon, manifests = scripts_app(site)
    apply(cluster, *manifests)
    cluster.rollout(NAMESPACE, SCRIPTS)
    client = site.client(daemon)
    _, changed = scripts_app(site, changed=True)
    apply(cluster, config_map(changed))
    sync(cluster, NAMESPACE, SCRIPTS)
    current = f"exec --namespace={NAMESPACE} deployment/{SCRIPTS} -- grep -q INTERFACE /current/dindcache/drain.sh".split()
    cluster.wait(lambda: cluster.run(*current).returncode == 0, "the kubelet writes the changed scripts into the pod")

    certificate = secret(cluster, NAMESPACE, f"{SCRIPTS}-server")
    build = start_slow_build(client, 1)
    _, renewed = scripts_app(site, names=["docker.example"])
    scripts = config_map(renewed)  # those of before
    apply(cluster, *(manifest for manifest in renewed if manifest["kind"] != "Deployment" and manifest is not scripts))
    cluster.wait(lambda: secret(cluster, NAMESPACE, f"{SCRIPTS}-server") != certificate, "another certificate")
    sync(cluster, NAMESPACE, SCRIPTS)
    assert cluster.restarts(NAMESPACE, SCRIPTS) == 0
    finish(build)
    cluster.wait(lambda: cluster.restarts(NAMESPACE, SCRIPTS) == 1, "the engine restarts with its certificate")
    cluster.rollout(NAMESPACE, SCRIPTS)
    client.wait_for_daemon()

    build = start_slow_build(client, 2)
    apply(cluster, *changed)
    finish(build)
    cluster.kubectl("rollout", "status", f"--namespace={NAMESPACE}", f"deployment/{SCRIPTS}", "--timeout=600s")
    client.wait_for_daemon()
    assert cluster.restarts(NAMESPACE, SCRIPTS) == 0


def old_manifests(site: Site, directory: Path) -> Path:
    """Return the manifests of the state before."""
    archive = subprocess.run(["git", "archive", BEFORE, "dindcache"], cwd=pages.REPOSITORY, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"needs the history of this repository: no commit {BEFORE}")
    subprocess.run(["tar", "-x"], cwd=directory, input=archive.stdout, check=True)
    (directory / "app.py").write_text(OLD_APP)
    cluster = site.cluster
    arguments = [NAMESPACE, JOBS, cluster.hostnames[0], site.directory(), REGISTRY, *cluster.registry_mirrors]
    environment = {**os.environ, "PYTHONPATH": str(directory), "CDK8S_OUTDIR": str(directory / "old")}
    subprocess.run([sys.executable, "app.py", *arguments], cwd=directory, env=environment, check=True)
    return directory / "old" / "old.k8s.yaml"


def test_the_state_before_is_upgraded_with_its_data(cluster, site, tmp_path):
    cluster.kubectl("apply", "-f", old_manifests(site, tmp_path))
    cluster.rollout(NAMESPACE, APP)
    chart = site.chart("new")
    names = {"self": chart, "HOSTNAME": cluster.hostnames[0], "PATH": site.directory(), "STORAGE": Size.gibibytes(5)}
    kept = pages.block(*STEPS, "python").replace("kube-ops", NAMESPACE)
    exec(kept, {**vars(dindcache), **names}, names)  # noqa: S102 - the documentation of this repository
    daemon = DindDaemon(
        chart,
        APP,
        volume=names["volume"],
        tls=SelfIssued(client_namespaces=[JOBS]),
        registry_mirrors=cluster.registry_mirrors,
        insecure_registries=[REGISTRY],
    )
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())

    client = site.client(daemon, JOBS, name="job")
    client.write_project("/tmp/kept")
    client.cached_steps("/tmp/kept", "kept")
    certificates = secret(cluster, JOBS, f"{APP}--{NAMESPACE}-client")
    build = start_slow_build(client, 1)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "new.k8s.yaml").write_text(Yaml.stringify(*chart.to_json()))
    pages.run(cluster, pages.block(*STEPS), tmp_path, {"kube-ops": NAMESPACE, "gitlab-jobs": JOBS})
    finish(build)
    cluster.rollout(NAMESPACE, APP)
    assert client.cached_steps("/tmp/kept", "kept") == {"2/4", "3/4", "4/4"}

    assert secret(cluster, JOBS, f"{APP}--{NAMESPACE}-client") == certificates
    (claim,) = cluster.get("persistentvolumeclaim", f"--namespace={NAMESPACE}", f"--selector=app={APP}")["items"]
    assert claim["status"]["phase"] == "Bound"
    kinds = "cronjob,job,serviceaccount,configmap,role,rolebinding"
    for namespace in (NAMESPACE, JOBS):
        left = cluster.kubectl("get", kinds, f"--namespace={namespace}", "-o", "name").split()
        assert not [name for name in left if "issuer" in name]
