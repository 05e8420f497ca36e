"""The template in pipelines of a real client, against the cluster."""

import re
from collections.abc import Iterator

import pytest
from cdk8s import Duration

from dindcache import DindDaemon, SelfIssued
from dindcache.gitlab import GitLabCi
from tests.framework.client import Client
from tests.framework.pipeline import Project, missing, relay
from tests.framework.site import APP, Site
from tests.framework.support import REGISTRY

NAMESPACE, JOBS = "dindcache-pipeline", "dindcache-pipeline-jobs"
IMAGE = f"{REGISTRY}/pipeline"
DOCKERFILE = """FROM busybox
ARG CONTENT=none
RUN sleep 3; echo dependencies >/dependencies
COPY source .
RUN echo "$CONTENT" >/content
CMD cat /content
"""
BUILD = f"""include:
  - local: docker.gitlab-ci.yml
variables:
  DOCKER_BUILD_IMAGE: {IMAGE}
"""


if missing():
    pytest.skip(f"needs {', '.join(missing())} on this machine", allow_module_level=True)


@pytest.fixture(scope="module")
def daemon(site: Site) -> DindDaemon:
    return site.daemon(tls=SelfIssued(client_namespaces=[JOBS]), drain_timeout=Duration.seconds(30))


@pytest.fixture(scope="module")
def client(site: Site, daemon: DindDaemon) -> Client:
    return site.client(daemon, JOBS)


