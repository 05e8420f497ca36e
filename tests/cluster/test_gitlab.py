"""Job pods as a GitLab Runner makes them of its configuration, in another namespace than the daemon's."""

import re

import pytest
import tomli
import yaml
from cdk8s import Duration, Yaml

from dindcache import DindDaemon, SelfIssued
from dindcache.gitlab import GitLabCi, GitLabRunner
from tests.framework.cluster import Cluster
from tests.framework.site import APP, Site
from tests.framework.support import REGISTRY

NAMESPACE, JOBS = "dindcache-gitlab", "dindcache-gitlab-jobs"
COMPOSE = """services:
  web:
    image: busybox
    command: sh -c "echo hello >index; nc -l -p 80 <index"
  test:
    image: busybox
    command: sh -c "until nc web 80 >said; do sleep 0.1; done; cat said"
    depends_on: [web]
"""
CACHE_MOUNT = """FROM busybox
ARG job
RUN --mount=type=cache,target=/cache cat /cache/job >/before 2>/dev/null || :; echo $job >/cache/job
CMD cat /before
"""


@pytest.fixture(scope="module")
def daemon(site: Site) -> DindDaemon:
    return site.daemon(tls=SelfIssued(client_namespaces=[JOBS]), drain_timeout=Duration.seconds(30))


def run_job(cluster: Cluster, daemon: DindDaemon, name: str, script: str, *, labelled: bool = True, fails: bool = False) -> str:
    """What a job prints in a pod that the executor makes for it: a shell gets the script, the image's entrypoint is not run."""
    (runner,) = tomli.loads(GitLabRunner(daemon=daemon, namespace=JOBS).config())["runners"]
    kubernetes = runner["kubernetes"]
    secrets = kubernetes["volumes"]["secret"]
    container = {
        "name": "build",
        "image": "docker:29.9.3-cli",
        "command": ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"],
        "env": [dict(zip(("name", "value"), word.split("=", 1), strict=True)) for word in runner["environment"]],
        "securityContext": {"privileged": kubernetes["privileged"]},
        "volumeMounts": [{"name": s["name"], "mountPath": s["mount_path"], "readOnly": s["read_only"]} for s in secrets],
    }
    volumes = [
        {
            "name": s["name"],
            "secret": {"secretName": s["name"], "items": [{"key": k, "path": p} for k, p in s["items"].items()]},
        }
        for s in secrets
    ]
    metadata = {"name": name, "namespace": kubernetes["namespace"], "labels": kubernetes["pod_labels"] if labelled else {}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], "volumes": volumes}}
    cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(pod))
    cluster.kubectl("wait", f"--namespace={JOBS}", f"pod/{name}", "--for=condition=Ready", "--timeout=90s")
    done = cluster.run("exec", f"--namespace={JOBS}", name, "--", "sh", "-euxc", f"exec 2>&1; {script}")
    cluster.kubectl("delete", "pod", name, f"--namespace={JOBS}", "--wait=false")
    print(done.stdout)  # for a test that fails
    assert (done.returncode != 0) is fails
    assert "PRIVATE KEY" not in done.stdout
    return done.stdout


def from_template(daemon: DindDaemon, job: str, number: int, script: str = "", wait: int = 60) -> str:
    """A job of the template as one script, with a script of its own for ``.docker``."""
    jobs = yaml.safe_load(GitLabCi(daemon=daemon, wait=Duration.seconds(wait)).template())
    variables = {
        "CI_JOB_ID": number,
        "CI_JOB_URL": f"https://gitlab.example/group/app/-/jobs/{number}",
        "CI_PROJECT_ID": 1,
        "CI_PROJECT_PATH_SLUG": "group-app",
        "CI_COMMIT_SHA": "abc",
        "CI_REGISTRY": REGISTRY,
        "CI_REGISTRY_IMAGE": f"{REGISTRY}/gitlab",
        "CI_REGISTRY_USER": "ci",
        **jobs[".docker"]["variables"],
    }
    export = [f"export {name}={value}" for name, value in variables.items()]
    # As GitLab gives it to the job's processes: not in what the shell traces.
    registry = "set +x; export CI_REGISTRY_PASSWORD=so-secret; set -x"
    scripts = [*jobs[".docker"]["before_script"], *jobs[job].get("script", [script]), *jobs[".docker"]["after_script"]]
    return "\n".join([*export, registry, *scripts])


