"""Job pods as a GitLab Runner makes them of its configuration, in another namespace than the daemon's."""

from collections.abc import Iterator

import pytest
import tomli
from cdk8s import App, Chart, Duration, Size, Yaml

from dindcache import DindDaemon, LocalVolume, SelfIssued
from dindcache.gitlab import GitLabRunner
from tests.cluster.cluster import ROOT, Cluster

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
def daemon(cluster: Cluster) -> Iterator[DindDaemon]:
    for namespace in (NAMESPACE, JOBS):
        cluster.create_namespace(namespace)
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/gitlab; mkdir -p {ROOT}/gitlab")
    chart = Chart(App(), "gitlab", namespace=NAMESPACE, disable_resource_name_hashes=True)
    volume = LocalVolume(chart, "docker", hostname=cluster.hostnames[0], path=f"{ROOT}/gitlab", storage=Size.gibibytes(5))
    daemon = DindDaemon(
        chart,
        "docker-dind",
        volume=volume,
        tls=SelfIssued(client_namespaces=[JOBS]),
        drain=Duration.seconds(30),
        registry_mirrors=cluster.registry_mirrors,
    )
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, "docker-dind")
    yield daemon
    cluster.forget(NAMESPACE, f"persistentvolume/{NAMESPACE}-docker", f"storageclass/{NAMESPACE}-docker")
    cluster.forget(JOBS)
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/gitlab")


def run_job(cluster: Cluster, daemon: DindDaemon, name: str, script: str) -> str:
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
    metadata = {"name": name, "namespace": kubernetes["namespace"], "labels": kubernetes["pod_labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], "volumes": volumes}}
    cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(pod))
    cluster.kubectl("wait", f"--namespace={JOBS}", f"pod/{name}", "--for=condition=Ready", "--timeout=90s")
    output = cluster.kubectl("exec", f"--namespace={JOBS}", name, "--", "sh", "-euxc", f"exec 2>&1; {script}")
    cluster.kubectl("delete", "pod", name, f"--namespace={JOBS}", "--wait=false")
    assert "PRIVATE KEY" not in output
    return output


def test_a_second_job_builds_from_the_cache_of_the_first(cluster, daemon):
    build = "printf 'FROM busybox\\nRUN sleep 1; date >built\\n' | docker build --progress=plain -t app -"
    assert "CACHED" not in run_job(cluster, daemon, "first", build).partition("RUN sleep 1")[2]
    assert "CACHED" in run_job(cluster, daemon, "second", build).partition("RUN sleep 1")[2]
    assert "hello" in run_job(cluster, daemon, "run", "docker run --rm busybox echo hello").splitlines()


def test_compose_with_two_services(cluster, daemon):
    up = "docker compose up --quiet-pull --abort-on-container-exit --exit-code-from test"
    script = f"mkdir /tmp/app; cd /tmp/app; cat >compose.yaml <<'END'\n{COMPOSE}END\n{up}; docker compose down"
    assert "hello" in run_job(cluster, daemon, "compose", script)


def test_cache_mounts_of_two_projects(cluster, daemon):
    def build(job: str, project: str) -> str:
        build = f"docker build -q -t {job} --build-arg job={job} --build-arg BUILDKIT_CACHE_MOUNT_NS={project} /tmp/app"
        script = f"mkdir /tmp/app; cat >/tmp/app/Dockerfile <<'END'\n{CACHE_MOUNT}END\n{build}; docker run --rm {job}"
        return run_job(cluster, daemon, job, script).splitlines()[-1]

    build("first-of-a", "1")
    assert build("second-of-a", "1") == "first-of-a"
    assert "of-a" not in build("first-of-b", "2").removeprefix("+ docker run --rm first-of-b")
