"""The scripts of a job from the template, under the machine's sh and with BusyBox only, and stand-ins for the clients."""

import os
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml
from cdk8s import App, Chart, Duration, Size

from dindcache import ClaimedVolume, DindDaemon, DindFleet, FleetClient, GivenSecrets, NoTls, Tls
from dindcache._scripts import read_script
from dindcache.gitlab import GitLabCi, GitLabRunner
from tests.framework.command_lines import FILES, LINES

URL = "https://gitlab.example/group/app/-/jobs/7"
HOST = "tcp://docker-dind:2376"
# Prints each argument in brackets. `network inspect` is the question when the engine started.
CLIENT = """#!/bin/sh
case $* in "network inspect"*) echo >>"$CALLS.questions"; {answer}; exit ;; esac
printf '%s\n' "${{0##*/}}$(printf ' [%s]' "$@")" >>"$CALLS"
{client}
"""


@cache
def template() -> Any:
    """Return the template's jobs."""
    chart = Chart(App(), "chart", namespace="kube-ops")
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    return yaml.safe_load(GitLabCi(daemon=daemon, wait=Duration.seconds(15)).template())


class Job:
    """A job of the template with stand-ins for ``docker`` and ``docker-compose``.

    :param directory: Directory of the project
    :param search: Search path of all other programs
    """

    def __init__(self, directory: Path, search: str) -> None:
        self.directory, self.search = directory / "app", search
        self.directory.mkdir()
        self.dindcache = directory / "dindcache"
        self.clients = directory / "clients"
        self.clients.mkdir()
        jobs = template()
        (self.before,) = jobs[".dindcache"]["before_script"]
        (self.after,) = jobs[".dindcache"]["after_script"]
        (self.build,) = jobs[".dindcache-build"]["script"]
        self.calls_file = directory / "calls"
        self.environment: dict[str, str] = {
            "PATH": f"{self.clients}:{search}",
            "HOME": str(directory / "home"),
            "CALLS": str(self.calls_file),
            "CI_JOB_ID": "7",
            "CI_JOB_URL": URL,
            "CI_PROJECT_ID": "3",
            "CI_PROJECT_PATH_SLUG": "group-app",
            "CI_PROJECT_DIR": str(self.directory),
            "CI_COMMIT_SHA": "abc",
            "COMPOSE_PROJECT_NAME": "group-app-7",
            "DINDCACHE": str(self.dindcache),
            "DINDCACHE_WAIT": "0",
            "DOCKER_HOST": HOST,
            "DOCKER_CERT_PATH": "/certs/client",
            "REGISTRY": "registry.example",
        }
        self.set_client()

    def set_client(self, client: str = "", answer: str = "echo started monday") -> None:
        """Replace what the clients do after they recorded their call, and how they say when the engine started."""
        for name in ("docker", "docker-compose"):
            (self.clients / name).write_text(CLIENT.format(client=client, answer=answer))
            (self.clients / name).chmod(0o755)

    def command(self, script: str, *, before: bool = True) -> list[str]:
        """Return the command that runs a script as a Runner does: with bash if the image has it."""
        shell = ["sh", "-ec"] if shutil.which("bash", path=self.search) is None else ["bash", "-eo", "pipefail", "-c"]
        return [*shell, f"{self.before if before else ''}\n{script}"]

    def run(
        self, script: str, *, environment: dict[str, str] | None = None, before: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a script after before_script, and forget the calls of earlier ones."""
        if before:
            shutil.rmtree(self.dindcache, ignore_errors=True)
        self.calls_file.write_text("")
        done = subprocess.run(
            self.command(script, before=before),
            check=False,
            cwd=self.directory,
            umask=0,  # as a Runner sets it
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        print(done.stdout, done.stderr)  # for a test that fails
        return done

    @property
    def calls(self) -> list[str]:
        """Calls of the clients, except those that ask for the engine's start."""
        return self.calls_file.read_text().splitlines()


@pytest.fixture(params=["sh", "busybox"])
def job(request: Any, tmp_path: Path, image_path: str) -> Job:
    """A job with this machine's programs, or with those of BusyBox."""
    if request.param == "busybox" and shutil.which("busybox") is None:
        pytest.skip("needs busybox")
    return Job(tmp_path, image_path if request.param == "busybox" else os.environ["PATH"])


def test_each_command_line_reaches_the_client_with_what_is_documented(job):
    """All in one job: what the lines of the corpus give the client, first without and then with the wrapper."""
    for name, text in FILES.items():
        (job.directory / name).write_text(text)
    # The lines with an end of their own are for a real client.
    lines = [line for line in LINES if not re.search(r"sleep|timeout|seq", line)]
    assert len(lines) > 100

    def calls(path: str) -> list[list[str]]:
        script = "".join(f"{path}; echo '#' >>\"$CALLS\"\n({line}) || :\n" for line in lines)
        job.run(f"set +e\n{script}")
        return [sorted(part.strip().splitlines()) for part in job.calls_file.read_text().split("#\n")[1:]]

    plain, wrapped = calls('PATH="$DINDCACHE/client:$PATH"'), calls(":")
    assert len(plain) == len(lines)
    for line, expected, found in zip(lines, plain, wrapped, strict=True):
        added = "".join(f" [{word}]" for word in LINES[line].format(url=URL, project=3).split())
        # The wrapper asks compose whether there is something to build.
        calls_of_line = [call for call in found if not call.endswith(" [config] [--no-interpolate]")]
        assert sorted(call.replace(added, "", 1) for call in calls_of_line) == expected, line
        assert any(added in call for call in calls_of_line), line


OTHERS = {
    "a variable of the job": ({"DOCKER_HOST": "ssh://deploy@prod", "DINDCACHE_HOST": HOST}, ""),
    "exported by the script": ({}, "export DOCKER_HOST=ssh://deploy@prod;"),
    "no host": ({}, "unset DOCKER_HOST;"),
    "an empty environment": ({}, 'docker() { env -i CALLS="$CALLS" DOCKER_HOST=x PATH="$PATH" docker "$@"; };'),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_daemon_gets_what_the_job_says(job, other):
    environment, prefix = OTHERS[other]
    script = 'docker run app; docker build .; docker compose up -d; docker system prune -af; echo "${COMPOSE_PROJECT_NAME-}"'
    done = job.run(f"{prefix} {script}", environment=environment)
    assert done.returncode == 0
    assert job.calls == [
        "docker [run] [app]",
        "docker [build] [.]",
        "docker [compose] [up] [-d]",
        "docker [system] [prune] [-af]",
    ]
    job.set_client("exit 1", answer="echo started tuesday")
    assert job.run(f"{prefix} docker build .", environment=environment, before=False).returncode == 1
    assert len(job.calls) == 1
    job.set_client()
    job.run(f"{job.after}; ls -d $DINDCACHE/client", environment=environment, before=False)
    assert not [call for call in job.calls if "[rm]" in call]


def test_a_deployment_to_another_daemon_has_its_own_compose_project(job):
    job.set_client('echo "project ${COMPOSE_PROJECT_NAME-none}"')
    script = "docker compose up; docker -H ssh://prod compose up; COMPOSE_PROJECT_NAME=mine docker -H ssh://prod compose up"
    assert job.run(script).stdout.splitlines()[-3:] == ["project group-app-7", "project none", "project mine"]


@pytest.mark.parametrize("kind", ["system", "builder", "buildx", "image", "container", "network", "volume"])
def test_what_others_use_is_not_pruned(job, kind):
    done = job.run(f"docker {kind} prune --force")
    assert (done.returncode, job.calls) == (1, [])
    assert f"dindcache: docker {'buildx' if kind == 'builder' else kind} prune is refused" in done.stderr
    job.run(f"docker {kind} prune --force --filter label=dindcache.job=$CI_JOB_URL")
    assert len(job.calls) == 1


def test_no_variable_of_the_job_changes(job):
    """Names that a script could have for its own, exported as build arguments are."""
    names = """answer arguments begin child client command config context docker entry error errors file flag found format host
        id image kind last left level line logged name patience path proxy reason repository result script status started steps
        tag target try value variable version wait waited word words""".split()
    job.set_client("env")
    done = job.run("export " + " ".join(f"{name}=mine" for name in names) + "; docker build .; docker ps; set")
    for name in names:
        assert len(re.findall(f"^{name}='?mine'?$", done.stdout, re.MULTILINE)) == 3, name
    job.set_client("case $1 in build) env ;; history) exit 1 ;; esac")
    exported = "export " + " ".join(f"{name}=mine" for name in names)
    built = job.run(f"{exported}; {job.build}", environment={"DINDCACHE_BUILD_IMAGE": "app"}).stdout.splitlines()
    assert {f"{name}=mine" for name in names} <= set(built)


# The engine goes away during the first command, and starts anew.
BROKEN = """[ -e "$CALLS.tried" ] || {
    until [ "$(wc -l <"$CALLS.questions")" -ge 2 ]; do sleep 0.05; done # before_script has asked once
    sleep 0.2 # a question is counted before it is answered
    touch "$CALLS.tried"
    echo EOF >&2
    exit 1
}"""
RESTARTED = 'if [ -e "$CALLS.tried" ]; then echo started tuesday; else echo started monday; fi'


@pytest.mark.parametrize(
    "line",
    [
        "docker build .",
        "docker --debug buildx b .",
        "docker bake",
        "docker image build .",
        "docker pull app",
        "docker image push app",
        "docker login -p secret",
        "docker login --password=secret",
        "docker compose -f ci.yml build",
        "docker-compose pull",
    ],
)
def test_what_a_restart_broke_is_repeated(job, line):
    job.set_client(BROKEN, RESTARTED)
    done = job.run(line)
    assert done.returncode == 0
    assert len(job.calls) == 2
    assert "dindcache: the daemon was restarted, so once more: docker " in done.stderr


CONSUMED = re.compile("build.* (-f ?-|--file[= ]-|-qf-|-o-|--output=-|--output type=tar|-q - )")


@pytest.mark.parametrize(
    "line",
    [
        *(line.partition(" 2>/dev/null |")[0] for line in LINES if CONSUMED.search(line)),
        "docker build - <Dockerfile",
        "docker build --secret id=a,src=/dev/stdin .",
        "docker login --password-stdin registry.example <source",
        "docker login registry.example <source",
    ],
)
def test_what_was_read_or_written_is_not_repeated(job, line):
    for name in FILES:
        (job.directory / name).write_text("")
    job.set_client(BROKEN, RESTARTED)
    done = job.run(line)
    assert done.returncode == 75
    assert len(job.calls) == 1
    assert "dindcache: the daemon was restarted, and docker " in done.stderr


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("echo started monday", "the engine is the same"),
        ('if [ -e "$CALLS.later" ]; then echo started tuesday; else echo started monday; fi', "it was restarted before"),
        ("date +%N >&2; echo started monday", "the client warns"),
        ("case $(date +%N) in *[02468]) echo warning ;; esac; echo started monday", "the client warns on standard output"),
    ],
)
def test_a_failure_of_its_own_is_one(job, answer, why):
    job.set_client("exit 5", answer)
    assert job.run('touch "$CALLS.later"; docker build .').returncode == 5, why
    assert len(job.calls) == 1


