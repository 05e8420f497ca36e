"""A fleet: its daemons, what they share, and which one a key prefers."""

from hashlib import sha256
from typing import Any, get_type_hints

import pytest
from cdk8s import App, Chart, Cron, Duration, Size
from cdk8s_plus_27 import ContainerProps, Job

from dindcache import (
    CertManager,
    ClaimedVolume,
    DindDaemon,
    DindFleet,
    GivenSecrets,
    LocalVolume,
    NoTls,
    PodOptions,
    PruneSchedule,
    SelfIssued,
)
from dindcache.daemon.props import DaemonProps
from dindcache.prune import PruneProps

NODES = ("node1", "node2", "node3")


def local(chart: Chart, *nodes: str) -> dict[str, LocalVolume]:
    return {
        node: LocalVolume(chart, f"docker-{node}", hostname=node, path="/mnt/docker", storage=Size.gibibytes(50))
        for node in nodes
    }


def named(chart: Chart, kind: str) -> dict[str, Any]:
    return {manifest["metadata"]["name"]: manifest for manifest in chart.to_json() if manifest["kind"] == kind}


def test_dind_fleet(chart, golden):
    fleet = DindFleet(
        chart,
        "docker-dind",
        volumes=local(chart, "node1", "node2"),
        tls=SelfIssued(client_namespaces=["gitlab-jobs"]),
        registry_mirrors=["https://mirror.example"],
    )
    fleet.schedule_prune("clear-cache", schedule=Cron.daily())
    golden(chart)


def test_the_props_are_those_of_a_daemon():
    hints = get_type_hints(DindDaemon.__init__)
    own = {"scope", "id", "volume", "name", "tls", "return"}
    assert get_type_hints(DaemonProps) == {name: hint for name, hint in hints.items() if name not in own}
    assert DaemonProps.__total__ is False


def test_the_props_of_a_prune_are_those_of_its_schedule():
    hints = get_type_hints(PruneSchedule.__init__)
    own = {"scope", "id", "daemon", "schedule", "return"}
    assert get_type_hints(PruneProps) == {name: hint for name, hint in hints.items() if name not in own}
    assert PruneProps.__total__ is False


def test_a_member_can_differ(chart):
    fleet = DindFleet(
        chart,
        "docker-dind",
        volumes=local(chart, *NODES),
        registry_mirrors=["https://mirror.example"],
        overrides={"node2": {"registry_mirrors": ["https://other.example"], "disk_guard": False}},
    )
    for member, daemon in fleet.daemons.items():
        (deployment,) = (manifest for name, manifest in named(chart, "Deployment").items() if name == daemon.name)
        containers = deployment["spec"]["template"]["spec"]["containers"]
        mirror = "https://other.example" if member == "node2" else "https://mirror.example"
        assert f"--registry-mirror={mirror}" in containers[0]["args"]
        assert len(containers) == (1 if member == "node2" else 2)


def test_one_ca_one_client_secret_and_a_certificate_for_each(chart):
    fleet = DindFleet(chart, "docker-dind", volumes=local(chart, *NODES), tls=SelfIssued(client_namespaces=["ci"]))
    (job,) = named(chart, "Job").values()
    (environment,) = (c["env"] for c in job["spec"]["template"]["spec"]["initContainers"] if c["name"] == "issue")
    values = {variable["name"]: variable.get("value") for variable in environment}
    assert values["SERVERS"] == "docker-dind-node1 docker-dind-node2 docker-dind-node3"
    assert values["CLIENTS"] == "kube-ops/docker-dind-client ci/docker-dind--kube-ops-client"
    secrets = {client.secret.name for client in fleet.client("ci").clients.values() if client.secret}
    assert secrets == {"docker-dind--kube-ops-client"}
    for daemon in fleet.daemons.values():
        volumes = named(chart, "Deployment")[daemon.name]["spec"]["template"]["spec"]["volumes"]
        (certificate,) = (volume["secret"] for volume in volumes if volume["name"] == "certificate")
        assert certificate["secretName"] == "docker-dind-server"
        assert {item["key"]: item["path"] for item in certificate["items"]} == {
            "ca.pem": "ca.pem",
            f"{daemon.name}.cert.pem": "cert.pem",
            f"{daemon.name}.key.pem": "key.pem",
        }


