"""Pipelines through a real GitLab Runner, with the configuration and the jobs that the model writes."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cdk8s import Duration

from dindcache import DindDaemon, SelfIssued
from dindcache.gitlab import GitLabCi, GitLabRunner
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.pages import blocks
from tests.framework.runner import Runner, missing, start_runner
from tests.framework.site import APP, Site
from tests.framework.support import REGISTRY

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guides" / "gitlab.md"
NAMESPACE, JOBS = "dindcache-gitlab", "dindcache-gitlab-jobs"
IMAGE = f"{REGISTRY}/gitlab"
CLIENT = "docker:29.9.3-cli"
BUILD = {"DINDCACHE_BUILD_IMAGE": IMAGE}
PRIVATE = f"private.{NAMESPACE}.svc:5000"
"""Registry that wants the password ``secret`` of the user ``ci``."""

if missing():
    pytest.skip(f"needs {', '.join(missing())}: ../shared/runner/install", allow_module_level=True)


@pytest.fixture(scope="module")
def daemon(site: Site) -> DindDaemon:
    registries = [REGISTRY, PRIVATE, *site.cluster.mirror_hosts]
    return site.daemon(
        tls=SelfIssued(client_namespaces=[JOBS]), drain_timeout=Duration.seconds(30), insecure_registries=registries
    )


@pytest.fixture(scope="module")
def client(site: Site, daemon: DindDaemon) -> Client:
    return site.client(daemon, JOBS)


@pytest.fixture(scope="module")
def config(daemon: DindDaemon) -> GitLabRunner:
    return GitLabRunner(daemon=daemon, namespace=JOBS)


@pytest.fixture(scope="module")
def files(daemon: DindDaemon) -> dict[str, str]:
    """Files of a project: the template, the component and a Dockerfile with two steps."""
    ci = GitLabCi(daemon=daemon, wait=Duration.minutes(2))
    return {
        "docker.gitlab-ci.yml": ci.template(),
        "templates/docker-build.yml": ci.component(),
        "Dockerfile": "FROM busybox\nRUN sleep 2; date >dependencies\nCOPY source .\nCMD cat source\n",
        "source": "1\n",
    }


@pytest.fixture(scope="module")
def runner(
    cluster: Cluster, config: GitLabRunner, client: Client, files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    committed = (ROOT / "gitlab" / "config.toml").read_text()
    assert config.config() == committed.replace("kube-ops", NAMESPACE).replace("gitlab-jobs", JOBS)
    with start_runner(cluster, config.config(), tmp_path_factory.mktemp("runner")) as runner:
        runner.commit(files)
        yield runner


def included(runner: Runner, text: str) -> dict[str, Any]:
    """Expand a pipeline that includes the template."""
    return runner.pipeline(f"include: [{{local: docker.gitlab-ci.yml}}]\n{text}")


def left(client: Client) -> str:
    """Return what is on the daemon, except its own."""
    return client.sh(
        """docker ps --all --format '{{.Command}} {{.Label "dindcache.job"}}'
docker network ls --filter type=custom --format '{{.Name}}'
docker volume ls --format '{{.Name}}' | sed '/^dindcache-/d'"""
    )


def test_a_job_as_it_was_builds_from_the_cache(runner):
    """The job of the article, without the template."""
    jobs = runner.pipeline(
        f"""
build_image:
  image: {CLIENT}
  script:
    - docker info
    - docker build --progress=plain -t {IMAGE}:article .
    - docker push {IMAGE}:article
"""
    )
    first = runner.run(jobs, "build_image").trace
    assert "Server Version" in first
    assert "CACHED" not in first
    runner.commit({"source": "2\n"})
    assert re.search(r"#\d+ CACHED", runner.run(jobs, "build_image").trace.partition("RUN sleep 2")[2])


def test_the_second_build_is_cached_and_the_next_job_has_its_image(runner):
    jobs = included(
        runner,
        """