def test_a_build_reads_standard_input_also_one_that_is_closed(job):
    job.set_client("cat")
    assert job.run("echo data | docker build -").stdout == "data\n"
    assert job.run("docker build . <&-").returncode == 0


def test_of_commands_at_once_each_is_repeated(job):
    """Three builds that one restart breaks, beside a command that it does not break and that goes on."""
    broken = BROKEN.replace("tried", "tried$word").replace("-ge 2", "-ge 4")
    # None asks before all are broken.
    broken = broken.replace(
        "echo EOF", "for name in a b c; do until [ -e $CALLS.tried$name ]; do sleep 0.05; done; done; echo EOF"
    )
    client = f'for word; do :; done; if [ "$1" = logs ]; then exec sleep 2; fi; {broken}'
    job.set_client(client, RESTARTED.replace("tried", "triedc"))
    script = "docker logs -f x & {} for build in $a $b $c; do wait $build; done; echo all; wait"
    done = job.run(script.format(" ".join(f"docker build {name} & {name}=$!;" for name in "abc")))
    assert done.stdout == "all\n"
    assert len([call for call in job.calls if "[build]" in call]) == 6


def test_a_signal_reaches_the_client_and_is_not_repeated(job):
    job.set_client("trap 'kill $!; echo ended; exit 9' TERM; sleep 60 & : >$CALLS.tried; wait", RESTARTED)
    script = "docker build . & child=$!; until [ -e $CALLS.tried ]; do sleep 0.1; done; kill $child; wait $child || echo $?"
    assert job.run(script).stdout.splitlines() == ["ended", "9"]
    assert len(job.calls) == 1


