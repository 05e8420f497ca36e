"""A cluster, operated through kubectl."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cdk8s import Chart, Yaml

PREFIX = "dindcache"
"""Start of each namespace of tests and benchmarks, and directory of their data on the nodes."""

SUPPORT = f"{PREFIX}-test"
"""Namespace of the objects that all tests share (``support.py``)."""

NODE_DIRECTORY = os.environ.get("NODE_DIRECTORY", "/mnt")
"""Directory of a node on a file system other than an overlay, on which Docker's layers cannot lie. In kind that is /var."""

ROOT = f"{NODE_DIRECTORY}/{PREFIX}"

# kubectl loses what a command prints before its websockets are set up ("Unknown stream id 1, discarding message"), and with it
# the whole output of a short build.
KUBECTL = {**os.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"}


class Cluster:
    """A cluster whose nodes tests can drain, and whose disks they can fill.

    :param kubeconfig: File that names the cluster
    :param registry_mirror: URL of a mirror of Docker Hub that its pods reach
    :param daemon_node: Name of the node that is listed first, which has the daemons. Defaults to the first one
    :param user_namespaces: Whether the daemons run in user namespaces
    """

    def __init__(
        self, kubeconfig: str, registry_mirror: str | None, *, daemon_node: str | None = None, user_namespaces: bool = False
    ) -> None:
        self.kubeconfig, self.user_namespaces = kubeconfig, user_namespaces
        self.registry_mirrors = [registry_mirror] if registry_mirror else []
        # The builder of Engine 27 speaks https to a mirror, whatever its URL says, unless it is an insecure registry.
        self.mirror_hosts = [urlsplit(mirror).netloc for mirror in self.registry_mirrors]
        nodes = [node["metadata"] for node in self.get("nodes")["items"]]
        nodes.sort(key=lambda node: bool(node["name"] != daemon_node))
        self.hostnames = [node["labels"]["kubernetes.io/hostname"] for node in nodes]
        self.node_names = [node["name"] for node in nodes]

    def run(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 700) -> subprocess.CompletedProcess[str]:
        """Run kubectl, which can fail."""
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=KUBECTL)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 700) -> str:
        """Run kubectl, and return its output."""
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"kubectl {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return objects as JSON."""
        return json.loads(self.kubectl("get", "-o", "json", *arguments))

    def apply(self, chart: Chart) -> str:
        """Apply the objects of a chart."""
        return self.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*chart.to_json()))

    def create_namespace(self, name: str) -> None:
        """Create a namespace, unless it exists."""
        self.kubectl(
            "apply", "-f", "-", stdin=Yaml.stringify({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        )

    def remove_namespaces(self, *names: str) -> None:
        """Delete namespaces, at once: no daemon in them drains."""
        found = [item.split("/")[1] for item in self.kubectl("get", "namespace", "-o", "name").split()]
        for name in names:
            if name in found:
                # First: the controller that deletes a namespace waits half of the pods' grace period before it looks again.
                self._end_pods(f"--namespace={name}")
        self.kubectl("delete", "namespace", *names, "--ignore-not-found", "--wait", "--timeout=600s")

    def _end_pods(self, namespace: str) -> None:
        self.kubectl("delete", "deployment,replicaset,statefulset", "--all", namespace, "--cascade=orphan", "--wait")
        for pod in self.get("pods", namespace)["items"]:
            if "deletionTimestamp" in pod["metadata"] and "nodeName" in pod["spec"]:
                # A shorter grace period does not end a drain that has begun.
                self.on_node(pod["spec"]["nodeName"], f"kill -KILL {processes(pod)} 2>/dev/null || :")
        self.kubectl("delete", "pod", "--all", namespace, "--grace-period=1", "--wait=false")

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 600) -> Any:
        """Poll a condition until it is true, and return its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.5)
        return value

    def wait_for_event(self, namespace: str, reason: str, text: str) -> None:
        """Wait for an event of a namespace whose message contains a text."""

        def events() -> list[str]:
            events = self.get("events", f"--namespace={namespace}", f"--field-selector=reason={reason}")["items"]
            return [event["message"] for event in events if text in event["message"]]

        self.wait(events, f"an event {reason} with {text!r} in {namespace}")

    def rollout(self, namespace: str, name: str, seconds: int = 600) -> None:
        """Wait until a Deployment has its pods."""
        status = ["rollout", "status", f"--namespace={namespace}", f"deployment/{name}", f"--timeout={seconds}s"]
        self.kubectl(*status, timeout=seconds + 20)

    def pods(self, namespace: str, app: str) -> list[Any]:
        """Return the pods of an app, the oldest first."""
        pods: list[Any] = self.get("pods", f"--namespace={namespace}", f"--selector=app={app}")["items"]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def restarts(self, namespace: str, app: str) -> int:
        """Return how often containers of the app's only pod have restarted, init containers included."""
        (pod,) = self.pods(namespace, app)
        status = pod["status"]
        statuses = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
        return sum(container["restartCount"] for container in statuses)

    def run_now(self, namespace: str, cron_job: str) -> None:
        """Run a Job of a CronJob, and wait for its end."""
        job = f"{cron_job}-now"
        self.kubectl("create", "job", f"--namespace={namespace}", f"--from=cronjob/{cron_job}", job)
        self.kubectl("wait", f"--namespace={namespace}", f"job/{job}", "--for=condition=Complete", "--timeout=600s")
        self.kubectl("delete", f"--namespace={namespace}", f"job/{job}", "--wait")

    def signal(self, namespace: str, app: str, command: str, number: str) -> None:
        """Send a signal to a process of the app's only pod, from its node, so that process 1 gets it too."""
        (pod,) = self.pods(namespace, app)
        # The engine may be about to start its containerd again.
        script = f"""for try in $(seq 300); do
            for process in {processes(pod)}; do
                if [ "$(cat /proc/$process/comm 2>/dev/null)" = {command} ]; then kill -{number} $process; exit; fi
            done
            sleep 0.1
        done
        exit 1"""
        self.on_node(pod["spec"]["nodeName"], script)

    def delete_pod(self, namespace: str, app: str, *, drain: bool = True) -> None:
        """Delete the app's pod, with its grace period for a drain or with next to none."""
        grace = [] if drain else ["--grace-period=1"]
        self.kubectl("delete", "pod", f"--namespace={namespace}", f"--selector=app={app}", "--wait", *grace)

    def on_node(self, node_name: str, script: str) -> str:
        """Run a script on a node, whose NODE_DIRECTORY and processes it sees."""
        return self.kubectl("exec", f"--namespace={SUPPORT}", f"deployment/node-{node_name}", "--", "sh", "-ec", script)


def processes(pod: Any) -> str:
    """Return the word of a shell script on the pod's node that expands to the numbers of the pod's processes."""
    # The path of a cgroup has the pod's uid, with underscores where systemd names it.
    return f"$(grep -ls '{pod['metadata']['uid'].replace('-', '.')}' /proc/[0-9]*/cgroup | cut -d/ -f3)"


# A process that a failed test has not waited for would be reported in whichever test runs when it is collected.
_started: "list[subprocess.Popen[str]]" = []


def start(command: list[str], **options: Any) -> "subprocess.Popen[str]":
    """Start a process in a group of its own, which ends after ten minutes: reading its output line by line has no timeout."""
    process: subprocess.Popen[str] = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, **options
    )

    _started.append(process)

    def end() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(600, end)
    timer.daemon = True
    timer.start()
    return process
