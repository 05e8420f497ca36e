"""A real GitLab Runner that takes jobs from a stand-in for its server, both of ``../shared/runner``.

``gitlab-ci-local`` expands a pipeline into jobs, as the server does.
"""

import gzip
import importlib.util
import itertools
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
import yaml

from tests.framework.cluster import Cluster

RUNNER = Path(os.environ.get("RUNNER_CACHE", "/var/cache/runner")) / "gitlab-runner"
SERVER = Path(__file__).parents[3] / "shared" / "runner" / "coordinator.py"
ADDRESS = "172.29.0.1"
"""Address of this machine in the network of the cluster that ``../shared/cluster`` creates."""

HELPER = "gitlab-runner-helper:19.4.0"

_PREDEFINED = {
    "CI": "true",
    "FF_TIMESTAMPS": "false",  # in the log
    "GITLAB_CI": "true",
    "CI_COMMIT_REF_NAME": "main",
    "CI_COMMIT_REF_SLUG": "main",
    "CI_PROJECT_ID": "4711",
    "CI_PROJECT_NAME": "app",
    "CI_PROJECT_PATH": "group/app",
    "CI_PROJECT_PATH_SLUG": "group-app",
    "CI_PIPELINE_ID": "1",
}
_SECRET = ("CI_REGISTRY_PASSWORD", "CI_DEPENDENCY_PROXY_PASSWORD")


