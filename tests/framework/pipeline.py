"""Pipelines on this machine, by gitlab-ci-local: the jobs' docker reaches the daemon through a pod that may be its client."""

import base64
import os
import shutil
import signal
import socketserver
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from dindcache import DindDaemon
from tests.framework.client import Client
from tests.framework.cluster import KUBECTL, start

GITLAB_CI_LOCAL = ["npx", "--yes", "gitlab-ci-local@4.75.0", "--force-shell-executor"]
NEEDED = ("git", "rsync", "bash", "npx")


def missing() -> list[str]:
    """The programs that gitlab-ci-local needs and this machine has not."""
    return [program for program in NEEDED if shutil.which(program) is None]


class Project:
    """A repository whose pipelines run with a daemon as a Runner's jobs do.

    :param directory: an empty one
    :param client: whose certificate, docker and place in the cluster the jobs have
    """

    def __init__(self, directory: Path, client: Client, daemon: DindDaemon, port: int) -> None:
        self.directory = directory / "app"
        self.directory.mkdir()
        secret = daemon.client(client.namespace).secret
        assert secret
        data = client.cluster.get("secret", secret.name, f"--namespace={client.namespace}")["data"]
        certificates = directory / "certificates"
        certificates.mkdir()
        for key, name in secret.items.items():
            (certificates / name).write_bytes(base64.b64decode(data[key]))
        tools = directory / "tools"
        command = ["kubectl", f"--kubeconfig={client.cluster.kubeconfig}", "exec", *client.pod, "--"]
        paths = ["usr/local/bin/docker", "usr/local/libexec/docker"]
        packed = subprocess.run([*command, "tar", "-c", "-C", "/", *paths], check=True, capture_output=True, env=KUBECTL)
        with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
            archive.extractall(tools, filter="data")
        (directory / "home" / ".docker").mkdir(parents=True)
        config = f'{{"cliPluginsExtraDirs": ["{tools}/usr/local/libexec/docker/cli-plugins"]}}'
        (directory / "home" / ".docker" / "config.json").write_text(config)
        self._environment = {
            **os.environ,
            "HOME": str(directory / "home"),
            "npm_config_cache": str(Path.home() / ".npm"),
            "PATH": f"{tools}/usr/local/bin:{os.environ['PATH']}",
            **daemon.client(client.namespace).environment,
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_CERT_PATH": str(certificates),
        }
        self._git("init", "--quiet")
        self._git("remote", "add", "origin", "git@gitlab.example:group/app.git")

    def commit(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.directory / name).parent.mkdir(exist_ok=True)
            (self.directory / name).write_text(text)
        self._git("add", ".")
        self._git("-c", "user.name=a", "-c", "user.email=a@example", "commit", "--quiet", "--allow-empty", "--message=a")

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.directory, check=True)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """A pipeline, or some of its jobs; standard output has all that it prints."""
        command = [*GITLAB_CI_LOCAL, *arguments]
        return start(command, cwd=self.directory, env=self._environment, stderr=subprocess.STDOUT)

    def run(self, *arguments: str, fails: bool = False) -> str:
        """What a pipeline prints."""
        process = self.start(*arguments)
        output, _ = process.communicate()
        print(output)  # for a test that fails
        assert (process.returncode != 0) is fails
        return output

    @staticmethod
    def cancel(process: "subprocess.Popen[str]") -> None:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()


@contextmanager
def relay(client: Client, daemon: DindDaemon) -> Iterator[int]:
    """A port of this machine whose connections the client's pod makes on, to the daemon's Service."""
    host, _, port = daemon.client(client.namespace).host.removeprefix("tcp://").partition(":")
    command = ["kubectl", f"--kubeconfig={client.cluster.kubeconfig}", "exec", "--stdin", *client.pod, "--", "nc", host, port]

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            subprocess.run(
                command, stdin=self.request, stdout=self.request, stderr=subprocess.DEVNULL, env=KUBECTL, check=False
            )

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 50

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
