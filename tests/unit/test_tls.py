"""Who gets which certificate, by each of the ways, and who is let in."""

from typing import Any

import pytest
from cdk8s import App, Chart, Cron, Duration, Size
from cdk8s_plus_27 import Namespaces, NetworkPolicyIpBlock, Pods, Secret

from dindcache import CertManager, ClaimedVolume, DindDaemon, GivenSecrets, LocalVolume, NoTls, PruneSchedule, SelfIssued


@pytest.fixture
def volume(chart):
    return ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))


def pod_of(manifest: Any) -> Any:
    return manifest["spec"]["template"]["spec"]


def server_secret(find: Any) -> Any:
    (volume,) = (volume for volume in pod_of(find("Deployment"))["volumes"] if volume["name"] == "certificate")
    return volume["secret"]


def jobs(chart: Chart) -> list[Any]:
    return [manifest for manifest in chart.to_json() if manifest["kind"] == "Job"]


def test_self_issued_with_everything(chart, golden, volume):
    DindDaemon(
        chart,
        "docker-dind",
        volume=volume,
        tls=SelfIssued(
            client_namespaces=["builds", "gitlab"],
            names=["docker.example", "*.docker.example", "10.0.0.1", "fd00::1"],
            lifetime=Duration.days(30),
            renew_before=Duration.days(10),
            ca_generation=2,
        ),
        reload_timeout=Duration.hours(12),
        drain_timeout=Duration.minutes(10),
        image_pull_secrets=[Secret.from_secret_name(chart, "secret", "registry-example")],
    )
    golden(chart)


def test_cert_manager(chart, golden, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=CertManager())
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())
    golden(chart)


def test_cert_manager_with_a_cluster_issuer(chart, volume):
    tls = CertManager(cluster_issuer="docker-ca", client_namespaces=["builds"], names=["docker.example", "10.0.0.1"])
    DindDaemon(chart, "docker-dind", volume=volume, tls=tls)
    objects = [manifest for manifest in chart.to_json() if manifest["apiVersion"] == "cert-manager.io/v1"]
    assert {(o["kind"], o["metadata"]["namespace"], o["metadata"]["name"], o["spec"]["secretName"]) for o in objects} == {
        ("Certificate", "kube-ops", "docker-dind-server", "docker-dind-server"),
        ("Certificate", "kube-ops", "docker-dind-client", "docker-dind-client"),
        ("Certificate", "builds", "docker-dind--kube-ops-client", "docker-dind--kube-ops-client"),
    }
    for manifest in objects:
        assert manifest["spec"]["issuerRef"] == {"kind": "ClusterIssuer", "name": "docker-ca"}
    (server,) = (o["spec"] for o in objects if o["metadata"]["name"] == "docker-dind-server")
    service = ["docker-dind", "docker-dind.kube-ops", "docker-dind.kube-ops.svc", "docker-dind.kube-ops.svc.cluster.local"]
    assert server["dnsNames"] == [*service, "localhost", "docker.example"]
    assert server["ipAddresses"] == ["127.0.0.1", "10.0.0.1"]


def test_given_secrets(chart, find, volume):
    tls = GivenSecrets(server="my-server", client="my-client", client_namespaces=["builds"])
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=tls)
    assert server_secret(find)["secretName"] == "my-server"
    for namespace in ("kube-ops", "builds"):
        secret = daemon.client(namespace).secret
        assert secret
        assert secret.name == "my-client"
    assert {manifest["kind"] for manifest in chart.to_json()} == {
        *("PersistentVolumeClaim", "ConfigMap", "Deployment", "Service", "NetworkPolicy"),
    }


def test_no_tls(chart, find, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=NoTls())
    container, _ = pod_of(find("Deployment"))["containers"]
    assert container["args"] == ["--tls=false"]
    assert container["env"] == [{"name": "DOCKER_TLS_CERTDIR", "value": ""}]
    assert daemon.client().host == "tcp://docker-dind:2375"
    assert find("NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"port": 2375, "protocol": "TCP"}]


def test_another_thing_to_issue_is_another_job(chart):
    same, *others = [
        SelfIssued(),
        SelfIssued(names=["docker.example"]),
        SelfIssued(client_namespaces=["builds"]),
        SelfIssued(ca_generation=2),
        SelfIssued(lifetime=Duration.days(60)),
        SelfIssued(kubectl_image="registry.example/kubectl"),
    ]
    names = []
    for tls in (same, same, *others):
        chart = Chart(App(), "test", namespace="kube-ops")
        DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)), tls=tls)
        names.append(jobs(chart)[0]["metadata"]["name"])
    first, again, *rest = names
    assert first == again
    assert len({first, *rest}) == 1 + len(others)
    assert all(name.startswith("docker-dind-certs-") for name in names)