def test_a_member_more_changes_no_other_and_no_schedule():
    def objects(*nodes: str) -> dict[tuple[str, str], Any]:
        own = Chart(App(), "test", namespace="ci", disable_resource_name_hashes=True)
        DindFleet(own, "docker", volumes=local(own, *nodes), tls=NoTls()).schedule_prune("prune", schedule=Cron.daily())
        return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in own.to_json()}

    few, many = objects("node1", "node2"), objects(*NODES)
    assert all(many[key] == manifest for key, manifest in few.items())
    assert {name for _, name in many.keys() - few.keys()} >= {"docker-node3", "docker-node3-prune"}


@pytest.mark.parametrize("tls", [GivenSecrets(server="s", client="c"), NoTls()])
def test_given_secrets_and_none_are_the_same_for_each(chart, tls):
    fleet = DindFleet(chart, "docker", volumes=local(chart, *NODES), tls=tls)
    found = {client.secret.name if client.secret else None for client in fleet.client().clients.values()}
    assert found == ({None} if isinstance(tls, NoTls) else {"c"})


def test_cert_manager_issues_a_certificate_for_each(chart):
    DindFleet(chart, "docker", volumes=local(chart, "node1", "node2"), tls=CertManager())
    certificates = named(chart, "Certificate")
    assert certificates.keys() == {"docker-ca", "docker-node1-server", "docker-node2-server", "docker-client"}
    assert "docker-node2.kube-ops.svc" in certificates["docker-node2-server"]["spec"]["dnsNames"]
    assert certificates["docker-node1-server"]["spec"]["issuerRef"] == certificates["docker-client"]["spec"]["issuerRef"]


def test_claimed_volumes_prefer_different_nodes(chart):
    volumes = {name: ClaimedVolume(chart, name, storage=Size.gibibytes(50)) for name in ("a", "b")}
    DindFleet(chart, "docker", volumes=volumes)
    for deployment in named(chart, "Deployment").values():
        (term,) = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["podAffinityTerm"]["labelSelector"] == {"matchLabels": {"dindcache/fleet": "docker"}}
        assert deployment["spec"]["template"]["metadata"]["labels"]["dindcache/fleet"] == "docker"