def test_a_signal_ends_the_wait_for_a_daemon(job):
    job.set_client('touch "$CALLS.tried"; exit 7', '[ ! -e "$CALLS.tried" ] || { echo refused; exit 1; }; echo started monday')
    waiting = "until grep -q waiting log; do sleep 0.1; done"
    script = f"docker build . 2>log & child=$!; {waiting}; kill $child; wait $child || echo $?"
    assert job.run(script, environment={"DINDCACHE_WAIT": "5m"}).stdout == "7\n"  # or it times out


def test_another_user_of_the_job_has_the_same_docker(job):
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or not setpriv:
        pytest.skip("needs root and setpriv, to run as somebody else")
    for path in job.directory.parents:
        if "pytest" in str(path):
            path.chmod(0o755)
    job.calls_file.write_text("")
    job.run(f"chmod 666 $CALLS; {setpriv} --reuid=65534 docker run app")
    assert job.calls == [f"docker [run] [--label] [dindcache.job={URL}] [app]"]


@pytest.mark.parametrize("name", ["HOME", "DOCKER_CONFIG"])
def test_a_configuration_that_cannot_be_written_is_copied(job, name):
    done = job.run('echo "$DOCKER_CONFIG"; [ -w "$DOCKER_CONFIG" ]', environment={name: "/proc/nowhere"})
    assert done.stdout == f"{job.dindcache}/config\n"
    assert not job.run('[ -z "${DOCKER_CONFIG-}" ]').returncode


