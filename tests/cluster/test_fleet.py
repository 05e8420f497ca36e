"""A fleet on three nodes: which member a job of the real Runner gets, and what happens when one is away."""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cdk8s import Chart, Duration, Size

from dindcache import DindFleet, LocalVolume, SelfIssued
from dindcache._scripts import read_script
from dindcache.gitlab import GitLabCi, GitLabRunner
from tests.framework.client import Client
from tests.framework.cluster import Cluster, processes
from tests.framework.keys import odd_keys
from tests.framework.runner import Result, Runner, missing, start_runner
from tests.framework.site import Site, new_site
from tests.framework.support import REGISTRY

NAMESPACE, JOBS = "dindcache-fleet", "dindcache-fleet-jobs"
OTHER, OTHER_JOBS = "dindcache-fleet-other", "dindcache-fleet-other-jobs"
MEMBERS = ("a", "b", "c")
FAILOVER_SECONDS = 15
IMAGE = f"{REGISTRY}/fleet"
CLIENT = "docker:29.9.3-cli"

if missing():
    pytest.skip(f"needs {', '.join(missing())}: ../shared/runner/install", allow_module_level=True)


def add_fleet(site: Site, chart: Chart, jobs: str, *members: str, max_builds: int | None = None) -> DindFleet:
    """Add a fleet to a chart, each member on a node of its own."""
    volumes = {}
    for member in members:
        node = MEMBERS.index(member) % len(site.cluster.hostnames)
        path, hostname = site.directory(f"fleet-{member}", node=node), site.cluster.hostnames[node]
        volumes[member] = LocalVolume(chart, f"data-{member}", hostname=hostname, path=path, storage=Size.gibibytes(5))
    return DindFleet(
        chart,
        "docker",
        volumes=volumes,
        tls=SelfIssued(client_namespaces=[jobs]),
        max_builds=max_builds,
        failover_after=Duration.seconds(FAILOVER_SECONDS),
        drain_timeout=Duration.seconds(10),
        registry_mirrors=site.cluster.registry_mirrors,
        insecure_registries=[REGISTRY, *site.cluster.mirror_hosts],
    )


@pytest.fixture(scope="module")
def chart(site: Site) -> Chart:
    return site.chart("fleet")


@pytest.fixture(scope="module")
def fleet(site: Site, chart: Chart) -> DindFleet:
    if len(site.cluster.hostnames) < len(MEMBERS):
        pytest.skip(f"needs a cluster of {len(MEMBERS)} nodes")
    fleet = add_fleet(site, chart, JOBS, *MEMBERS)
    site.start(chart)
    return fleet


@pytest.fixture(scope="module")
def keys(fleet: DindFleet) -> dict[str, str]:
    """A key that prefers each member."""
    order = fleet.client(JOBS).order
    return {member: next(key for i in range(99) if order(key := f"group/p{i}")[0] == member) for member in MEMBERS}


