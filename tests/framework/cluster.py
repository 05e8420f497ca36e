"""A cluster through kubectl, and what tests and benchmarks build with on it."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cdk8s import ApiObjectMetadata, App, Chart, Yaml
from cdk8s_plus_27 import ContainerPort, ContainerResources, ContainerSecurityContextProps, Deployment, Node

from dindcache import DindDaemon

NAMESPACE = "dindcache-test"
REGISTRY = f"registry.{NAMESPACE}.svc:5000"
# A file system of the node's own, not an overlay: Docker's layers do not lie on one. In kind that is /var.
NODE_DIRECTORY = os.environ.get("NODE_DIRECTORY", "/mnt")
ROOT = f"{NODE_DIRECTORY}/dindcache"
# What a command prints before kubectl has made its streams is lost over its websockets ("Unknown stream id 1, discarding
# message"), and a short build with it.
KUBECTL = {**os.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"}
# As Docker's clients write them.
SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


class Cluster:
    """The cluster as a user has it: through kubectl."""

    def __init__(self, kubeconfig: str, registry_mirror: str | None) -> None:
        self.kubeconfig = kubeconfig
        self.registry_mirrors = [registry_mirror] if registry_mirror else []
        # The builder of Engine 27 speaks https to a mirror, whatever its URL says, unless it is an insecure registry.
        self.mirror_hosts = [urlsplit(mirror).netloc for mirror in self.registry_mirrors]
        nodes = self.get("nodes")
        self.hostnames = [node["metadata"]["labels"]["kubernetes.io/hostname"] for node in nodes["items"]]
        self.node_names = [node["metadata"]["name"] for node in nodes["items"]]

    def run(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=KUBECTL)

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

    def mount_disk(self, directory: str, options: str) -> None:
        """A small file system on the first node, with nothing on it."""
        self.forget_disk(directory)
        self.on_node(self.node_names[0], f"mkdir -p {directory}; mount -t tmpfs -o {options} dindcache {directory}")

    def forget_disk(self, directory: str) -> None:
        """Remove it, and where a set-up failed before there was one, nothing."""
        umount = f"! grep -q ' {directory} ' /proc/mounts || umount {directory}"
        self.on_node(self.node_names[0], f"{umount}; [ ! -e {directory} ] || rmdir {directory}")

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

    def rollout(self, namespace: str, name: str, seconds: int = 280) -> None:
        self.kubectl("rollout", "status", f"--namespace={namespace}", f"deployment/{name}", f"--timeout={seconds}s")

    def pods(self, namespace: str, app: str) -> list[Any]:
        """The pods of an app, the oldest first."""
        pods: list[Any] = self.get("pods", f"--namespace={namespace}", f"--selector=app={app}")["items"]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def restarts(self, namespace: str, app: str) -> int:
        """How often containers of the app's one pod were started anew, init containers too."""
        (pod,) = self.pods(namespace, app)
        status = pod["status"]
        statuses = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
        return sum(container["restartCount"] for container in statuses)

    def run_now(self, namespace: str, cron_job: str) -> None:
        """Do what a CronJob does, to its end."""
        job = f"{cron_job}-now"
        self.kubectl("create", "job", f"--namespace={namespace}", f"--from=cronjob/{cron_job}", job)
        self.kubectl("wait", f"--namespace={namespace}", f"job/{job}", "--for=condition=Complete", "--timeout=290s")
        self.kubectl("delete", f"--namespace={namespace}", f"job/{job}", "--wait")

    def signal(self, namespace: str, app: str, command: str, number: str) -> None:
        """Send a signal to a process of the app's one pod, from its node, so that process 1 gets it too."""
        (pod,) = self.pods(namespace, app)
        # A cgroup's path has the pod's uid, with underscores where systemd names it.
        uid = pod["metadata"]["uid"].replace("-", ".")
        # The engine may be about to start its containerd again.
        script = f"""for try in $(seq 300); do
            for process in /proc/[0-9]*; do
                if grep -q '{uid}' $process/cgroup 2>/dev/null && [ "$(cat $process/comm 2>/dev/null)" = {command} ]; then
                    kill -{number} ${{process#/proc/}}; exit
                fi
            done
            sleep 0.1
        done
        exit 1"""
        self.on_node(pod["spec"]["nodeName"], script)

    def delete_pod(self, namespace: str, app: str, *, drain: bool = True) -> None:
        """The app's pod, with its grace period for a drain or with next to none."""
        grace = [] if drain else ["--grace-period=1"]
        self.kubectl("delete", "pod", f"--namespace={namespace}", f"--selector=app={app}", "--wait", *grace)

    def set_up(self) -> None:
        """A registry, and on each node a pod that sees the node."""
        self.create_namespace(NAMESPACE)
        self.kubectl("apply", "-f", "-", stdin=_support(self))
        for name in ["registry", *(f"node-{name}" for name in self.node_names)]:
            self.rollout(NAMESPACE, name)

    def forget(self, namespace: str, *cluster_objects: str) -> None:
        # The pods first: a namespace that finds some waits half of their grace period before it looks again. Nothing of a
        # daemon is kept, so none drains.
        self.kubectl("delete", "deployment,replicaset", "--all", f"--namespace={namespace}", "--cascade=orphan", "--wait")
        self.kubectl("delete", "pod", "--all", f"--namespace={namespace}", "--grace-period=1", "--wait")
        self.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait", "--timeout=180s")
        if cluster_objects:
            self.kubectl("delete", "--ignore-not-found", "--wait", *cluster_objects)

    def on_node(self, node_name: str, script: str) -> str:
        """Run a script on a node, whose NODE_DIRECTORY it sees."""
        return self.kubectl("exec", f"--namespace={NAMESPACE}", f"deployment/node-{node_name}", "--", "sh", "-ec", script)


