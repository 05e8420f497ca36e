"""The scripts of a job, under the machine's sh and with BusyBox only."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dindcache._scripts import read_scripts

SCRIPTS = [f"gitlab/{name}.sh" for name in ("wait", "docker-wrapper", "build", "clean")]
JOB = {
    "CI_JOB_ID": "7",
    "CI_JOB_URL": "https://gitlab.example/group/app/-/jobs/7",
    "CI_PROJECT_ID": "3",
    "CI_COMMIT_SHA": "abc",
    "COMPOSE_PROJECT_NAME": "group-app-7",
    "DINDCACHE_WAIT": "0",
    "WAIT_SECONDS": "0",
    "DOCKER_HOST": "tcp://docker-dind:2376",
}


@pytest.fixture(params=["sh", "busybox"])
def job(request, tmp_path):
    """Run a script of a job with a stand-in for docker, which prints its calls, and for the engine's start an answer."""
    search = os.environ["PATH"]
    if request.param == "busybox":
        busybox = shutil.which("busybox")
        if busybox is None:
            pytest.skip("needs busybox")
        search = str(tmp_path / "busybox")
        Path(search).mkdir()
        subprocess.run([busybox, "--install", "-s", search], check=True)
    directory = tmp_path / "dindcache"

    def run(
        script: str,
        *arguments: str,
        docker: str = "",
        answer: str = "echo monday",
        environment: dict[str, str | None] | None = None,
    ):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name, text in read_scripts("common.sh", *SCRIPTS).items():
            (directory / name).write_text(text)
        (directory / "docker").write_text(
            f'#!/bin/sh\ncase $* in "network inspect"*) {answer}; exit ;; esac\necho "docker $*"\n{docker}\n'
        )
        (directory / "docker").chmod(0o755)
        (directory / "started").write_text("monday\n")
        variables = {"PATH": f"{directory}:{search}", "DINDCACHE": str(directory), **JOB, **(environment or {})}
        return subprocess.run(
            ["sh", directory / script, *arguments],
            check=False,
            cwd=tmp_path,
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.mark.parametrize(
    ("command", "called"),
    [
        ("run --rm app", "run --label dindcache.job={url} --rm app"),
        ("create app", "create --label dindcache.job={url} app"),
        ("container run app", "container run --label dindcache.job={url} app"),
        ("network create n", "network create --label dindcache.job={url} n"),
        ("volume create v", "volume create --label dindcache.job={url} v"),
        ("build .", "build --build-arg BUILDKIT_CACHE_MOUNT_NS=3 ."),
        ("buildx build --push .", "buildx build --build-arg BUILDKIT_CACHE_MOUNT_NS=3 --push ."),
        ("compose build web", "compose build --build-arg BUILDKIT_CACHE_MOUNT_NS=3 web"),
        ("compose up", "compose up"),
        ("ps", "ps"),
        ("", ""),
    ],
)
def test_what_docker_is_called_with(job, tmp_path, command, called):
    done = job("docker-wrapper.sh", *command.split())
    assert done.stdout == f"docker {called.format(url=JOB['CI_JOB_URL'])}\n"
    made = (tmp_path / "dindcache" / "made").exists()
    assert made is ("label" in called or command == "compose up")


# A stand-in whose first call fails as when the engine goes away, and which has started anew since.
RESTARTED = {"docker": '[ -e "$0.tried" ] || { touch "$0.tried"; echo EOF >&2; exit 1; }', "answer": "echo tuesday"}


def test_a_build_that_a_restart_broke_is_built_again(job):
    done = job("docker-wrapper.sh", "build", ".", **RESTARTED)
    assert done.returncode == 0
    assert done.stdout.count("docker build") == 2
    assert "dindcache: the daemon was restarted, so once more: docker build" in done.stderr


@pytest.mark.parametrize("command", ["run app", "build -", "login --password-stdin"])
def test_what_cannot_be_done_twice_has_gitlab_try_the_job_again(job, command):
    done = job("docker-wrapper.sh", *command.split(), **RESTARTED)
    assert done.returncode == 75
    assert done.stdout.count(f"docker {command.split()[0]}") == 1


def test_a_failure_of_its_own_is_one(job):
    done = job("docker-wrapper.sh", "build", ".", docker="exit 5")
    assert done.returncode == 5
    assert done.stdout.count("docker build") == 1


def test_docker_reads_standard_input(job, tmp_path):
    job("docker-wrapper.sh")
    command = ["sh", str(tmp_path / "dindcache" / "docker-wrapper.sh"), "load"]
    (tmp_path / "dindcache" / "docker").write_text("#!/bin/sh\ncat\n")
    environment = {"PATH": os.environ["PATH"], "DINDCACHE": str(tmp_path / "dindcache"), **JOB}
    assert subprocess.run(command, input="image", capture_output=True, text=True, env=environment, check=True).stdout == "image"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("dial tcp: lookup docker-dind on 10.96.0.10:53: no such host", "no such name: the Service does not exist"),
        ("Cannot connect to the Docker daemon at tcp://x. Is the docker daemon running?", "refused: no daemon is ready"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "no trust: tls: failed to verify"),
        ("unable to resolve docker endpoint: open /certs/client/ca.pem: no such file or directory", "no trust: unable to"),
        ("Client sent an HTTP request to an HTTPS server.", "no trust: Client sent"),
        (
            "error during connect: EOF",
            "no answer: does the job's pod have the label dindcache/client? error during connect: EOF",
        ),
        ("", "no answer: does the job's pod have the label dindcache/client?; waited"),
    ],
)
def test_a_job_without_a_daemon_says_what_is_wrong(job, tmp_path, error, message):
    done = job("wait.sh", answer=f"echo '{error}' >&2; exit 1")
    assert done.returncode == 1
    assert f"dindcache: tcp://docker-dind:2376: {message}" in done.stderr