def test_the_certificates_are_issued_away_from_every_daemon(chart):
    volumes = {name: ClaimedVolume(chart, name, storage=Size.gibibytes(50)) for name in ("a", "b")}
    DindFleet(chart, "docker", volumes=volumes)
    (job,) = named(chart, "Job").values()
    (term,) = job["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    selected = term["podAffinityTerm"]["labelSelector"]["matchLabels"]
    for deployment in named(chart, "Deployment").values():
        assert selected.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_a_cordoned_member_drains_and_gets_no_jobs_and_no_prunes(chart):
    fleet = DindFleet(chart, "docker", volumes=local(chart, *NODES), cordoned=["node2"])
    fleet.schedule_prune("prune", schedule=Cron.daily())
    replicas = {name: deployment["spec"]["replicas"] for name, deployment in named(chart, "Deployment").items()}
    assert replicas == {"docker-node1": 1, "docker-node2": 0, "docker-node3": 1}
    assert "docker-node2" in named(chart, "Service")  # for the jobs that still use it
    assert not any("node2" in name for name in named(chart, "CronJob"))
    client = fleet.client()
    assert client.clients.keys() == {"node1", "node3"}
    assert all("node2" not in client.order(f"group/{i}") for i in range(50))


def test_prunes_are_spread_over_the_rest_of_the_hour(chart):
    nodes = [f"node{i}" for i in range(12)]
    fleet = DindFleet(chart, "docker", volumes=local(chart, *nodes), tls=NoTls())
    fleet.schedule_prune("prune", schedule=Cron.schedule(minute="20", hour="3"))
    minutes = [int(cron_job["spec"]["schedule"].split()[0]) for cron_job in named(chart, "CronJob").values()]
    assert all(
        cron_job["spec"]["schedule"].split()[1:] == ["3", "*", "*", "*"] for cron_job in named(chart, "CronJob").values()
    )
    assert min(minutes) >= 20
    assert max(minutes) < 60
    assert len(set(minutes)) > 6
    with pytest.raises(ValueError, match="prune_props must be of image, .* got 'unused'"):
        fleet.schedule_prune("wrong", schedule=Cron.daily(), unused=Duration.days(1))  # type: ignore[call-arg]
    fleet.schedule_prune("often", schedule=Cron.schedule(minute="*/20"))
    assert named(chart, "CronJob")["docker-node7-often"]["spec"]["schedule"] == "*/20 * * * *"


def test_a_workload_is_the_client_of_the_member_that_its_key_prefers(chart):
    fleet = DindFleet(chart, "docker", volumes=local(chart, *NODES))
    job = Job(chart, "job", containers=[ContainerProps(image="docker:cli")])
    fleet.connect(job, key="group/app")
    (host,) = (
        v["value"]
        for v in named(chart, "Job")["test-job"]["spec"]["template"]["spec"]["containers"][0]["env"]
        if v["name"] == "DOCKER_HOST"
    )
    assert host == fleet.client().choose("group/app").host == f"tcp://docker-{fleet.client().order('group/app')[0]}:2376"


def test_two_fleets_in_a_chart_share_nothing(chart):
    names = []
    for group, nodes in {"protected": ["node1", "node2"], "merge-requests": ["node3", "node4"]}.items():
        fleet = DindFleet(chart, group, volumes=local(chart, *nodes))
        names.append({client.secret.name for client in fleet.client().clients.values() if client.secret})
    assert names == [{"protected-client"}, {"merge-requests-client"}]
    cas = [
        v["secret"]["secretName"]
        for job in named(chart, "Job").values()
        for v in job["spec"]["template"]["spec"]["volumes"]
        if v["name"] == "ca"
    ]
    assert sorted(cas) == ["merge-requests-ca-1", "protected-ca-1"]


def test_long_names_are_cut_without_collisions(chart):
    nodes = [f"ip-10-0-1-{i}.eu-central-1.compute.internal" for i in range(20)] + ["node.a", "node-a"]
    fleet = DindFleet(chart, "docker-dind", volumes=local(chart, *nodes))
    names = [daemon.name for daemon in fleet.daemons.values()]
    assert len(set(names)) == len(nodes)
    assert all(len(name) <= 40 and "." not in name for name in names)
    checksum = sha256(b"docker-dind-node.a").hexdigest()[:8]
    assert fleet.daemons["node.a"].name == f"docker-dind-node-a-{checksum}"
    assert fleet.daemons["node-a"].name == "docker-dind-node-a"
    assert len(fleet.schedule_prune("clear-cache", schedule=Cron.daily())) == len(nodes)


def test_weights_are_shares(chart):
    fleet = DindFleet(chart, "docker", volumes=local(chart, *NODES), tls=NoTls(), weights={"node3": 2})
    client = fleet.client()
    first = [client.order(f"group/project-{i}")[0] for i in range(2000)]
    assert 900 < first.count("node3") < 1100
    assert 440 < first.count("node1") < 560


def test_three_hundred_keys_are_even_and_a_resize_moves_a_share(chart):
    volumes = local(chart, *NODES)
    three = DindFleet(chart, "docker", volumes=volumes, tls=NoTls()).client()
    keys = [f"group/project-{i}" for i in range(300)]
    counts = [[three.order(key)[0] for key in keys].count(node) for node in NODES]
    assert all(85 <= count <= 115 for count in counts), counts
    two = type(three)(clients={node: three.clients[node] for node in NODES[:2]}, weights=three.weights, failover_seconds=60)
    for key in keys:
        assert two.order(key) == [member for member in three.order(key) if member != "node3"]


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"volumes": {}}, r"volumes must have a member that is not cordoned, got \[\]"),
        ({"cordoned": list(NODES)}, "volumes must have a member that is not cordoned, got "),
        ({"cordoned": ["node9"]}, r"cordoned must be of members, which are \['node1', 'node2', 'node3'\], got 'node9'"),
        ({"weights": {"node9": 1}}, "weights must be of members, .* got 'node9'"),
        ({"overrides": {"node9": {}}}, "overrides must be of members, .* got 'node9'"),
        ({"weights": {"node1": 0}}, "weights of 'node1' must be from 1 to 100, got 0"),
        ({"weights": {"node1": 101}}, "weights of 'node1' must be from 1 to 100, got 101"),
        ({"max_builds": 0}, "max_builds must be from 1 to 1000, got 0"),
        ({"max_builds": 1001}, "max_builds must be from 1 to 1000, got 1001"),
        ({"second_choice": True}, "second_choice needs max_builds, which says when a member is full, got None"),
        ({"failover_after": Duration.millis(1500)}, "failover_after must be a whole number of seconds, .* got 1.5 s"),
        ({"name": "a" * 31}, "name must have at most 29 characters, so that a member's fits behind it, got 'aaa"),
        ({"name": "Docker"}, "name must be at most 63 lower-case letters, .* got 'Docker'"),
        ({"overrides": {"node1": {"name": "x"}}}, r"overrides\['node1'\] must be of build_cache, .* got 'name'"),
        ({"overrides": {"node1": {"disk_guard": 1}}}, r"overrides\['node1'\].disk_guard must be True or False, got 1"),
        ({"imagee": "docker"}, "daemon_props must be of build_cache, .* got 'imagee'"),
        ({"image": "docker latest"}, "image must be an image such as .* got 'docker latest'"),
        ({"overrides": {"node3": {"engine_flags": ["--host=x"]}}}, "engine_flags must leave '--host=x' to the daemon's tls"),
        ({"tls": SelfIssued(client_namespaces=["kube-ops"])}, "client_namespaces must be other than the daemon's"),
    ],
)
def test_bad_input_is_rejected_and_nothing_is_left(chart, props, message):
    volumes = local(chart, *NODES)
    before = [construct.node.path for construct in chart.node.find_all()]
    given: dict[str, Any] = {"volumes": volumes, **props}
    with pytest.raises(ValueError, match=message):
        DindFleet(chart, "docker", **given)
    assert [construct.node.path for construct in chart.node.find_all()] == before
    DindFleet(chart, "docker", volumes=volumes)
    with pytest.raises(ValueError, match="id must be unique in its scope, got 'docker' twice"):
        DindFleet(chart, "docker", volumes=volumes)
    assert chart.node.try_find_child("docker")