class Client:
    """A pod that has what ``connect`` gives and a shell."""

    def __init__(self, cluster: Cluster, daemon: DindDaemon, namespace: str, node_name: str, name: str = "client") -> None:
        self.cluster = cluster
        self.namespace = namespace
        chart = Chart(App(), "client", namespace=namespace, disable_resource_name_hashes=True)
        deployment = idle_deployment(chart, name, "docker:29.9.3-cli", node_name)
        daemon.connect(deployment)
        cluster.apply(chart)
        cluster.rollout(namespace, name)
        self.pod = [f"--namespace={namespace}", f"deployment/{name}"]
        self._exec = ["exec", *self.pod, "--", "sh", "-ec"]

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return self.cluster.run(*self._exec, script)

    def start(self, script: str) -> "subprocess.Popen[str]":
        """Run a script beside the test; all that it prints comes from its standard output."""
        command = ["kubectl", f"--kubeconfig={self.cluster.kubeconfig}", *self._exec, f"exec 2>&1; {script}"]
        return start(command, env=KUBECTL)

    def start_build(self, directory: str, tag: str, then: str = "true") -> "subprocess.Popen[str]":
        """A build that has begun its step with ``sleep`` when this returns."""
        process = self.start(f"docker build --progress=plain -t {tag} {directory} && {then}")
        assert process.stdout
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "RUN sleep" in line:
                return process
        raise AssertionError("".join(seen))

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

    def steps(self, output: str, state: str) -> set[str]:
        """Which steps of a build after its ``FROM`` came to a state, by its plain progress, such as ``2/4``."""
        lines = [line.split() for line in output.splitlines() if line.startswith("#")]
        names = {words[0]: words[1].strip("[]") for words in lines if re.fullmatch(r"\[([2-9]|\d\d+)/\d+\]", words[1])}
        return {names[words[0]] for words in lines if words[0] in names and words[1] == state}

    def build_cache(self) -> float:
        """The MiB of the build cache that no image has too."""
        output = self.sh("docker buildx du")
        match = re.search(r"^Private:\s+([\d.]+)(\w+)$", output, re.MULTILINE) or re.search(
            r"^Total:\s+([\d.]+)(\w+)$", output, re.MULTILINE
        )
        assert match, output
        return float(match[1]) * SIZES[match[2]] / (1 << 20)

    def wait_for_daemon(self) -> None:
        """A node's kube-proxy knows of a pod a moment after the pod is ready."""
        self.cluster.wait(lambda: self.run("docker version").returncode == 0, "the daemon serves its client")

    def cached_steps(self, directory: str, tag: str) -> set[str]:
        """Build; which steps were taken from the cache."""
        self.wait_for_daemon()
        output = self.sh(f"docker build --progress=plain -t {tag} {directory}")
        print(output)  # for a test that fails
        return self.steps(output, "CACHED")


def start(command: list[str], **options: Any) -> "subprocess.Popen[str]":
    """A process in a group of its own, which ends after ten minutes: who reads its output line by line has no timeout."""
    process: subprocess.Popen[str] = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, **options
    )

    def end() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(600, end)
    timer.daemon = True
    timer.start()
    return process


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


def _support(cluster: Cluster) -> str:
    chart = Chart(App(), "support", namespace=NAMESPACE, disable_resource_name_hashes=True)
    registry = Deployment(chart, "registry", metadata=ApiObjectMetadata(name="registry"), replicas=1)
    registry.add_container(
        image="registry:2",
        ports=[ContainerPort(number=5000)],
        resources=ContainerResources(),
        security_context=ContainerSecurityContextProps(ensure_non_root=False, read_only_root_filesystem=False),
    )
    registry.scheduling.assign(Node.named(cluster.node_names[-1]))  # away from the daemon, whose node is drained
    registry.expose_via_service(name="registry")
    manifests = chart.to_json()
    for name in cluster.node_names:
        nodes = Chart(App(), "nodes", namespace=NAMESPACE, disable_resource_name_hashes=True)
        idle_deployment(nodes, f"node-{name}", "busybox:latest", name)
        (deployment,) = nodes.to_json()
        pod = deployment["spec"]["template"]["spec"]
        pod["securityContext"] = {}
        pod["hostPID"] = True
        pod["volumes"] = [{"name": "node", "hostPath": {"path": NODE_DIRECTORY}}]
        (container,) = pod["containers"]
        container["volumeMounts"] = [{"name": "node", "mountPath": NODE_DIRECTORY, "mountPropagation": "Bidirectional"}]
        container["securityContext"] = {"privileged": True}
        manifests.append(deployment)
    return Yaml.stringify(*manifests)