def test_a_directory_that_cannot_be_created_is_named(job):
    for path in ("/proc/nowhere/dindcache", str(job.directory)):
        done = job.run("echo never", environment={"DINDCACHE": path})
        assert (done.returncode, done.stdout) == (1, "")
        assert "dindcache: the job's variable DINDCACHE must be a new directory" in done.stderr
    job.run(job.after, environment={"DINDCACHE": str(job.directory)}, before=False)
    assert job.directory.exists()


def test_an_image_without_docker_is_named(job):
    (job.clients / "docker").unlink()
    if shutil.which("docker", path=job.search):
        pytest.skip("needs a machine without docker")
    assert "dindcache: this job's image has no docker command" in job.run("echo never").stderr


def test_a_job_without_the_before_script_says_what_to_do(job):
    said = "A job with a before_script of its own begins it with - !reference [.dindcache, before_script]"
    for script in (job.build, job.after):
        done = job.run(script, before=False)
        assert said in done.stderr
    assert job.run(job.build, before=False).returncode == 1


ERRORS = [
    ("dial tcp: lookup docker-dind on 10.96.0.10:53: no such host", "no such name: the Service does not exist"),
    ("Cannot connect to the Docker daemon at tcp://x. Is the docker daemon running?", "refused: no daemon is ready"),
    ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "no trust: tls: failed to verify"),
    ("unable to resolve docker endpoint: open /certs/client/ca.pem: no such file or directory", "no certificate: unable to"),
    ("Client sent an HTTP request to an HTTPS server.", "no trust: Client sent"),
    (
        "Error response from daemon: client version 1.39 is too old. Minimum supported API version is 1.40",
        "the daemon answers, but this client is too old for it: use a newer image, or remove DOCKER_API_VERSION",
    ),
    ("Error response from daemon: something else", "not usable: Error response from daemon: something else"),
    ("error during connect: read tcp: i/o timeout", "no answer: does the job's pod have the label dindcache/client? error"),
    ("", "no answer: does the job's pod have the label dindcache/client?; waited"),
]


@pytest.mark.parametrize(("error", "message"), ERRORS)
def test_a_job_without_a_daemon_reports_the_reason(job, error, message):
    job.set_client(answer=f"echo '{error}' >&2; exit 1")
    done = job.run("echo never")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"dindcache: {HOST}: {message}" in done.stderr


def test_an_old_client_is_not_waited_for(job):
    job.set_client(answer=f"echo '{ERRORS[5][0]}' >&2; exit 1")
    assert "; waited 0 s" in job.run("echo never", environment={"DINDCACHE_WAIT": "19m"}).stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HTTPS_PROXY": "http://proxy:3128", "DOCKER_TLS_VERIFY": "1"}, True),
        ({"https_proxy": "http://proxy:3128", "DOCKER_TLS_VERIFY": "1", "NO_PROXY": "docker,localhost, *.svc"}, True),
        ({"HTTP_PROXY": "http://proxy:3128"}, True),
        ({"HTTPS_PROXY": "http://proxy:3128"}, False),
        ({"HTTPS_PROXY": "http://proxy:3128", "DOCKER_TLS_VERIFY": "1", "NO_PROXY": "a,docker-dind"}, False),
        ({"HTTPS_PROXY": "http://proxy:3128", "DOCKER_TLS_VERIFY": "1", "no_proxy": "*"}, False),
        ({"HTTPS_PROXY": "x", "DOCKER_TLS_VERIFY": "1", "no_proxy": ".svc", "DOCKER_HOST": "tcp://a.b.svc:2376"}, False),
        ({"HTTPS_PROXY": "x", "DOCKER_TLS_VERIFY": "1", "no_proxy": "*.svc", "DOCKER_HOST": "tcp://a.b.svc:2376"}, False),
        ({"HTTPS_PROXY": "x", "DOCKER_TLS_VERIFY": "1", "no_proxy": "svc", "DOCKER_HOST": "tcp://a.b.svc:2376"}, False),
        ({"HTTPS_PROXY": "x", "DOCKER_TLS_VERIFY": "1", "no_proxy": "vc", "DOCKER_HOST": "tcp://a.b.svc:2376"}, True),
    ],
)
@pytest.mark.parametrize("error", ["error during connect: Forbidden", "Is the docker daemon running?"])
def test_a_proxy_before_the_daemon_is_named(job, environment, said, error):
    job.set_client(answer=f"echo '{error}' >&2; exit 1")
    done = job.run("echo never", environment=environment)
    assert ("a proxy stands before the daemon: add its host to NO_PROXY" in done.stderr) is said