def test_a_job_of_a_runner_without_a_daemon_says_so(job):
    done = job("wait.sh", environment={"DOCKER_HOST": None})
    assert done.returncode == 1
    assert "dindcache: this job has no daemon: DOCKER_HOST is not set" in done.stderr


def test_a_daemon_that_comes_is_waited_for(job):
    refused = 'if [ ! -e "$0.tried" ]; then touch "$0.tried"; echo refused; exit 1; fi; echo monday'
    done = job("wait.sh", answer=refused, environment={"WAIT_SECONDS": "30"})
    assert done.returncode == 0
    assert "refused: no daemon is ready; waiting up to 30 s" in done.stderr


BUILD = {"DOCKER_BUILD_IMAGE": "registry.example:5000/group/app"}


def test_a_build_has_a_tag_of_its_own_and_those_asked_for(job, tmp_path):
    asked = {"TAGS": "main  v1", "ARGS": "VERSION", "FILE": "app/Dockerfile", "TARGET": "test", "RESULT": "APP"}
    done = job("build.sh", environment={**BUILD, **{f"DOCKER_BUILD_{name}": value for name, value in asked.items()}})
    app = BUILD["DOCKER_BUILD_IMAGE"]
    assert done.stdout.splitlines() == [
        (
            f"docker build --push --tag {app}:abc-7 --tag {app}:main --tag {app}:v1 "
            "--build-arg VERSION --file app/Dockerfile --target test ."
        )
    ]
    assert (tmp_path / "docker-build.env").read_text() == f"APP={app}:abc-7\n"


def test_a_login_shows_no_password(job):
    login = {"CI_REGISTRY": "registry.example", "CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": "secret"}
    trace = job("build.sh", environment={**BUILD, **login, "CI_REGISTRY_IMAGE": None}, docker="cat >/dev/null")
    assert trace.stdout.startswith("docker login --username ci --password-stdin registry.example\n")
    assert "secret" not in trace.stdout + trace.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("IMAGE", "", "must be a repository such as registry.example/group/app, without a tag, got ''"),
        ("IMAGE", "app:latest", "got 'app:latest'"),
        ("IMAGE", "Group/App", "got 'Group/App'"),
        ("CONTEXT", "", "must be a directory, got ''"),
        ("CONTEXT", "nowhere", "must be a directory, got 'nowhere'"),
        ("RESULT", "my-image", "must be the name of a variable, got 'my-image'"),
        ("TAGS", "ok v/1", "must be tags with spaces between, got 'v/1'"),
        ("ARGS", "A=1", "must be names of variables with spaces between, got 'A=1'"),
    ],
)
def test_a_build_that_cannot_be_is_refused_before_it_begins(job, name, value, message):
    done = job("build.sh", environment={**BUILD, f"DOCKER_BUILD_{name}": value})
    assert done.returncode == 64
    assert message in done.stderr
    assert f"DOCKER_BUILD_{name}" in done.stderr
    assert done.stdout == ""


def test_a_job_that_made_nothing_asks_nothing_of_the_daemon(job, tmp_path):
    done = job("clean.sh")
    assert (done.returncode, done.stdout) == (0, "")
    assert not (tmp_path / "dindcache").exists()
