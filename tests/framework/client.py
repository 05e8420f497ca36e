"""A pod that builds with a daemon."""

import re
import subprocess

from cdk8s import App, Chart

from dindcache import DindDaemon
from tests.framework.cluster import KUBECTL, Cluster, start
from tests.framework.support import idle_deployment

# As Docker's clients write them.
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


class Client:
    """A pod that ``connect`` has made a client, and that has a shell.

    :param daemon: Daemon that it is a client of
    :param namespace: Namespace of the pod
    :param node_name: Node of the pod
    :param name: Name of its Deployment
    """

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
        """Run a script that can fail."""
        return self.cluster.run(*self._exec, script)

    def sh(self, script: str) -> str:
        """Run a script, and return its output, standard error after standard output."""
        done = self.run(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start(self, script: str) -> "subprocess.Popen[str]":
        """Start a script in the background; its standard output has standard error too."""
        command = ["kubectl", f"--kubeconfig={self.cluster.kubeconfig}", *self._exec, f"exec 2>&1; {script}"]
        return start(command, env=KUBECTL)

    def start_build(self, directory: str, tag: str, then: str = "true") -> "subprocess.Popen[str]":
        """Start a build, and return once its step with ``sleep`` runs."""
        process = self.start(f"docker build --progress=plain -t {tag} {directory} && {then}")
        assert process.stdout
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "RUN sleep" in line:
                return process
        raise AssertionError("".join(seen))

    def write_project(self, directory: str) -> None:
        """Write sources whose Dockerfile has two layers before the source file and two after."""
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
        """Return the steps after ``FROM`` that reached a state, such as ``2/4``, from the plain progress of a build."""
        lines = [line.split() for line in output.splitlines() if line.startswith("#")]
        names = {words[0]: words[1].strip("[]") for words in lines if re.fullmatch(r"\[([2-9]|\d\d+)/\d+\]", words[1])}
        return {names[words[0]] for words in lines if words[0] in names and words[1] == state}

    def build_cache(self) -> float:
        """Return the MiB of the build cache that no image shares."""
        output = self.sh("docker buildx du")
        match = re.search(r"^Private:\s+([\d.]+)(\w+)$", output, re.MULTILINE) or re.search(
            r"^Total:\s+([\d.]+)(\w+)$", output, re.MULTILINE
        )
        assert match, output
        return float(match[1]) * _SIZES[match[2]] / (1 << 20)

    def wait_for_daemon(self) -> None:
        """Wait until the daemon answers: kube-proxy learns of a pod a moment after the pod is ready."""
        self.sh("for try in $(seq 90); do timeout 10 docker version >/dev/null 2>&1 && exit; sleep 1; done; docker version")

    def cached_steps(self, directory: str, tag: str) -> set[str]:
        """Build, and return the steps that were cached."""
        self.wait_for_daemon()
        output = self.sh(f"docker build --progress=plain -t {tag} {directory}")
        print(output)  # for a test that fails
        return self.steps(output, "CACHED")