@pytest.fixture(scope="module")
def runner(cluster: Cluster, fleet: DindFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    Client(cluster, fleet.daemons["a"], JOBS, cluster.node_names[-1]).wait_for_daemon()  # the client Secret exists
    config = GitLabRunner(daemon=fleet, namespace=JOBS).config()
    with start_runner(cluster, config, tmp_path_factory.mktemp("runner")) as runner:
        runner.commit(
            {
                "docker.gitlab-ci.yml": GitLabCi(daemon=fleet, wait=Duration.minutes(2)).template(),
                "Dockerfile": "FROM busybox\nARG key\nRUN echo $key; date >dependencies\nCOPY source .\n",
                "source": "1\n",
            }
        )
        yield runner


def start_build(runner: Runner, key: str, **variables: str) -> int:
    """Start a build of the project of a key in a job of the template."""
    jobs = runner.pipeline("include: [{local: docker.gitlab-ci.yml}]\nbuild: {extends: .dindcache-build}\n")
    own = {"DINDCACHE_BUILD_IMAGE": IMAGE, "DINDCACHE_BUILD_ARGS": "key", "key": key, "CI_PROJECT_PATH": key}
    return runner.start(jobs, "build", variables={**own, **variables})


def build(runner: Runner, *keys: str, **variables: str) -> list[Result]:
    """Build the projects of keys at the same time."""
    results = [runner.wait(number) for number in [start_build(runner, key, **variables) for key in keys]]
    assert all(result.state == "success" for result in results)
    return results


def member_of(result: Result) -> str:
    (member,) = re.findall(r"dindcache: the daemon of this job is (\S+?)(?:,|$)", result.trace, re.MULTILINE)
    return str(member)


def cached(result: Result) -> str:
    (number,) = re.findall(r"dindcache: (\d) of 2 steps cached", result.trace)
    return str(number)


def pod_of(cluster: Cluster, member: str) -> Any:
    (pod,) = cluster.pods(NAMESPACE, f"docker-{member}")
    return pod


@contextmanager
def deleted(cluster: Cluster, member: str) -> Iterator[str]:
    """Scale a member to zero, and return the reason that jobs log."""
    scale = ["scale", f"--namespace={NAMESPACE}", f"deployment/docker-{member}"]
    cluster.kubectl(*scale, "--replicas=0")
    cluster.wait(lambda: not cluster.pods(NAMESPACE, f"docker-{member}"), "the daemon has ended")
    yield "refused"
    cluster.kubectl(*scale, "--replicas=1")


@contextmanager
def drained(cluster: Cluster, member: str) -> Iterator[str]:
    """Drain a member's node of it, and return the reason that jobs log."""
    node_name = pod_of(cluster, member)["spec"]["nodeName"]
    cluster.kubectl("cordon", node_name)
    cluster.delete_pod(NAMESPACE, f"docker-{member}")
    yield "refused"
    cluster.kubectl("uncordon", node_name)


@contextmanager
def lost(cluster: Cluster, member: str) -> Iterator[str]:
    """Take the network of a member's pod down, as when its node is lost, and return the reason that jobs log."""
    pod = pod_of(cluster, member)
    cluster.on_node(pod["spec"]["nodeName"], f"set -- {processes(pod)}; nsenter -t $1 -n ip link set eth0 down")
    yield "no answer"
    cluster.delete_pod(NAMESPACE, f"docker-{member}", drain=False)


def test_a_project_meets_its_member_and_its_layers(runner, keys):
    for steps in ("0", "2"):
        results = build(runner, *keys.values())
        assert [(member_of(result), cached(result)) for result in results] == [(member, steps) for member in MEMBERS]


def test_a_job_without_the_template_gets_a_member_in_all_its_sections(runner, keys, fleet):
    jobs = runner.pipeline(
        f"""
job:
  image: {CLIENT}
  variables: {{GIT_STRATEGY: none}}
  script: [docker version, 'echo "script $DOCKER_HOST"']
  after_script: [docker version, 'echo "after $DOCKER_HOST"']
"""
    )
    for member in ("b", "c"):
        result = runner.run(jobs, "job", variables={"DINDCACHE_KEY": keys[member]})
        host = fleet.client(JOBS).clients[member].host
        assert member_of(result) == member
        assert f"\nscript {host}\n" in result.trace
        assert f"\nafter {host}\n" in result.trace


def test_a_job_that_uses_no_docker_pays_nothing(runner, keys, fleet):
    jobs = runner.pipeline("job: {image: busybox, script: ['rm -f /bin/sha256sum', 'echo \"host $DOCKER_HOST\"']}\n")
    result = runner.run(jobs, "job", variables={"CI_PROJECT_PATH": keys["b"]})
    assert f"\nhost {fleet.client(JOBS).clients['b'].host}\n" in result.trace
    assert "the daemon of this job" not in result.trace


def test_an_empty_key_is_that_of_the_project(runner, keys):
    (result,) = build(runner, keys["a"], DINDCACHE_KEY="")
    assert "dindcache: DINDCACHE_KEY is empty, so the path of the project is the key" in result.trace
    assert member_of(result) == "a"


def running(cluster: Cluster, member: str, but: str = "none") -> int:
    """Return how many builds of ``test_eight_jobs…`` run on a member, but those that sleep for so long."""
    command = ["exec", f"--namespace={NAMESPACE}", f"deployment/docker-{member}", "--"]
    return int(cluster.kubectl(*command, "sh", "-c", f"ps -o args | grep '^sleep [0-9]*.25' | grep -vc '^sleep {but}.25' || :"))


def test_eight_jobs_against_a_limit_of_three(runner, site, keys, processors):
    cluster = site.cluster
    fleet = add_fleet(site, site.chart("limited"), JOBS, *MEMBERS, max_builds=3)
    runner.commit(
        {
            "limited.gitlab-ci.yml": GitLabCi(daemon=fleet, wait=Duration.minutes(2)).template(),
            "slow/Dockerfile": "FROM busybox\nARG number seconds\nRUN echo $number; exec sleep $seconds.25\n",
        }
    )
    build = 'docker build --build-arg number="$CI_JOB_ID" --build-arg seconds="$SECONDS_OF_JOB" slow'
    jobs = runner.pipeline(f"include: [{{local: limited.gitlab-ci.yml}}]\nslow: {{extends: .dindcache, script: ['{build}']}}\n")
    started = [
        runner.start(jobs, "slow", variables={"CI_PROJECT_PATH": keys["a"], "SECONDS_OF_JOB": seconds})
        for seconds in ["601", "602", "603"] + ["2"] * 5
    ]
    at_once, killed = [], "none"

    def seen(condition: Callable[[], bool]) -> bool:
        at_once.append(running(cluster, "a", killed))
        return condition()

    # The jobs start in any order, so a short one can be among the first three.
    waiting = "waiting as number"
    cluster.wait(
        lambda: seen(
            lambda: all(waiting in runner.trace(job) or runner.has_ended(job) or job in started[:3] for job in started)
        ),
        "all have a place or wait",
    )
    cluster.wait(lambda: seen(lambda: at_once[-1] == 3), "all three places are taken")
    # Its pod is deleted, as when its node is lost.
    # Its place is free before the engine has ended its step.
    killed = "601"
    runner.cancel(started[0], force=True)
    cluster.wait(lambda: seen(lambda: all(map(runner.has_ended, started[3:]))), "all others have built")
    assert max(at_once) == 3
    results = [runner.wait(number) for number in started[3:]]
    assert [result.state for result in results] == ["success"] * 5
    waited = [list(map(int, re.findall(rf"{waiting} (\d+)", result.trace))) for result in results]
    assert max(map(len, waited)) > 1
    # Nobody overtakes: each comes nearer, and never farther away.
    assert all(numbers == sorted(numbers, reverse=True) for numbers in waited)
    for number in started[1:3]:
        runner.cancel(number, force=True)
    client = Client(cluster, fleet.daemons["a"], JOBS, cluster.node_names[-1])
    cluster.wait(lambda: not client.sh("docker ps --quiet --filter label=dindcache.place"), "no place is left")


@pytest.mark.parametrize("away", [deleted, drained, lost])
def test_a_member_that_is_away_gives_way_and_its_projects_come_home(runner, cluster, fleet, keys, away):
    first, second, _ = fleet.client(JOBS).order(keys["b"])
    assert [member_of(result) for result in build(runner, keys["b"], keys["a"])] == [first, "a"] == ["b", "a"]
    with away(cluster, "b") as reason:
        result, other = build(runner, keys["b"], keys["a"])
        assert member_of(result) == second
        assert f"since b is not available: {reason}. The next job begins at b again" in result.trace
        assert (member_of(other), cached(other)) == ("a", "2")
    cluster.rollout(NAMESPACE, "docker-b")
    (result,) = build(runner, keys["b"])
    assert (member_of(result), cached(result)) == ("b", "2")


def test_a_restart_is_waited_for_at_home(runner, cluster, keys):
    build(runner, keys["c"])
    cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", "--selector=app=docker-c", "--wait=false")
    (result,) = build(runner, keys["c"])
    assert member_of(result) == "c"
    assert cached(result) == "2"


def test_a_member_that_was_removed_moves_its_own_projects_only(runner, site, chart, fleet, keys):
    assert [member_of(result) for result in build(runner, *keys.values())] == list(MEMBERS)
    fewer = site.chart("fewer")
    add_fleet(site, fewer, JOBS, "a", "b")
    site.cluster.apply(fewer)
    gone = ["deployment/docker-c", "service/docker-c", "networkpolicy/docker-c", "configmap/docker-c"]
    site.cluster.kubectl("delete", f"--namespace={NAMESPACE}", "--wait", *gone)
    *others, moved = build(runner, *keys.values())
    assert member_of(moved) == fleet.client(JOBS).order(keys["c"])[1]
    assert "since c is not available: no such name" in moved.trace
    assert [(member_of(result), cached(result)) for result in others] == [("a", "2"), ("b", "2")]
    site.start(chart)
    results = build(runner, *keys.values())
    assert [(member_of(result), cached(result)) for result in results] == [(member, "2") for member in MEMBERS]


def test_a_client_secret_is_one_of_each_daemon(cluster, fleet):
    clients = [
        Client(cluster, fleet.daemons[member], JOBS, cluster.node_names[i], f"client-{member}")
        for i, member in enumerate(MEMBERS)
    ]
    for client in clients:
        client.wait_for_daemon()
    # Each has a certificate of its own.
    host = fleet.client(JOBS).clients["a"].host
    address = cluster.get("service", "docker-b", f"--namespace={NAMESPACE}")["spec"]["clusterIP"]
    name = host.removeprefix("tcp://").partition(":")[0]
    done = clients[0].run(f"echo '{address} {name}' >>/etc/hosts; timeout 20 docker --host {host} version")
    assert done.returncode != 0
    assert f"not {name}" in done.stderr


def test_two_fleets_cannot_reach_each_other(cluster, fleet):
    with new_site(cluster, OTHER, OTHER_JOBS) as other:
        chart = other.chart("other")
        own = add_fleet(other, chart, OTHER_JOBS, "a")
        other.start(chart)
        client = Client(cluster, own.daemons["a"], OTHER_JOBS, cluster.node_names[-1])
        client.wait_for_daemon()
        host = f"docker-a.{NAMESPACE}.svc"
        done = client.run(f"timeout 20 docker --host tcp://{host}:2376 version")
        assert done.returncode != 0, "the NetworkPolicy lets other namespaces in"
        # Even a pod that the network lets in: one in a namespace of the first fleet, with the other's certificate.
        certificate = client.sh("tar -chC /certs/client . | base64")
        inside = Client(cluster, fleet.daemons["a"], JOBS, cluster.node_names[-1], "stranger")
        script = f"mkdir /tmp/other; echo {shlex.quote(certificate)} | base64 -d | tar -xC /tmp/other; "
        verify = "DOCKER_CERT_PATH=/tmp/other timeout 20 docker version"
        done = inside.run(f"{script}cp /certs/client/ca.pem /tmp/other/; {verify}")
        assert done.returncode != 0
        assert re.search("unknown certificate authority|certificate required|bad certificate|tls:", done.stderr), done.stderr


def test_a_shell_in_a_pod_and_python_agree_on_10000_keys(cluster, fleet):
    client = Client(cluster, fleet.daemons["a"], JOBS, cluster.node_names[-1])
    found = fleet.client(JOBS)
    members = "\n".join(f"{member} {found.weights[member]} {daemon.host}" for member, daemon in found.clients.items())
    keys = odd_keys(10_000)
    functions = read_script("fleet/choose.sh").removesuffix('main "$@"\n')
    order = 'scored | sort -n | cut -d" " -f2 | tr -d "\\n"; echo'
    loop = f'while read -r text; do KEY=$(printf "$text."); KEY=${{KEY%.}}; {order}; done'
    script = f"MEMBERS={shlex.quote(members)} KEY=x FAILOVER_SECONDS=1 FULL_AT=\n{functions}\n{loop}"
    escaped = "\n".join("".join(f"\\{byte:03o}" for byte in key.encode()) for key in keys) + "\n"
    command = ["exec", "-i", *client.pod, "--", "sh", "-euc", script]
    output = cluster.kubectl(*command, stdin=escaped, timeout=600)
    assert output.split() == ["".join(found.order(key)) for key in keys]