variables: {DINDCACHE_BUILD_TAGS: main}
build: {extends: .dindcache-build, variables: {DINDCACHE_BUILD_ARGS: tag, tag: "of the job"}}
test: {extends: .dindcache, script: [docker run --rm "$DINDCACHE_IMAGE"]}
""",
    )
    runner.commit({"Dockerfile": "FROM busybox\nARG tag\nRUN date >dependencies\nCOPY source .\nRUN echo $tag >s\nCMD cat s\n"})
    assert "dindcache: 0 of 3 steps cached" in runner.run(jobs, "build", variables=BUILD).trace
    runner.commit({"source": "3\n"})
    number = runner.start(jobs, "build", variables=BUILD)
    assert re.search(r"dindcache: 1 of 3 steps cached, \d+ s, image of \d+ MB", runner.wait(number).trace)
    report = runner.dotenv(number)
    assert re.fullmatch(rf"DINDCACHE_IMAGE={IMAGE}:[0-9a-f]{{40}}-{number}\n", report)
    variables = dict([report.strip().split("=", 1)])
    assert "\nof the job\n" in runner.run(jobs, "test", variables=variables).trace


def test_a_component_does_the_same_and_rejects_bad_inputs(runner):
    def expanded(inputs: str) -> Any:
        component = "$CI_SERVER_FQDN/$CI_PROJECT_PATH/docker-build@$CI_COMMIT_SHA"
        return runner.pipeline(f"include: [{{component: {component}, inputs: {{{inputs}}}}}]\n")

    # As one of a matrix: a variable of its own for each.
    jobs = expanded(f"job: app, stage: test, image: {IMAGE}, tags: component, result: IMAGE_$SERVICE, flags: --pull")
    number = runner.start(jobs, "app", variables={"SERVICE": "web"})
    assert runner.wait(number).state == "success"
    assert runner.dotenv(number).startswith(f"IMAGE_web={IMAGE}:")
    for inputs, reason in [
        ('image: ""', "`image` input: `` does not match"),
        (f'image: {IMAGE}, result: "1 tag"', "`result` input: `1 tag` does not match"),
        (f"image: {IMAGE}, tags: [a, b]", "is not a string"),
    ]:
        with pytest.raises(AssertionError, match=reason):
            expanded(inputs)
    rejection = "DINDCACHE_BUILD_IMAGE must be a repository such as registry.example/group/app, without a tag, got 'app:latest'"
    assert rejection in runner.run(expanded("image: app:latest"), "docker-build", fails=True).trace


def test_four_jobs_of_one_commit_at_once(runner):
    jobs = included(
        runner,
        f"""
.run:
  extends: .dindcache
  script:
    - docker build -q --build-arg JOB=$CI_JOB_ID -t "run:$CI_JOB_ID" .
    - docker run --rm "run:$CI_JOB_ID"