def test_a_second_job_builds_from_the_cache_of_the_first(cluster, daemon):
    build = "printf 'FROM busybox\\nRUN sleep 1; date >built\\n' | docker build --progress=plain -t app -"
    assert "CACHED" not in run_job(cluster, daemon, "first", build).partition("RUN sleep 1")[2]
    assert "CACHED" in run_job(cluster, daemon, "second", build).partition("RUN sleep 1")[2]
    assert "hello" in run_job(cluster, daemon, "run", "docker run --rm busybox echo hello").splitlines()


def test_compose_with_two_services(cluster, daemon):
    up = "docker compose up --quiet-pull --abort-on-container-exit --exit-code-from test"
    script = f"mkdir /tmp/app; cd /tmp/app; cat >compose.yaml <<'END'\n{COMPOSE}END\n{up}; docker compose down"
    assert "hello" in run_job(cluster, daemon, "compose", script)


def test_tests_in_a_container_reach_what_they_start(cluster, daemon):
    """As Testcontainers does: through the daemon's socket, and by a published port of the bridge's gateway."""
    script = r"""docker run --rm -i --volume /var/run/docker.sock:/var/run/docker.sock docker:29.9.3-cli sh -eu <<'END'
docker run --detach --rm --publish 18080:80 busybox sh -c 'echo hello >/index; nc -l -p 80 </index'
gateway=$(ip route | sed -n 's/default via \([^ ]*\).*/\1/p')
until nc $gateway 18080 | grep hello; do sleep 0.1; done
END"""
    assert "hello" in run_job(cluster, daemon, "testcontainers", script).splitlines()


def test_cache_mounts_of_two_projects(cluster, daemon):
    def build(job: str, project: str) -> str:
        build = f"docker build -q -t {job} --build-arg job={job} --build-arg BUILDKIT_CACHE_MOUNT_NS={project} /tmp/app"
        script = f"mkdir /tmp/app; cat >/tmp/app/Dockerfile <<'END'\n{CACHE_MOUNT}END\n{build}; docker run --rm {job}"
        return run_job(cluster, daemon, job, script).splitlines()[-1]

    build("first-of-a", "1")
    assert build("second-of-a", "1") == "first-of-a"
    assert "of-a" not in build("first-of-b", "2").removeprefix("+ docker run --rm first-of-b")


def test_jobs_of_the_template(cluster, daemon):
    sources = "mkdir /tmp/app; cd /tmp/app; printf 'FROM busybox\\nRUN sleep 2; date >built\\n' >Dockerfile\n"
    first = run_job(cluster, daemon, "template-first", sources + from_template(daemon, ".docker-build", 1))
    cached = r"RUN sleep 2; date >built\n#\d+ CACHED"
    assert not re.search(cached, first)
    assert "so-secret" not in first
    assert "Login Succeeded" in first
    second = run_job(cluster, daemon, "template-second", sources + from_template(daemon, ".docker-build", 2))
    assert re.search(cached, second)
    script = f"docker run --detach busybox sleep 600; docker pull {REGISTRY}/gitlab:abc-2"
    run_job(
        cluster,
        daemon,
        "template-run",
        from_template(daemon, ".docker", 3, script) + '\n[ -z "$(docker ps -aq --filter label=dindcache.job)" ]',
    )


def test_a_job_without_a_daemon_says_what_is_wrong(cluster, daemon):
    def said(name: str, setup: str, *, labelled: bool = True) -> str:
        script = f"{setup}\n{from_template(daemon, '.docker', 4, wait=5)}"
        return run_job(cluster, daemon, name, script, labelled=labelled, fails=True)

    assert "no such name: the Service does not exist" in said("no-name", f"export DOCKER_HOST=tcp://nobody.{NAMESPACE}.svc:2376")
    assert "no trust: " in said("no-certificate", "export DOCKER_CERT_PATH=/nowhere")
    assert "no answer: " in said("no-label", ":", labelled=False)
    cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--replicas=0")
    cluster.wait(lambda: not cluster.pods(NAMESPACE, APP), "the daemon is gone")
    assert "refused: no daemon is ready; waited" in said("no-daemon", ":")
    cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--replicas=1")
    cluster.rollout(NAMESPACE, APP)