def test_only_what_publishes_has_a_token(chart, volume):
    DindDaemon(chart, "docker-dind", volume=volume)
    for manifest in chart.to_json():
        pod = manifest["spec"]["jobTemplate"] if manifest["kind"] == "CronJob" else manifest
        if "template" not in pod.get("spec", {}):
            continue
        assert pod_of(pod)["automountServiceAccountToken"] is False
        containers = [*pod_of(pod)["containers"], *pod_of(pod).get("initContainers", [])]
        with_token = {c["name"] for c in containers for mount in c.get("volumeMounts", []) if mount["name"] == "token"}
        assert with_token == (set() if manifest["kind"] == "Deployment" else {"publish-ca", "publish"})


def test_the_issuer_runs_away_from_the_daemons_node(chart):
    local = LocalVolume(chart, "docker", hostname="node1", path="/mnt/docker", storage=Size.gibibytes(1))
    DindDaemon(chart, "docker-dind", volume=local)
    (term,) = pod_of(jobs(chart)[0])["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = term["preference"]["matchExpressions"]
    assert expression == {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node1"]}


def test_the_issuer_runs_away_from_a_daemon_whose_node_is_not_known(chart, volume):
    DindDaemon(chart, "docker-dind", volume=volume)
    (term,) = pod_of(jobs(chart)[0])["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"] == {
        "labelSelector": {"matchLabels": {"app": "docker-dind"}},
        "topologyKey": "kubernetes.io/hostname",
    }


def test_daemons_have_secrets_of_their_own(chart):
    secrets = set()
    for namespace in ("kube-ops", "ops"):
        chart = Chart(App(), "test", namespace=namespace)
        for name in ("docker", "docker-kube"):
            volume = ClaimedVolume(chart, f"{name}-data", storage=Size.gibibytes(1))
            daemon = DindDaemon(chart, name, volume=volume, tls=SelfIssued(client_namespaces=["builds"]))
            for where in (namespace, "builds"):
                secret = daemon.client(where).secret
                assert secret
                secrets.add((where, secret.name))
    assert len(secrets) == 8


def test_a_daemon_that_is_given_secrets_may_have_any_name(chart, volume):
    DindDaemon(chart, "docker--dind", volume=volume, tls=GivenSecrets(server="a", client="b", client_namespaces=["builds"]))


def test_without_a_certificate_the_engine_does_not_start(chart, find, volume):
    """An empty file in its Secret would be enough for the image's entrypoint to serve without TLS."""
    DindDaemon(chart, "docker-dind", volume=volume)
    assert pod_of(find("Deployment"))["containers"][0]["args"] == ["--tlsverify"]


def test_without_a_namespace_the_names_are_found_when_it_runs():
    chart = Chart(App(), "test")
    daemon = DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)))
    environment = pod_of(jobs(chart)[0])["initContainers"][0]["env"]
    assert {"name": "CLIENTS", "value": "$(NAMESPACE)/docker-dind-client"} in environment
    secret = daemon.client(None).secret
    assert secret
    assert secret.name == "docker-dind-client"


def test_who_is_let_in(chart, find, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(client_namespaces=["builds"]))
    daemon.client_policy.allow_from(Namespaces.select(chart, "all-of-it", names=["ops"]))
    monitoring = Namespaces.select(chart, "monitoring", names=["monitoring"])
    prometheus = Pods.select(chart, "prometheus", labels={"app": "prometheus"}, namespaces=monitoring)
    daemon.client_policy.allow_metrics_from(prometheus)
    daemon.client_policy.allow_from(NetworkPolicyIpBlock.ipv4(chart, "office", "10.1.0.0/16"))
    spec = find("NetworkPolicy")["spec"]
    assert spec["podSelector"] == {"matchLabels": {"app": "docker-dind"}}
    assert spec["policyTypes"] == ["Ingress"]
    named = "kubernetes.io/metadata.name"
    labelled, ops, metrics, office = ((rule["from"][0], rule["ports"][0]["port"]) for rule in spec["ingress"])
    label = {"matchLabels": {"dindcache/client": "true"}}
    assert spec["ingress"][0]["from"] == [
        {"namespaceSelector": {"matchLabels": {named: namespace}}, "podSelector": label} for namespace in ("kube-ops", "builds")
    ]
    assert labelled[1] == 2376
    assert ops == ({"namespaceSelector": {"matchLabels": {named: "ops"}}, "podSelector": {}}, 2376)
    assert metrics[1] == 9323
    assert metrics[0]["podSelector"] == {"matchLabels": {"app": "prometheus"}}
    assert office == ({"ipBlock": {"cidr": "10.1.0.0/16"}}, 2376)
    # Nobody's own egress is touched.
    assert sum(manifest["kind"] == "NetworkPolicy" for manifest in chart.to_json()) == 1