@pytest.fixture(scope="module")
def project(client: Client, daemon: DindDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    template = GitLabCi(daemon=daemon, wait=Duration.minutes(2))
    with relay(client, daemon) as port:
        project = Project(tmp_path_factory.mktemp("project"), client, daemon, port)
        project.commit(
            {
                ".gitlab-ci.yml": "",
                ".gitignore": ".gitlab-ci-local\n",
                "docker.gitlab-ci.yml": template.template(),
                "templates/docker-build.yml": template.component(),
                "Dockerfile": DOCKERFILE,
                "source": "1",
            }
        )
        yield project


def pushed(client: Client) -> set[str]:
    """The tags that the registry has."""
    tags = client.sh(f"wget -qO- http://{IMAGE.replace('/', '/v2/', 1)}/tags/list")
    return set(re.findall(r'"([^"]+)"', tags.partition("[")[2]))


def test_the_second_pipeline_is_cached_and_its_image_is_there_for_the_next_job(client, project):
    jobs = """
build:
  extends: .docker-build
  stage: build
  variables:
    DOCKER_BUILD_TAGS: main latest
    DOCKER_BUILD_ARGS: CONTENT
    CONTENT: built
test:
  extends: .docker
  needs: [build]
  script:
    - docker run --rm "$DOCKER_IMAGE"
"""
    project.commit({".gitlab-ci.yml": BUILD + jobs})
    assert re.search("test +> built", project.run())
    first = pushed(client)
    assert len(first) == 3
    assert {"main", "latest"} < first
    project.commit({"source": "2"})
    assert re.search(r"> #\d+ CACHED", project.run().partition("RUN sleep 3")[2])
    assert len(pushed(client)) == len(first) + 1


def test_a_component_does_the_same_and_refuses_what_cannot_be(client, project):
    def run(inputs: str, *, fails: bool = False) -> str:
        component = "$CI_SERVER_FQDN/$CI_PROJECT_PATH/docker-build@$CI_COMMIT_SHA"
        project.commit({".gitlab-ci.yml": f"include:\n  - component: {component}\n    inputs: {{{inputs}}}\n"})
        output: str = project.run(fails=fails)
        return output

    assert "PASS  app" in run(f"job: app, stage: test, image: {IMAGE}, tags: component")
    assert "component" in pushed(client)
    assert "`image` input: `` does not match" in run('image: ""', fails=True)
    assert "`result` input: `1 tag` does not match" in run(f'image: {IMAGE}, result: "1 tag"', fails=True)
    assert "is not a string" in run(f"image: {IMAGE}, tags: [a, b]", fails=True)
    refusal = "DOCKER_BUILD_IMAGE must be a repository such as registry.example/group/app, without a tag, got 'app:latest'"
    assert refusal in run("image: app:latest", fails=True)


def test_a_tag_runs_the_job_of_the_article(client, project):
    job = """
build_image:
  extends: .docker
  stage: test
  script:
    - docker info
    - docker build -t IMAGE:article .
    - docker push IMAGE:article
  rules:
    - if: $CI_COMMIT_TAG
"""
    project.commit({".gitlab-ci.yml": BUILD + job.replace("IMAGE", IMAGE)})
    assert "Server Version" not in project.run()
    assert "Server Version" in project.run("--variable", "CI_COMMIT_TAG=v1")
    assert "article" in pushed(client)


def test_a_restart_between_and_during_jobs_fails_none(cluster, project):
    job = """
build:
  extends: .docker-build
  stage: test
  variables:
    DOCKER_BUILD_FILE: Slow
"""
    project.commit({".gitlab-ci.yml": BUILD + job, "Slow": "FROM busybox\nRUN sleep 12; date >built\n"})
    cluster.delete_pod(NAMESPACE, APP)
    process = project.start()
    assert process.stdout
    seen = ""
    while "RUN sleep 12" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    cluster.signal(NAMESPACE, APP, "dockerd", "KILL")
    output, _ = process.communicate(timeout=200)
    print(seen, output)
    assert process.returncode == 0
    assert "the daemon was restarted, so once more: docker build" in output


def test_a_cancelled_job_leaves_nothing(client, project):
    job = """
run:
  extends: .docker
  stage: test
  script:
    - docker network create net-$CI_JOB_ID
    - docker run --detach --network net-$CI_JOB_ID --volume data:/data busybox sleep 600
    - docker compose up --detach
    - docker run --rm busybox sh -c "echo running; sleep 600"
"""
    compose = "services: {web: {image: busybox, command: sleep 600, volumes: [data:/data]}}\nvolumes: {data: {}}\n"
    project.commit({".gitlab-ci.yml": BUILD + job, "compose.yaml": compose})
    process = project.start()
    assert process.stdout
    assert any("> running" in line for line in process.stdout)
    assert len(client.sh("docker ps --quiet").split()) == 3
    project.cancel(process)
    volumes = "docker volume ls --quiet | sed '/^dindcache-/d'"  # the disk guard's own
    left = f"docker ps --all --quiet; docker network ls --quiet --filter type=custom; {volumes}"
    client.cluster.wait(lambda: client.sh(left) == "data\n", "nothing is left that is the job's own", seconds=120)


def test_two_jobs_of_one_commit_at_once_do_not_meet(client, project):
    job = """
{name}:
  extends: .docker-build
  stage: build
  variables:
    DOCKER_BUILD_ARGS: CONTENT
    DOCKER_BUILD_RESULT: {name}
    CONTENT: "of {name}"
"""
    before = pushed(client)
    project.commit({".gitlab-ci.yml": BUILD + job.format(name="one") + job.format(name="two")})
    project.run()
    images = [f"{IMAGE}:{tag}" for tag in pushed(client) - before]
    client.sh(f"docker image rm {' '.join(images)}")  # so that what was pushed is run
    said = {client.run(f"docker run --rm {image}").stdout for image in images}
    assert said == {"of one\n", "of two\n"}


def test_without_a_daemon_the_job_ends_and_says_so(cluster, project):
    job = "build:\n  extends: .docker-build\n  stage: test\n  variables: {DINDCACHE_WAIT: 5}\n"
    project.commit({".gitlab-ci.yml": BUILD + job})
    cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--replicas=0")
    cluster.wait(lambda: not cluster.pods(NAMESPACE, APP), "the daemon is gone")
    assert re.search(r"dindcache: tcp://127.0.0.1:\d+: no answer.*; waited \d+ s", project.run(fails=True))