def missing() -> list[str]:
    """Return what a Runner needs and this machine does not have."""
    programs = [program for program in ("git", "npx") if shutil.which(program) is None]
    return [*programs, *(str(path) for path in (RUNNER, SERVER) if not path.exists())]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The end of a job.

    :param state: ``success`` or ``failed``
    :param exit_code: Exit code of a script that failed
    :param reason: Reason of a failure, such as ``script_failure`` or ``job_execution_timeout``
    :param trace: Log of the job
    """

    state: str
    exit_code: int | None
    reason: str
    trace: str


class Runner:
    """A Runner with the Kubernetes executor, a server that gives jobs to it, and a repository.

    :param cluster: Cluster of the jobs
    :param server: Stand-in for the server
    :param directory: Directory of the repository and of the Runner's log
    :param namespace: Namespace of the jobs
    """

    def __init__(self, cluster: Cluster, server: Any, directory: Path, namespace: str) -> None:
        self.cluster, self._server, self._directory, self._namespace = cluster, server, directory, namespace
        self._repository = directory / "app"
        self._ids = itertools.count(int(time.time()))
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", self._repository], check=True)
        self._git("remote", "add", "origin", "git@gitlab.example:group/app.git")  # or gitlab-ci-local does not know its name
        served = directory / "repositories" / "group" / "app.git"
        served.parent.mkdir(parents=True)
        served.symlink_to(self._repository / ".git")

    def commit(self, files: Mapping[str, str]) -> None:
        """Write files into the repository, and commit them."""
        for name, text in files.items():
            (self._repository / name).parent.mkdir(exist_ok=True)
            (self._repository / name).write_text(text)
        self._git("add", ".")
        self._git("-c", "user.name=a", "-c", "user.email=a@example", "commit", "--quiet", "--allow-empty", "--message=a")

    def pipeline(self, text: str) -> dict[str, Any]:
        """Commit a ``.gitlab-ci.yml``, and return it with all that it includes, extends and refers to.

        :raises AssertionError: The pipeline is invalid, with the reason
        """
        self.commit({".gitlab-ci.yml": text})
        command = ["npx", "--yes", "gitlab-ci-local@4.75.0", "--preview"]
        # A file: Node.js can end before a pipe has taken all of its output.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, cwd=self._repository, check=False, stdout=output, stderr=subprocess.PIPE, text=True)
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, text + done.stderr
        expanded: dict[str, Any] = yaml.safe_load(text)
        return expanded

    def start(
        self, pipeline: Mapping[str, Any], name: str, *, timeout: int = 600, variables: Mapping[str, str] | None = None
    ) -> int:
        """Give a job of a pipeline to the Runner, and return its number.

        :param pipeline: Expanded pipeline
        :param name: Name of the job
        :param timeout: Time-out of the job in seconds
        :param variables: Variables of the project, which win over those of the pipeline
        """
        number, job = next(self._ids), pipeline[name]
        sha = self._git("rev-parse", "HEAD").strip()
        url = f"{self._server.url}/group/app"
        values = {
            **_PREDEFINED,
            "CI_JOB_ID": str(number),
            "CI_JOB_NAME": name,
            "CI_JOB_URL": f"{url}/-/jobs/{number}",
            "CI_COMMIT_SHA": sha,
            "CI_PROJECT_URL": url,
            "CI_SERVER_URL": self._server.url,
            **{key: str(value) for key, value in {**pipeline.get("variables", {}), **job.get("variables", {})}.items()},
            **(variables or {}),
        }
        steps = [("script", [*job.get("before_script", []), *job["script"]], timeout, "on_success", False)]
        steps += [("after_script", job["after_script"], 300, "always", True)] if "after_script" in job else []
        report = job.get("artifacts", {}).get("reports", {}).get("dotenv")
        artifact = {
            "name": "dotenv",
            "paths": [report],
            "when": "on_success",
            "artifact_type": "dotenv",
            "artifact_format": "gzip",
        }
        self._server.put(
            {
                "id": number,
                "token": "token",
                "allow_git_fetch": True,
                "job_info": {"id": number, "name": name, "stage": "test", "project_id": 4711, "project_name": "app"},
                "git_info": {
                    "repo_url": f"{url}.git",
                    "ref": "main",
                    "ref_type": "branch",
                    "sha": sha,
                    "before_sha": "0" * 40,
                    "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
                    "depth": 50,  # since jobs start after later commits
                },
                "runner_info": {"timeout": timeout},
                "variables": [
                    {"key": key, "value": value, "public": key not in _SECRET, "masked": key in _SECRET}
                    for key, value in values.items()
                ],
                "steps": [
                    dict(zip(("name", "script", "timeout", "when", "allow_failure"), step, strict=True)) for step in steps
                ],
                "image": job["image"],
                "services": job.get("services", []),
                "artifacts": [artifact] if report else [],
                "features": {"failure_reasons": ["script_failure", "runner_system_failure", "job_execution_timeout"]},
            }
        )
        return number

    def wait(self, number: int, *, seconds: float = 600) -> Result:
        """Wait for the end of a job."""
        self._wait(number, lambda: number in self._server.states, "ends", seconds)
        state = self._server.states[number]
        return Result(
            state=state["state"],
            exit_code=state.get("exit_code"),
            reason=state.get("failure_reason", ""),
            trace=self.trace(number),
        )

    def has_ended(self, number: int) -> bool:
        """Return whether a job has ended."""
        return number in self._server.states

    def run(self, pipeline: Mapping[str, Any], name: str, *, fails: bool = False, **options: Any) -> Result:
        """Run a job of a pipeline (``start``).

        :param fails: Whether it must fail, instead of succeed
        """
        result = self.wait(self.start(pipeline, name, **options))
        # As with `retry: runner_system_failure`: a kubelet can collect the directory of a new pod's logs, and the pod fails.
        if result.reason == "runner_system_failure":
            result = self.wait(self.start(pipeline, name, **options))
        assert (result.state == "failed") is fails, f"{result.reason}\n{self._log()}"
        return result

    def wait_for(self, number: int, text: str, *, seconds: float = 600) -> None:
        """Wait until the log of a job has a text."""
        self._wait(number, lambda: text in self._server.trace(number), f"logs {text!r}", seconds)

    def wait_for_no_pods(self, *, seconds: float = 600) -> None:
        """Wait until no pod of a job is left."""
        pods = ["get", "pods", f"--namespace={self._namespace}", "--selector=job.runner.gitlab.com/pod", "-o", "name"]
        self.cluster.wait(lambda: not self.cluster.kubectl(*pods), "the jobs' pods are gone", seconds=seconds)

    def cancel(self, number: int, *, force: bool = False) -> None:
        """Cancel a job as a user does, or by force."""
        (self._server.abort if force else self._server.cancel).add(number)

    def trace(self, number: int) -> str:
        """Return the log of a job so far."""
        trace = re.sub(r"\x1b\[[0-9;]*[mK]", "", self._server.trace(number)).replace("\r", "\n")  # without colours
        print(trace)  # for a test that fails
        return trace

    def dotenv(self, number: int) -> str:
        """Return the dotenv report of a job."""
        (body,) = self._server.artifacts[number]
        start = body.index(b"\x1f\x8b")
        return gzip.decompress(body[start : body.rindex(b"\r\n--")]).decode()

    def _wait(self, number: int, condition: Any, what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"job {number} never {what}\n{self._server.trace(number)}\n{self._log()}"
            time.sleep(0.2)

    def _log(self) -> str:
        return "\n".join((self._directory / "runner.log").read_text().splitlines()[-20:])

    def _git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self._repository, check=True, capture_output=True, text=True).stdout


@contextmanager
def start_runner(cluster: Cluster, config: str, directory: Path, kubeconfig: str | None = None) -> Iterator[Runner]:
    """Start a Runner with a configuration, and what it needs besides: a server, a token and the image of its helper.

    :param config: Text of ``config.toml``
    :param directory: Empty directory
    :param kubeconfig: File with the rights of the Runner. Defaults to those of the cluster's administrator
    """
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    spec = importlib.util.spec_from_file_location("coordinator", SERVER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.Coordinator(ADDRESS, port, directory / "repositories")
    document = tomlkit.parse(config)
    document.update({"concurrent": 8, "check_interval": 1})
    (settings,) = document["runners"]
    settings.update({"name": "test", "url": server.url, "token": "token", "id": 1, "executor": "kubernetes"})
    kubernetes = settings["kubernetes"]
    # A shell as process 1 ignores the signal that ends a pod, so each pod takes the whole period to end.
    kubernetes.update({"helper_image": HELPER, "poll_interval": 1, "pod_termination_grace_period_seconds": 10})
    (directory / "config.toml").write_text(tomlkit.dumps(document))
    runner = Runner(cluster, server, directory, kubernetes["namespace"])
    with (directory / "runner.log").open("w") as log:
        process = subprocess.Popen(
            [RUNNER, "run", "--config", directory / "config.toml", "--working-directory", directory],
            env={**os.environ, "KUBECONFIG": kubeconfig or cluster.kubeconfig},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield runner
    finally:
        process.kill()
        process.wait()
        server.server.shutdown()
        server.server.server_close()