def test_a_job_of_a_runner_without_a_daemon_reports_it(job):
    done = job.run("echo never", environment={"DOCKER_HOST": ""})
    assert done.returncode == 1
    assert "dindcache: this job has no daemon: DOCKER_HOST is not set" in done.stderr


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h0m08s", 3608), ("010", 10), ("2h", 7200), ("", 15)],
)
def test_a_time_to_wait(job, wait, seconds):
    job.set_client(answer='[ -e "$CALLS.tried" ] && echo started monday || { touch "$CALLS.tried"; echo refused; exit 1; }')
    done = job.run("echo there", environment={"DINDCACHE_WAIT": wait})
    if seconds:
        assert f"refused: no daemon is ready; waiting up to {seconds} s" in done.stderr
        assert done.stdout == "there\n"
    else:
        assert "refused: no daemon is ready; waited 0 s" in done.stderr


@pytest.mark.parametrize("wait", ["5.0", "m", "5m1h", "-1", "1d", "5 m", "1\n2", "s", "1234567"])
def test_a_time_that_is_none_is_rejected_at_once(job, wait):
    done = job.run("echo never", environment={"DINDCACHE_WAIT": wait})
    assert done.returncode == 64
    assert f"dindcache: DINDCACHE_WAIT must be a time such as 90, 5m or 1h30m, got '{wait}'" in done.stderr


BUILD = {"DINDCACHE_BUILD_IMAGE": "registry.example:5000/group/app"}
RECORD = """case $* in
*--metadata-file*) printf '{\\n  "buildx.build.ref": "default/default/abc"\\n}' >"$DINDCACHE/build.json" ;;
*"history logs"*) cat >&2 <<'END'
{"vertexes":[{"digest":"1","name":"[internal] load"},{"digest":"2","inputs":["1"],"name":"[a 1/3] FROM busybox"},\
{"digest":"3","name":"[a 2/3] RUN echo [1/2] FROM"},{"digest":"4","name":"[linux/amd64 b 3/3] COPY . ."},\
{"digest":"3","name":"[a 2/3] RUN echo [1/2] FROM","started":"2026-11-27T23:59:59.5Z","completed":"2026-11-27T23:59:59.5Z",\
"cached":true},{"digest":"6","name":"[linux/amd64 b 4/4] RUN not reached"},{"digest":"5","name":"exporting"}]}
{"vertexes":[{"digest":"4","name":"[linux/amd64 b 3/3] COPY . .","started":"2026-11-27T23:59:59.5Z",\
"completed":"2026-11-28T00:00:01.0Z"}],"statuses":[{"id":"x","vertex":"6","completed":"2026-11-27T23:59:59.5Z"}]}
END
;;
"image inspect"*) echo 12345678 ;;
esac"""


def test_a_build_has_a_tag_of_its_own_and_those_asked_for(job):
    job.set_client(RECORD)
    given = {
        "TAGS": "main  v1",
        "ARGS": "VERSION",
        "FILE": "app/Dockerfile",
        "TARGET": "test",
        "RESULT": "IMAGE_app",
        "FLAGS": "--secret id=token,env=TOKEN  --platform linux/amd64\n--label 'two words' --label *",
    }
    environment = {**BUILD, **{f"DINDCACHE_BUILD_{name}": value for name, value in given.items()}}
    done = job.run(f"mkdir elsewhere; cd elsewhere; {job.build}", environment=environment)
    app = BUILD["DINDCACHE_BUILD_IMAGE"]
    assert job.calls[0] == (
        f"docker [build] [--build-arg] [BUILDKIT_CACHE_MOUNT_NS=3] [--push] [--metadata-file] [{job.dindcache}/build.json] "
        f"[--tag] [{app}:abc-7] [--tag] [{app}:main] [--tag] [{app}:v1] [--build-arg] [VERSION] [--file] [app/Dockerfile] "
        "[--target] [test] [--secret] [id=token,env=TOKEN] [--platform] [linux/amd64] [--label] [two words] [--label] [*] [.]"
    )
    assert (job.directory / "dindcache-build.env").read_text() == f"IMAGE_app={app}:abc-7\n"
    assert re.search(r"dindcache: 1 of 2 steps cached, \d+ s, image of 12 MB", done.stderr)


