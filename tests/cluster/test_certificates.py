"""Certificates that others make: cert-manager, whose controller the tests play, and whoever follows docs/tls.md."""

import base64
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cdk8s import App, Chart, Duration, Size, Yaml

from dindcache import CertManager, DindDaemon, GivenSecrets, LocalVolume
from tests.framework.certificates import FILES, openssl, served_certificate, sign
from tests.framework.cluster import ROOT, Client, Cluster

HERE = Path(__file__).parent.parent.parent
NAMESPACE, BUILDS = "dindcache-given", "dindcache-given-builds"
APP = "docker-dind"
SERVER = f"extendedKeyUsage=serverAuth\nsubjectAltName=DNS:{APP},DNS:{APP}.{NAMESPACE}.svc"
CRDS = HERE / "imports" / "crds" / "cert-manager.io.yaml"


@pytest.fixture(autouse=True)
def namespaces(cluster: Cluster) -> Iterator[None]:
    for namespace in (NAMESPACE, BUILDS):
        cluster.create_namespace(namespace)
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/given; mkdir -p {ROOT}/given")
    yield
    cluster.forget(NAMESPACE, f"persistentvolume/{NAMESPACE}-docker", f"storageclass/{NAMESPACE}-docker")
    cluster.forget(BUILDS)
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/given")


@pytest.fixture(scope="module")
def crds(cluster: Cluster) -> Iterator[None]:
    """cert-manager's own, so that the API server checks its objects; not its controller."""
    cluster.kubectl("apply", "--server-side", "-f", CRDS)
    cluster.kubectl("wait", "--for=condition=Established", "-f", CRDS)
    yield
    cluster.kubectl("delete", "-f", CRDS)


def chart_of(cluster: Cluster, tls: CertManager | GivenSecrets) -> tuple[Chart, DindDaemon]:
    chart = Chart(App(), "given", namespace=NAMESPACE, disable_resource_name_hashes=True)
    volume = LocalVolume(chart, "docker", hostname=cluster.hostnames[0], path=f"{ROOT}/given", storage=Size.gibibytes(5))
    return chart, DindDaemon(
        chart, APP, volume=volume, tls=tls, drain_timeout=Duration.seconds(30), registry_mirrors=cluster.registry_mirrors
    )


def builds(client: Client) -> None:
    client.write_project("/tmp/app")
    client.cached_steps("/tmp/app", "app")
    assert client.cached_steps("/tmp/app", "app") == {"2/4", "3/4", "4/4"}


def test_the_lines_of_the_documentation(cluster, tmp_path):
    openssl(tmp_path, "version")
    (script,) = re.findall(
        r"```sh\n(name=docker-dind namespace=kube-ops\n.*?)```", (HERE / "docs" / "tls.md").read_text(), re.DOTALL
    )
    environment = {**os.environ, "KUBECONFIG": cluster.kubeconfig}
    script = script.replace("namespace=kube-ops", f"namespace={NAMESPACE}")
    subprocess.run(["/bin/sh", "-ec", script], cwd=tmp_path, env=environment, check=True, capture_output=True)
    chart, daemon = chart_of(cluster, GivenSecrets(server="my-server", client="my-client"))
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, APP)
    builds(Client(cluster, daemon, NAMESPACE, cluster.node_names[-1]))


def issue(cluster: Cluster, namespace: str, name: str, files: dict[str, bytes]) -> None:
    """What cert-manager writes for a Certificate."""
    keys = {"ca.crt": "ca.pem", "tls.crt": "cert.pem", "tls.key": "key.pem"}
    data = {key: base64.b64encode(files[file]).decode() for key, file in keys.items()}
    metadata = {"name": name, "namespace": namespace}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": data}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=Yaml.stringify(manifest))


def test_cert_manager(cluster, crds, tmp_path):
    openssl(tmp_path, *"req -x509 -newkey rsa:2048 -nodes -subj /CN=CA -days 9 -keyout ca-key.pem -out ca.pem".split())
    ca = {name: (tmp_path / name).read_bytes() for name in ("ca.pem", "ca-key.pem")}
    chart, daemon = chart_of(cluster, CertManager(cluster_issuer="docker-ca", client_namespaces=[BUILDS]))
    cluster.kubectl("apply", "--validate=strict", "-f", "-", stdin=Yaml.stringify(*chart.to_json()))
    certificates = {
        (namespace, item["metadata"]["name"]): item["spec"]
        for namespace in (NAMESPACE, BUILDS)
        for item in cluster.get("certificates.cert-manager.io", f"--namespace={namespace}")["items"]
    }
    assert len(certificates) == 3
    usages = {"server auth": SERVER, "client auth": "extendedKeyUsage=clientAuth"}
    for (namespace, _), spec in certificates.items():
        issue(cluster, namespace, spec["secretName"], sign(tmp_path, ca, usages[spec["usages"][-1]]))
    cluster.rollout(NAMESPACE, APP)
    client = Client(cluster, daemon, BUILDS, cluster.node_names[-1])
    builds(client)
    renewed = sign(tmp_path, ca, SERVER)
    issue(cluster, NAMESPACE, f"{APP}-server", renewed)
    cluster.wait(lambda: cluster.restarts(NAMESPACE, APP) == 1, "the engine is restarted in order", 200)
    cluster.rollout(NAMESPACE, APP)
    files = sign(tmp_path, ca, "extendedKeyUsage=clientAuth")
    assert served_certificate(cluster, (NAMESPACE, APP), tmp_path, files, APP) == renewed["cert.pem"]
    builds(client)


def test_a_broken_secret_is_no_daemon_without_tls(cluster):
    for name in ("server", "client"):
        keys = [f"--from-literal={file}=" for file in FILES]
        cluster.kubectl("create", "secret", "generic", f"broken-{name}", f"--namespace={NAMESPACE}", *keys)
    chart, _ = chart_of(cluster, GivenSecrets(server="broken-server", client="broken-client"))
    cluster.apply(chart)
    cluster.wait(lambda: cluster.pods(NAMESPACE, APP) and cluster.restarts(NAMESPACE, APP) >= 1, "the engine ends")
    (status,) = (s for s in cluster.pods(NAMESPACE, APP)[0]["status"]["containerStatuses"] if s["name"] == APP)
    assert not status["ready"]
    assert status["lastState"]["terminated"]["exitCode"] != 0


def test_the_api_server_takes_every_kind(cluster, crds):
    manifests = [o for o in chart_of(cluster, CertManager())[0].to_json() if o["apiVersion"].startswith("cert-manager")]
    for example in ("cert-manager-ca", "cert-manager"):
        objects = yaml.safe_load_all((HERE / "examples" / f"{example}.k8s.yaml").read_text())
        manifests += [o for o in objects if o["apiVersion"].startswith("cert-manager")]
    assert {o["kind"] for o in manifests} == {"Certificate", "ClusterIssuer", "Issuer"}
    for manifest in manifests:
        if "namespace" in manifest["metadata"]:
            manifest["metadata"]["namespace"] = NAMESPACE
        cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=Yaml.stringify(manifest))