DAYS = Duration.days


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        (
            SelfIssued(lifetime=DAYS(30), renew_before=DAYS(30)),
            "lifetime must be longer than its .* got 720 h and 720 h",
        ),
        (
            CertManager(lifetime=DAYS(9), renew_before=DAYS(10)),
            "lifetime must be longer than its .* got 216 h and 240 h",
        ),
        (SelfIssued(renew_before=DAYS(1)), "renewal must come before the end by more than .* 24.6667 h, got 24 h"),
        (
            SelfIssued(lifetime=Duration.hours(36), renew_before=Duration.hours(30)),
            r"lifetime must be whole .* got 1\.5 days",
        ),
        (SelfIssued(lifetime=DAYS(3650)), "lifetime must be whole days below the CA's 3650, got 3650"),
        (SelfIssued(client_namespaces=["builds", "builds"]), "client namespaces must be others .* got 'builds' twice"),
        (SelfIssued(ca_generation=0), "generation must be 1 or more, got 0"),
        *(
            (tls(client_namespaces=namespaces), f"client namespace.* got '{namespaces[-1]}'")
            for tls in (SelfIssued, lambda **props: CertManager(cluster_issuer="ca", **props))
            for namespaces in (["builds", "builds"], ["kube-ops"], ["Builds"], ["builds", ""], ["a.b"])
        ),
        (
            GivenSecrets(server="a", client="b", client_namespaces=["kube-ops"]),
            "client namespaces must be .* 'kube-ops'",
        ),
        (SelfIssued(client_namespaces="builds"), "client namespaces must be a list, got 'builds'"),
        (SelfIssued(names="docker.example"), "certificate names must be a list, got 'docker.example'"),
        (CertManager(lifetime=Duration.minutes(119)), r"lifetime must be whole hours, got 1\.98333 h"),
        (NoTls(client_namespaces=["builds"]), "client namespaces need TLS, .* got 'builds' without TLS"),
        (CertManager(client_namespaces=["builds"]), "client namespaces need a cluster issuer, .* got 'builds'"),
        (CertManager(cluster_issuer="CA"), "cluster issuer must be .* got 'CA'"),
        (GivenSecrets(server="a", client="a"), "server and client must have Secrets of their own, got 'a' for both"),
        (GivenSecrets(server="A", client="b"), "server Secret must be .* got 'A'"),
        (GivenSecrets(server="a", client=""), "client Secret must be .* got ''"),
        *(
            (tls(names=["good.example", name]), "certificate name must be a DNS name or an IP address, got ")
            for tls in (SelfIssued, CertManager)
            for name in [
                "",
                "docker dind",
                "fe80::1%eth0",
                "https://docker.example",
                "docker.example:2376",
                "a..b",
                "d" * 64,
                "*",
                "a,DNS:b",
            ]
        ),
    ],
)
def test_what_cannot_be_is_refused_and_the_id_stays_free(chart, volume, tls, message):
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            DindDaemon(chart, "docker-dind", volume=volume, tls=tls)
    DindDaemon(chart, "docker-dind", volume=volume)


def test_bad_times_and_names_are_refused(chart, volume):
    with pytest.raises(ValueError, match=r"reload must be whole seconds, got 0\.5 s"):
        DindDaemon(chart, "docker-dind", volume=volume, reload_timeout=Duration.millis(500))
    with pytest.raises(ValueError, match="daemon name must have at most 45 characters to issue certificates, got 'ddd"):
        DindDaemon(chart, "d" * 46, volume=volume)
    with pytest.raises(ValueError, match="client Secret's name parts .* got 'docker--dind'"):
        DindDaemon(chart, "docker--dind", volume=volume)
    DindDaemon(chart, "d" * 45, volume=volume)


def test_other_namespaces_need_a_namespace():
    chart = Chart(App(), "test")
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    with pytest.raises(ValueError, match="daemon's chart must have a namespace to have clients in another one, got 'builds'"):
        DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(client_namespaces=["builds"]))


def test_a_client_secret_is_named_by_a_label():
    """A GitLab Runner's volume has its name."""
    chart = Chart(App(), "test", namespace="n" * 20)
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    with pytest.raises(ValueError, match="client Secret's name must be at most 63 .* got 'ddd.*--nnn.*-client'"):
        DindDaemon(chart, "d" * 40, volume=volume, tls=SelfIssued(client_namespaces=["builds"]))
    DindDaemon(chart, "d" * 34, volume=volume, tls=SelfIssued(client_namespaces=["builds"]))