one: {{extends: .run}}
two: {{extends: .run}}
build: {{extends: .dindcache-build}}
plain: {{image: "{CLIENT}", script: [docker build -q .]}}
""",
    )
    numbers = [runner.start(jobs, name, variables=BUILD) for name in ("one", "two", "build", "plain")]
    assert {runner.wait(number).state for number in numbers} == {"success"}


def test_a_debug_trace_has_no_secret(runner):
    jobs = included(runner, "build: {extends: .dindcache-build}")
    login = {"CI_REGISTRY": REGISTRY, "CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": "so-secret"}
    trace = runner.run(jobs, "build", variables={**BUILD, **login, "CI_DEBUG_TRACE": "true"}).trace
    assert "Login Succeeded" in trace
    assert "so-secret" not in trace
    assert "PRIVATE KEY" not in trace


REGISTRY_WITH_A_PASSWORD = f"""apiVersion: v1
kind: Service
metadata: {{name: private, namespace: {NAMESPACE}}}
spec: {{selector: {{app: private}}, ports: [{{port: 5000}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: private, namespace: {NAMESPACE}}}
data: {{htpasswd: "ci:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"}}
---
apiVersion: v1
kind: Pod
metadata: {{name: private, namespace: {NAMESPACE}, labels: {{app: private}}}}
spec:
  containers:
    - name: registry
      image: registry:2
      env:
        - {{name: REGISTRY_AUTH, value: htpasswd}}
        - {{name: REGISTRY_AUTH_HTPASSWD_REALM, value: private}}
        - {{name: REGISTRY_AUTH_HTPASSWD_PATH, value: /auth/htpasswd}}
      volumeMounts: [{{name: auth, mountPath: /auth}}]
      readinessProbe: {{tcpSocket: {{port: 5000}}}}
  volumes: [{{name: auth, configMap: {{name: private}}}}]
"""


def test_a_build_pushes_with_its_login_whatever_else_the_job_has(cluster, runner):
    cluster.kubectl("apply", "-f", "-", stdin=REGISTRY_WITH_A_PASSWORD)
    cluster.kubectl("wait", f"--namespace={NAMESPACE}", "pod/private", "--for=condition=Ready", "--timeout=600s")
    wrong = base64.b64encode(b"ci:wrong").decode()
    variables = {
        "DINDCACHE_BUILD_IMAGE": f"{PRIVATE}/app",
        "DOCKER_AUTH_CONFIG": json.dumps({"auths": {PRIVATE: {"auth": wrong}}}),
        "CI_REGISTRY": PRIVATE,
        "CI_REGISTRY_USER": "ci",
        "CI_REGISTRY_PASSWORD": "secret",
    }
    jobs = included(
        runner,
        """
build: {extends: .dindcache-build}
plain:
  extends: .dindcache
  script:
    - echo "$CI_REGISTRY_PASSWORD" | docker login --username ci --password-stdin "$CI_REGISTRY"
    - docker build --push --tag "$DINDCACHE_BUILD_IMAGE:1" .
""",
    )
    runner.run(jobs, "build", variables=variables)
    # The client prefers the variable.
    assert "unauthorized: authentication required" in runner.run(jobs, "plain", variables=variables, fails=True).trace


def test_a_restart_between_and_during_jobs_fails_none(cluster, runner):
    runner.commit({"Slow": "FROM busybox\nRUN sleep 12; date >built\n"})
    jobs = included(runner, "build: {extends: .dindcache-build, variables: {DINDCACHE_BUILD_FILE: Slow}}")
    cluster.delete_pod(NAMESPACE, APP)
    number = runner.start(jobs, "build", variables=BUILD)
    runner.wait_for(number, "RUN sleep 12")
    cluster.signal(NAMESPACE, APP, "dockerd", "KILL")
    result = runner.wait(number)
    assert result.state == "success"
    assert "dindcache: the daemon was restarted, so once more: docker build" in result.trace


ENDS = """
.leave:
  extends: .dindcache
  before_script:
    # The image of the tests has compose as a plugin alone.
    - ln -s /usr/local/libexec/docker/cli-plugins/docker-compose /usr/local/bin/docker-compose
    - !reference [.dindcache, before_script]
  script:
    - docker network create net-$CI_JOB_ID
    - docker run --detach --network net-$CI_JOB_ID busybox sleep 600
    - docker-compose -f compose.ci.yaml up --detach --quiet-pull
    - docker --debug -l error run --rm busybox sh -c "echo running; $RUN"
success: {extends: .leave, variables: {RUN: "true"}}
failure: {extends: .leave, variables: {RUN: exit 3}}
hangs: {extends: .leave, variables: {RUN: sleep 600}}
"""
COMPOSE = "services: {web: {image: busybox, command: sleep 600, volumes: [data:/data]}}\nvolumes: {data: {}}\n"


def test_after_each_end_nothing_is_left(client, runner):
    """Success, failure, cancel, cancel by force and time-out, all at once."""
    runner.commit({"compose.ci.yaml": COMPOSE})
    jobs = included(runner, ENDS)
    success, failure = runner.start(jobs, "success"), runner.start(jobs, "failure")
    canceled, forced, late = (runner.start(jobs, "hangs", timeout=timeout) for timeout in (600, 600, 180))
    for number in (canceled, forced, late):
        runner.wait_for(number, "\nrunning")
    runner.cancel(canceled)
    runner.cancel(forced, force=True)
    assert runner.wait(success).state == "success"
    assert runner.wait(failure).exit_code == 3
    assert runner.wait(late).reason == "job_execution_timeout"
    runner.wait_for_no_pods()
    client.cluster.wait(lambda: left(client) == "", "nothing is left that is the jobs' own")
    for number in (success, failure, canceled):
        trace = runner.trace(number)
        assert "$ # dindcache: remove the containers" in trace
        for error in ("already in progress", "could not remove", "not found", "after_script failed"):
            assert error not in trace


@pytest.mark.parametrize(
    "variables",
    [
        {"DOCKER_HOST": "tcp://docker:2375", "DOCKER_TLS_CERTDIR": ""},
        {
            "DOCKER_HOST": "tcp://docker:2376",
            "DOCKER_TLS_CERTDIR": "/certs",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": "$DOCKER_TLS_CERTDIR/client",
        },
        {},
    ],
)
def test_a_pipeline_for_a_dind_service_uses_the_daemon_unchanged(runner, variables):
    jobs = runner.pipeline(
        f"""
default:
  image: {CLIENT}
  services: [{{name: "docker:29.9.3-dind", alias: docker}}]
  before_script: ["until docker info >/dev/null 2>&1; do sleep 1; done"]
build: {{script: ["docker info --format '{{{{.Name}}}}'", docker build -q .]}}
"""
    )
    # As variables of the project, which win over everything.
    trace = runner.run(jobs, "build", variables=variables).trace
    assert re.search(rf"^{APP}-\w+-\w+$", trace, re.MULTILINE)
    host = variables.get("DOCKER_HOST")
    said = f"dindcache: DOCKER_HOST={host} is that of a docker:dind service, and this Runner has a daemon for its jobs"
    assert (said in trace) is bool(host)


def test_a_proxy_of_the_job_is_not_asked_for_the_daemon(runner):
    jobs = included(
        runner,
        f"""
run: {{extends: .dindcache, script: [docker run --rm busybox echo hello]}}
plain: {{image: "{CLIENT}", script: ["docker info --format '{{{{.OSType}}}}'; echo $NO_PROXY"]}}
""",
    )
    variables = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localhost"}
    runner.run(jobs, "run", variables=variables)
    assert f"localhost,{APP}.{NAMESPACE}.svc" in runner.run(jobs, "plain", variables=variables).trace


def test_a_job_with_a_before_script_of_its_own_fails_loudly_or_has_both(runner):
    jobs = included(
        runner,
        """
default: {before_script: [exit 1]}
.other: {before_script: [echo other]}
replaced: {extends: [.dindcache-build, .other]}
both:
  extends: .dindcache
  before_script: [!reference [.dindcache, before_script], echo mine]
  script: [docker run --rm busybox echo hello]
""",
    )
    said = "A job with a before_script of its own begins it with - !reference [.dindcache, before_script]"
    assert said in runner.run(jobs, "replaced", fails=True, variables=BUILD).trace
    assert "\nmine\n" in runner.run(jobs, "both").trace


PROXY = "(while :; do printf 'HTTP/1.1 403 Forbidden\\r\\n\\r\\n' | nc -l -p 3128; done) >/dev/null &"


def test_a_job_without_a_daemon_reports_the_reason(cluster, runner):
    nobody = f"tcp://nobody.{NAMESPACE}.svc:2376"
    reasons = {
        "export DOCKER_CERT_PATH=/nowhere": "no certificate: ",
        "export DOCKER_API_VERSION=1.39": "the daemon answers, but this client is too old for it",
        f"export DINDCACHE_HOST={nobody} DOCKER_HOST={nobody}": "no such name: the Service does not exist",
        "export HTTPS_PROXY=http://127.0.0.1:9": "a proxy stands before the daemon: add its host to NO_PROXY",
        f"{PROXY} export HTTPS_PROXY=http://127.0.0.1:3128": "a proxy stands before the daemon: add its host to NO_PROXY",
    }
    jobs = included(runner, "variables: {DINDCACHE_WAIT: 5s}\nrun: {extends: .dindcache, script: [echo never]}")

    def start(setup: str) -> Any:
        job = {**jobs["run"], "before_script": [setup, *jobs["run"]["before_script"]]}
        return runner.start({**jobs, "run": job}, "run")

    numbers = {setup: start(setup) for setup in reasons}
    for setup, number in numbers.items():
        result = runner.wait(number)
        assert result.state == "failed"
        assert reasons[setup] in result.trace, setup
        assert "never" not in result.trace
    cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--replicas=0")
    cluster.wait(lambda: not cluster.pods(NAMESPACE, APP), "the daemon is gone")
    assert "refused: no daemon is ready; waited" in runner.run(jobs, "run", fails=True).trace
    cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--replicas=1")
    cluster.rollout(NAMESPACE, APP)


@pytest.mark.parametrize(
    "flag", ["FF_SCRIPT_SECTIONS", "FF_USE_NEW_BASH_EVAL_STRATEGY", "FF_USE_LEGACY_KUBERNETES_EXECUTION_STRATEGY"]
)
def test_a_job_with_a_feature_flag_of_the_runner(client, runner, flag):
    jobs = included(runner, "run: {extends: .dindcache, script: [docker run --detach busybox sleep 600, docker ps]}")
    assert "sleep 600" in runner.run(jobs, "run", variables={flag: "true"}).trace
    assert left(client) == ""


# GitLab's page on Docker-in-Docker with TLS, in the chart's form, on a cluster that admits restricted containers alone.
STRICT = """[[runners]]
  [runners.kubernetes]
    namespace = "{{ default .Release.Namespace .Values.runners.jobNamespace }}"
    image = "docker:29.9.3-cli"
    privileged = true
    [[runners.kubernetes.volumes.empty_dir]]
      name = "docker-certs"
      mount_path = "/certs/client/"
      medium = "Memory"
    [runners.kubernetes.build_container_security_context]
      run_as_user = 1000
      read_only_root_filesystem = true
"""


@pytest.fixture
def restricted(cluster: Cluster, tmp_path: Path) -> str:
    """A kubeconfig of a ServiceAccount that has the Role of the guide and nothing else."""
    role = yaml.safe_load(
        next(block.text for block in blocks(PAGE, "yaml") if "kind: Role" in block.text).replace("gitlab-jobs", JOBS)
    )
    name, subject = role["metadata"]["name"], {"kind": "ServiceAccount", "name": "runner", "namespace": JOBS}
    metadata = {"name": "runner", "namespace": JOBS}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    objects = [
        role,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [subject],
            "roleRef": reference,
        },
    ]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    (user,) = config["users"]
    user["user"] = {"token": cluster.kubectl("create", "token", "runner", f"--namespace={JOBS}")}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_a_merged_configuration_starts_jobs_of_any_user_on_a_read_only_file_system(
    cluster, config, files, restricted, tmp_path
):
    with start_runner(cluster, config.merged(STRICT), tmp_path, restricted) as strict:
        strict.commit(files)
        jobs = included(strict, "build: {extends: .dindcache-build}")
        trace = strict.run(jobs, "build", fails=True, variables=BUILD).trace
        assert "dindcache: the job's variable DINDCACHE must be a new directory that the job can create" in trace
        strict.run(jobs, "build", variables={**BUILD, "DINDCACHE": "$CI_PROJECT_DIR.tmp/dindcache"})


CACHE_MOUNT = "FROM busybox\nARG job\nRUN --mount=type=cache,target=/c cat /c/of >/was; echo $job mine >/c/of\nCMD cat /was\n"


@pytest.mark.parametrize(
    ("build", "projects"),
    [
        ("docker build -q -f Mount -t mount:$CI_JOB_ID --build-arg job=$CI_JOB_ID .", "12"),
        ("docker --debug bake --progress quiet --set app.tags=mount:$CI_JOB_ID --set app.args.job=$CI_JOB_ID", "34"),
    ],
)
def test_two_projects_do_not_share_a_cache_mount(runner, build, projects):
    bake = 'group "default" { targets = ["app"] }\ntarget "app" { dockerfile = "Mount" }\n'
    runner.commit({"Mount": CACHE_MOUNT, "docker-bake.hcl": bake})
    jobs = included(runner, f"run: {{extends: .dindcache, script: ['{build}', 'docker run --rm mount:$CI_JOB_ID']}}")

    def found(project: str) -> bool:
        return " mine\n" in runner.run(jobs, "run", variables={"CI_PROJECT_ID": project}).trace

    first, second = projects
    assert not found(first)
    assert found(first)
    assert not found(second)


GUIDE = {
    "Dockerfile": f"""FROM {CLIENT} AS test
COPY tests.sh .
CMD ["sh", "-eu", "tests.sh"]
FROM busybox
RUN printf '#!/bin/sh\\n' >/bin/make; chmod +x /bin/make
CMD sleep 600
""",
    # As Testcontainers does it: through the socket of the daemon and a port of the bridge's gateway.
    "tests.sh": r"""docker run --detach --rm --publish 18080:80 busybox sh -c 'echo hello >/index; nc -l -p 80 </index'
gateway=$(ip route | sed -n 's/default via \([^ ]*\).*/\1/p')
until nc $gateway 18080 | grep hello; do sleep 0.1; done
""",
    "compose.yaml": "services: {web: {build: ., init: true}}\n",
    "cross.Dockerfile": "FROM scratch\nCOPY source /\n",
    "Secret": "FROM busybox\nRUN --mount=type=secret,id=token,required=true test -s /run/secrets/token\n",
}


def test_the_jobs_of_the_guide(client, runner):
    """All at once, except that a job that needs another one runs after it."""
    runner.commit(GUIDE)
    component = "$CI_SERVER_FQDN/$CI_PROJECT_PATH/docker-build@$CI_COMMIT_SHA"
    variables = {"CI_REGISTRY_IMAGE": IMAGE, "CI_JOB_TOKEN": "token", "SERVICE": "web"}
    started: list[int] = []
    for block in blocks(PAGE, "yaml"):
        if "apiVersion" in block.text:
            continue
        text = re.sub(r"- project: .*\n    file: gitlab/", "- local: ", block.text)
        text = re.sub(r"- component: .*", f"- component: {component}", text)
        jobs = runner.pipeline(text) if text.startswith("include") else included(runner, text)
        for name, job in jobs.items():
            if "script" not in job:
                continue
            if "needs" in job:
                number = started[-1]
                assert runner.wait(number).state == "success"
                variables |= dict([runner.dotenv(number).strip().split("=", 1)])
            # Compose refuses the buildx of the tests' image, which does not know its version.
            builder = {"DOCKER_BUILDKIT": "0"} if name == "compose" else {}
            started.append(runner.start(jobs, name, variables={**variables, **builder}))
    assert len(started) > 15
    assert [runner.wait(number).state for number in started] == ["success"] * len(started)
    runner.wait_for_no_pods()
    assert left(client) == ""