def test_a_build_without_a_record_has_no_line_about_it(job):
    for client in ("case $1 in build) ;; *) exit 1 ;; esac", f"echo noise; {RECORD}", f"echo noise >&2; {RECORD}"):
        job.set_client(client)
        assert job.run(job.build, environment=BUILD).returncode == 0


LOGIN = {"CI_REGISTRY": "registry.example", "CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": "secret"}
PROXY = {f"CI_DEPENDENCY_PROXY_{name}": f"proxy-{name.lower()}" for name in ("SERVER", "USER", "PASSWORD")}


def test_a_login_shows_no_password(job):
    trace = job.run(f"set -x; {job.build}", environment={**BUILD, **LOGIN, **PROXY})
    assert job.calls[:2] == [
        "docker [login] [--username] [proxy-user] [--password-stdin] [proxy-server]",
        "docker [login] [--username] [ci] [--password-stdin] [registry.example]",
    ]
    assert not re.search("secret|proxy-password", trace.stdout + trace.stderr)


@pytest.mark.parametrize("missing", ["CI_REGISTRY", "CI_REGISTRY_USER", "CI_DEPENDENCY_PROXY_USER", "CI_COMMIT_SHA"])
def test_a_variable_that_is_missing_is_named(job, missing):
    done = job.run(job.build, environment={**BUILD, **LOGIN, **PROXY, missing: ""})
    assert done.returncode == 64
    assert f"dindcache: the variable {missing} is needed " in done.stderr
    assert not [call for call in job.calls if "[build]" in call]


def test_a_push_uses_the_credentials_of_the_login(job):
    job.set_client('[ "$1" != build ] || echo "$DOCKER_AUTH_CONFIG"')
    config = '{"auths": {"registry.example": {"auth": "b2xk"}, "other.example" : {"auth": "a2VlcA=="}}}'
    done = job.run(job.build, environment={**BUILD, **LOGIN, "DOCKER_AUTH_CONFIG": config})
    assert config.replace('"registry.example"', '"unused.invalid"') in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("IMAGE", "", "must be a repository such as registry.example/group/app, without a tag, got ''"),
        ("IMAGE", "app:latest", "got 'app:latest'"),
        ("IMAGE", "Group/App", "got 'Group/App'"),
        ("IMAGE", "app\nA=1", "got 'app\nA=1'"),
        ("CONTEXT", "", "must be a directory or a URL, got ''"),
        ("CONTEXT", "nowhere", "must be a directory or a URL, got 'nowhere'"),
        ("RESULT", "my-image", "must be the name of a variable, got 'my-image'"),
        ("RESULT", "A\nB", "must be the name of a variable, got 'A\nB'"),
        ("TAGS", "ok v/1", "must be tags with spaces between, got 'v/1'"),
        ("ARGS", "A=1", "must be names of variables with spaces between, got 'A=1'"),
        ("FLAGS", "--label 'a", "must be flags with spaces between, and quotes in pairs, got '--label 'a'"),
    ],
)
def test_a_build_that_cannot_be_is_rejected_before_it_begins(job, name, value, message):
    done = job.run(job.build, environment={**BUILD, f"DINDCACHE_BUILD_{name}": value})
    assert done.returncode == 64
    assert message in done.stderr
    assert f"DINDCACHE_BUILD_{name}" in done.stderr
    assert job.calls == []


@pytest.mark.parametrize("context", ["https://gitlab.example/group/app.git#main:docker", "git@gitlab.example:group/app.git"])
def test_a_repository_is_a_context(job, context):
    job.run(job.build, environment={**BUILD, "DINDCACHE_BUILD_CONTEXT": context})
    assert job.calls[0].endswith(f" [{context}]")


# Two objects of each kind, one of them of this job. They go when they are removed.
OBJECTS = r"""case "$*" in
"ps "*|*" ls "*) [ -e "$CALLS.$1.removed" ] || printf '%s\t%s\t%s\n' "$1-mine" "$CI_JOB_URL" "" "$1-composed" "" group-app-7 \
    "$1-other" https://gitlab.example/group/app/-/jobs/77 group-app-77 ;;
*" rm "*|"rm "*) {rm} ;;
esac"""


