"""A cluster from ``--kubeconfig``, nothing but kubectl to speak to it, and what the tests build with."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cdk8s import ApiObjectMetadata, App, Chart, Yaml
from cdk8s_plus_27 import ContainerPort, ContainerResources, ContainerSecurityContextProps, Deployment, Node

import dindcache

NAMESPACE = "dindcache-test"
REGISTRY = f"registry.{NAMESPACE}.svc:5000"
ROOT = "/mnt/dindcache"


class Cluster:
    """The cluster as a user has it: through kubectl."""

    def __init__(self, kubeconfig: str, registry_mirror: str | None) -> None:
        self.kubeconfig = kubeconfig
        self.registry_mirrors = [registry_mirror] if registry_mirror else []
        nodes = self.get("nodes")
        self.hostnames = [node["metadata"]["labels"]["kubernetes.io/hostname"] for node in nodes["items"]]
        self.node_names = [node["metadata"]["name"] for node in nodes["items"]]

    def run(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 300) -> str:
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"kubectl {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", "-o", "json", *arguments))

    def apply(self, chart: Chart) -> str:
        return self.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*chart.to_json()))

    def create_namespace(self, name: str) -> None:
        self.kubectl("apply", "-f", "-", stdin=f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
        """Poll until the condition is true; its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.2)
        return value

    def wait_for_event(self, namespace: str, reason: str, text: str) -> None:
        def events() -> list[str]:
            events = self.get("events", f"--namespace={namespace}", f"--field-selector=reason={reason}")["items"]
            return [event["message"] for event in events if text in event["message"]]

        self.wait(events, f"an event {reason} with {text!r} in {namespace}")

    def rollout(self, namespace: str, name: str, seconds: int = 180) -> None:
        self.kubectl("rollout", "status", f"--namespace={namespace}", f"deployment/{name}", f"--timeout={seconds}s")

    def delete_pod(self, namespace: str, app: str) -> None:
        self.kubectl("delete", "pod", f"--namespace={namespace}", f"--selector=app={app}", "--wait")

    def forget(self, namespace: str, *cluster_objects: str) -> None:
        self.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait", "--timeout=180s")
        if cluster_objects:
            self.kubectl("delete", "--ignore-not-found", "--wait", *cluster_objects)

    def on_node(self, node_name: str, script: str) -> str:
        """Run a script on a node, whose /mnt it sees."""
        return self.kubectl("exec", f"--namespace={NAMESPACE}", f"deployment/node-{node_name}", "--", "sh", "-ec", script)


class Client:
    """A pod that has what ``connect`` gives and a shell."""

    def __init__(self, cluster: Cluster, daemon: dindcache.DindDaemon, namespace: str, node_name: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        chart = Chart(App(), "client", namespace=namespace, disable_resource_name_hashes=True)
        deployment = idle_deployment(chart, "client", "docker:29.9.3-cli", node_name)
        daemon.connect(deployment)
        cluster.apply(chart)
        cluster.rollout(namespace, "client")

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        arguments = ["exec", f"--namespace={self.namespace}", "deployment/client", "--", "sh", "-ec", script]
        return self.cluster.run(*arguments)

    def sh(self, script: str) -> str:
        """The script's output, standard error after it."""
        done = self.run(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def write_project(self, directory: str) -> None:
        """Sources whose Dockerfile has two layers before the source file and two after."""
        self.sh(
            f"""mkdir -p {directory}; cd {directory}; cat >Dockerfile <<'EOF'
FROM busybox:latest
RUN head -c 1000000 /dev/urandom >/dependencies
COPY source .
RUN cat source >result
EOF
            date >source"""
        )

    def cached_steps(self, directory: str, tag: str) -> set[str]:
        """Build; which steps were taken from the cache, such as ``2/4``."""
        output = self.sh(f"docker build --progress=plain -t {tag} {directory}")
        steps = {
            line.split()[0]: line.split("[", 1)[1].split("]")[0]
            for line in output.splitlines()
            if " [" in line and "/4] " in line
        }
        return {steps[line.split()[0]] for line in output.splitlines() if line.endswith(" CACHED") and line.split()[0] in steps}


def idle_deployment(chart: Chart, name: str, image: str, node_name: str) -> Deployment:
    """A Deployment of one pod that waits for ``kubectl exec``."""
    deployment = Deployment(chart, name, metadata=ApiObjectMetadata(name=name), replicas=1)
    deployment.add_container(
        image=image,
        command=["sh", "-c", "trap exit TERM; while :; do sleep 1; done"],
        resources=ContainerResources(),
        security_context=ContainerSecurityContextProps(ensure_non_root=False, read_only_root_filesystem=False),
    )
    deployment.scheduling.assign(Node.named(node_name))
    return deployment


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    kubeconfig = request.config.getoption("--kubeconfig")
    if not kubeconfig:
        pytest.skip("needs --kubeconfig=FILE of a cluster to try things on")
    cluster = Cluster(kubeconfig, request.config.getoption("--registry-mirror"))
    cluster.create_namespace(NAMESPACE)
    cluster.kubectl("apply", "-f", "-", stdin=support(cluster))
    for name in ["registry", *(f"node-{name}" for name in cluster.node_names)]:
        cluster.rollout(NAMESPACE, name)
    yield cluster
    cluster.forget(NAMESPACE)


def support(cluster: Cluster) -> str:
    """A registry, and on each node a pod that sees the node's /mnt."""
    chart = Chart(App(), "support", namespace=NAMESPACE, disable_resource_name_hashes=True)
    registry = Deployment(chart, "registry", metadata=ApiObjectMetadata(name="registry"), replicas=1)
    registry.add_container(
        image="registry:2",
        ports=[ContainerPort(number=5000)],
        resources=ContainerResources(),
        security_context=ContainerSecurityContextProps(ensure_non_root=False, read_only_root_filesystem=False),
    )
    registry.expose_via_service(name="registry")
    manifests = chart.to_json()
    for name in cluster.node_names:
        nodes = Chart(App(), "nodes", namespace=NAMESPACE, disable_resource_name_hashes=True)
        idle_deployment(nodes, f"node-{name}", "busybox:latest", name)
        (deployment,) = nodes.to_json()
        pod = deployment["spec"]["template"]["spec"]
        pod["securityContext"] = {}
        pod["volumes"] = [{"name": "mnt", "hostPath": {"path": "/mnt"}}]
        (container,) = pod["containers"]
        container["volumeMounts"] = [{"name": "mnt", "mountPath": "/mnt"}]
        container["securityContext"] = {"privileged": True}
        manifests.append(deployment)
    return Yaml.stringify(*manifests)