def test_two_volumes_of_a_node_are_rejected(chart):
    volumes = {
        path: LocalVolume(chart, path, hostname="node1", path=f"/mnt/{path}", storage=Size.gibibytes(50)) for path in ("a", "b")
    }
    with pytest.raises(ValueError, match="volumes must be on different nodes, got 'node1' for 'a' and 'b'"):
        DindFleet(chart, "docker", volumes=volumes)


@pytest.mark.parametrize("member", ["", "Node1", "a b", "a\nb", "-a", "a" * 254])
def test_a_name_of_a_member_is_checked(chart, member):
    with pytest.raises(ValueError, match="key of volumes must be at most 253 lower-case letters"):
        DindFleet(chart, "docker", volumes={member: ClaimedVolume(chart, "v", storage=Size.gibibytes(1))})


@pytest.mark.parametrize("tls", [SelfIssued(), CertManager()], ids=["self-issued", "cert-manager"])
def test_a_member_can_have_the_name_of_anything_in_the_fleet(chart, tls):
    names = ["members", "certificates", "deployment", "docker", "client-policy", "volume"]
    DindFleet(chart, "docker", volumes=local(chart, *names), tls=tls)
    assert len(named(chart, "Deployment")) == len(names)


def test_an_empty_key_is_rejected(chart):
    fleet = DindFleet(chart, "docker", volumes=local(chart, *NODES))
    for choose in (fleet.client().order, fleet.client().choose):
        with pytest.raises(ValueError, match="key must not be empty, got ''"):
            choose("")


def test_labels_of_pods_stay(chart):
    DindFleet(chart, "docker", volumes=local(chart, "node1"), pod=PodOptions(labels={"team": "ci"}))
    labels = named(chart, "Deployment")["docker-node1"]["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= {"app": "docker-node1", "dindcache/fleet": "docker", "team": "ci"}.items()