@pytest.mark.parametrize(
    ("project", "removed"), [("group-app-7", True), ("mine-7", True), ("7", True), ("mine-77", False), ("", False)]
)
def test_a_compose_project_that_the_job_names_is_removed_if_it_is_its_own(job, project, removed):
    lines = f"case $1 in ps) [ -e $CALLS.removed ] || printf 'id\\t\\t{project}\\n' ;; rm) : >$CALLS.removed ;; esac"
    job.set_client(lines)
    assert job.run(job.after, environment={"COMPOSE_PROJECT_NAME": project}).returncode == 0
    assert ("docker [rm] [--force] [--volumes] [id]" in job.calls) is removed


def test_what_the_job_left_is_removed_and_nothing_else(job):
    job.set_client(OBJECTS.replace("{rm}", 'case $1 in rm) : >"$CALLS.ps.removed" ;; *) : >"$CALLS.$1.removed" ;; esac'))
    done = job.run(f"cd /; {job.after}")
    assert done.returncode == 0
    assert [call for call in job.calls if "[rm]" in call] == [
        "docker [rm] [--force] [--volumes] [ps-mine] [ps-composed]",
        "docker [network] [rm] [network-mine] [network-composed]",
        "docker [volume] [rm] [volume-mine] [volume-composed]",
    ]
    assert not job.dindcache.exists()


def test_what_cannot_be_removed_is_reported(job):
    job.set_client(OBJECTS.replace("{rm}", "echo it is in use >&2; exit 1"))
    done = job.run(job.after)
    assert done.returncode == 1
    assert "dindcache: could not remove what this job left on the daemon: ps-mine\nps-composed: it is in use" in done.stderr


@pytest.mark.parametrize("certificate", ["/certs/client", ""])
@pytest.mark.parametrize(
    "host", ["tcp://docker:2375", "tcp://docker:2376", "tcp://localhost:2375", HOST, "ssh://deploy@prod", ""]
)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_job_for_a_service_uses_the_daemon_of_the_runner(job, shell, host, certificate):
    inputs = f"dindcache_host={HOST} dindcache_certificate={certificate}"
    script = f"{inputs}\n{read_script('gitlab/pre-build-script.sh')}env"
    given = {"DOCKER_HOST": host, "DOCKER_CERT_PATH": "/client", "DOCKER_TLS_VERIFY": "", "https_proxy": "p", "no_proxy": "a,b"}
    command = [shutil.which(shell) or shell, "-euc", script]
    later = job.directory / "gitlab_runner_env"
    later.touch()
    environment = {**job.environment, **given, "GITLAB_ENV": str(later)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert found["DINDCACHE_HOST"] == HOST
    exported = dict(line.split("=", 1) for line in later.read_text().splitlines())
    assert exported.items() <= {"DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": "", **found}.items()
    assert bool(exported) is (host not in {"ssh://deploy@prod", ""})
    if host in {"ssh://deploy@prod", ""}:
        assert {name: found[name] for name in given} == given
        assert done.stderr == ""
        return
    assert found["DOCKER_HOST"] == HOST
    assert (found.get("DOCKER_TLS_VERIFY"), found.get("DOCKER_CERT_PATH")) == (
        ("1", certificate) if certificate else (None, None)
    )
    assert found["NO_PROXY"] == found["no_proxy"] == "a,b,docker-dind"
    assert (f"dindcache: DOCKER_HOST={host} is that of a docker:dind service" in done.stderr) is (host != HOST)


FLEET_CLIENT = """#!/bin/sh
echo "$DOCKER_HOST $DOCKER_TLS_VERIFY $DOCKER_CERT_PATH" >>"$CALLS"
echo answer
"""


@cache
def fleet_runner(tls: Tls) -> tuple[str, FleetClient]:
    """Return the pre_build_script for a fleet, and the fleet as its jobs use it."""
    chart = Chart(App(), "chart", namespace="kube-ops")
    volumes = {f"node{i}": ClaimedVolume(chart, f"docker-{i}", storage=Size.gibibytes(1)) for i in range(3)}
    fleet = DindFleet(chart, "docker", volumes=volumes, tls=tls)
    config = tomli.loads(GitLabRunner(daemon=fleet, namespace="kube-ops").config())
    return config["runners"][0]["pre_build_script"], fleet.client()


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("tls", [GivenSecrets(server="a", client="b"), NoTls()], ids=["tls", "plain"])
@pytest.mark.parametrize("host", [None, "tcp://docker:2376", "ssh://deploy@prod"])
@pytest.mark.parametrize("key", [None, "", "group/app backend"])
def test_a_job_gets_the_member_of_its_key(job, shell, tls, host, key):
    script, fleet = fleet_runner(tls)
    (job.clients / "docker").write_text(FLEET_CLIENT)
    later = job.directory / "gitlab_runner_env"
    later.touch()
    environment = {**job.environment, "GITLAB_ENV": str(later), "CI_PROJECT_PATH": "group/app", "KEY": "mine", "x": "mine"}
    given = {"DOCKER_HOST": host, "DINDCACHE_KEY": key, "DOCKER_CERT_PATH": None}
    environment |= {name: value for name, value in given.items() if value is not None}
    for name in [name for name, value in given.items() if value is None]:
        environment.pop(name, None)
    command = [shutil.which(shell) or shell, "-euc", f"{script}env"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert (found["KEY"], found["x"]) == ("mine", "mine")
    if host == "ssh://deploy@prod":
        assert (found["DOCKER_HOST"], found["DINDCACHE_HOST"], done.stderr) == (host, "docker", "")
        return
    member = fleet.order(key or "group/app")[0]
    chosen = fleet.clients[member].host
    assert found["DOCKER_HOST"] == found["DINDCACHE_HOST"] == chosen
    assert f"dindcache: the daemon of this job is {member}\n" in done.stderr
    assert ("DINDCACHE_KEY is empty, so the path of the project is the key" in done.stderr) is (key == "")
    assert ("is that of a docker:dind service" in done.stderr) is (host is not None)
    certificate = "" if isinstance(tls, NoTls) else "1 /certs/client"
    assert job.calls_file.read_text().split() == f"{chosen} {certificate}".split()
    assert f"DOCKER_HOST={chosen}\n" in later.read_text()


# `run` holds a place until standard input ends. As many others as the file says began earlier, and end after two questions.
PLACES = """case $1 in
image) exit ;;
run)
    {run}
    while [ $# -gt 0 ]; do if [ "$1" = --cidfile ]; then echo own >"$2"; fi; shift; done
    echo held >>"$CALLS.places"
    cat
    echo free >>"$CALLS.places"
    exit
    ;;
ps) exit ;;
inspect)
    i=0
    while [ "$i" -lt "$(cat "$CALLS.others")" ]; do i=$((i + 1)); echo "2026-01-01T00:00:0$i.5Z other$i"; done
    echo "2026-01-02T00:00:00Z own"
    echo >>"$CALLS.asked"
    if [ "$(wc -l <"$CALLS.asked")" -gt 1 ]; then echo 0 >"$CALLS.others"; fi
    exit
    ;;
esac
"""


@pytest.mark.parametrize("others", [0, 1, 2, 5])
def test_a_build_waits_for_its_turn_and_gives_its_place_back(job, others):
    job.set_client(client=PLACES.format(run=""))
    (job.directory.parent / "calls.others").write_text(str(others))
    done = job.run("docker build .; docker pull busybox", environment={"DINDCACHE_MAX_BUILDS": "2"})
    assert done.returncode == 0
    waited = [line for line in done.stderr.splitlines() if "at once" in line or "turn" in line]
    assert waited == (
        [f"dindcache: the daemon runs 2 builds at once; waiting as number {others - 1}", "dindcache: it is this build's turn"]
        if others >= 2
        else []
    )
    calls = [call for call in job.calls if call.split()[1] not in {"[ps]", "[inspect]", "[image]"}]
    assert [call.split()[1] for call in calls] == ["[run]", "[build]", "[pull]"]
    assert "[--label] [dindcache.place] [--label] [dindcache.job=https://gitlab.example/group/app/-/jobs/7]" in calls[0]
    places = job.directory.parent / "calls.places"
    for _ in range(100):
        if places.read_text().split() == ["held", "free"]:
            break
        time.sleep(0.05)
    assert places.read_text().split() == ["held", "free"]


def test_a_build_that_gets_no_place_runs_and_says_so(job):
    job.set_client(client=PLACES.format(run="echo no space >&2; exit 125"))
    (job.directory.parent / "calls.others").write_text("0")
    done = job.run("docker build .", environment={"DINDCACHE_MAX_BUILDS": "2"})
    assert done.returncode == 0
    assert "dindcache: this build runs regardless of the limit, since it gets no place: no space" in done.stderr
    assert "[build]" in job.calls[-1]
