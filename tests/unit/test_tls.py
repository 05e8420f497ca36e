"""The certificates of a daemon and its clients in each of the four ways, the Job that issues them, and the NetworkPolicy."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from cdk8s import App, Chart, Cron, Duration, Size
from cdk8s_plus_27 import Namespaces, NetworkPolicyIpBlock, Pods, k8s

import dindcache
from dindcache import (
    CertManager,
    ClaimedVolume,
    DindDaemon,
    GivenSecrets,
    LocalVolume,
    NoTls,
    PodOptions,
    PruneSchedule,
    SelfIssued,
    Tls,
)

DAYS, HOURS = Duration.days, Duration.hours
EVERYTHING_OF_A_POD: dict[str, Any] = {
    "image_pull_secrets": ["registry-example"],
    "tolerations": [k8s.Toleration(key="dedicated", operator="Exists")],
    "priority_class_name": "high",
    "annotations": {"sidecar.istio.io/inject": "false"},
    "labels": {"team": "build"},
}


@pytest.fixture
def volume(chart):
    return ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))


def pod_of(manifest: Any) -> Any:
    return manifest["spec"]["template"]["spec"]


def server_secret(find: Any) -> Any:
    (volume,) = (volume for volume in pod_of(find("Deployment"))["volumes"] if volume["name"] == "certificate")
    return volume["secret"]


def of_kind(chart: Chart, kind: str) -> list[Any]:
    return [manifest for manifest in chart.to_json() if manifest["kind"] == kind]


def job_of(chart: Chart) -> Any:
    (job,) = of_kind(chart, "Job")
    return job


def templates(chart: Chart) -> list[Any]:
    """Return the pod templates of the Job and the CronJob that issue certificates."""
    (cron_job,) = of_kind(chart, "CronJob")
    return [job_of(chart)["spec"]["template"], cron_job["spec"]["jobTemplate"]["spec"]["template"]]


def containers(template: Any) -> dict[str, Any]:
    return {c["name"]: c for c in [*template["spec"]["initContainers"], *template["spec"]["containers"]]}


def test_self_issued_with_everything(chart, golden, volume):
    DindDaemon(
        chart,
        "docker-dind",
        volume=volume,
        tls=SelfIssued(
            client_namespaces=["builds", "gitlab"],
            names=["docker.example", "*.docker.example", "10.0.0.1", "fd00::1"],
            lifetime=DAYS(30),
            renew_before=DAYS(10),
            ca_generation=2,
        ),
        reload_timeout=HOURS(12),
        drain_timeout=Duration.minutes(10),
        pod=PodOptions(**EVERYTHING_OF_A_POD),
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
    arguments = pod_of(find("Deployment"))["containers"][0]["args"]
    assert [word for word in arguments if "tls" in word] == ["--tls=false"]
    assert [word for word in arguments if word.startswith("--host=tcp")] == ["--host=tcp://0.0.0.0:2375"]
    assert daemon.client().host == "tcp://docker-dind:2375"
    assert find("NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"port": 2375, "protocol": "TCP"}]


@pytest.mark.parametrize("tls", [SelfIssued(), CertManager(), GivenSecrets(server="a", client="b")])
def test_a_daemon_with_certificates_has_no_listener_without_them(chart, find, volume, tls):
    DindDaemon(chart, "docker-dind", volume=volume, tls=tls)
    arguments = pod_of(find("Deployment"))["containers"][0]["args"]
    assert [word for word in arguments if word.startswith("--host=tcp")] == ["--host=tcp://0.0.0.0:2376"]
    assert [word for word in arguments if "tls" in word] == [
        "--tlsverify",
        "--tlscacert=/certs/server/ca.pem",
        "--tlscert=/certs/server/cert.pem",
        "--tlskey=/certs/server/key.pem",
    ]
    # The pod does not start if one of them is missing.
    assert {item["path"] for item in server_secret(find)["items"]} == {"ca.pem", "cert.pem", "key.pem"}
    assert "optional" not in server_secret(find)


# Every input of the Job: a daemon with a value other than the default, by the prop.
OF_THE_WAY: dict[str, Any] = {
    "client_namespaces": ["builds"],
    "names": ["docker.example"],
    "lifetime": DAYS(91),
    "renew_before": DAYS(31),
    "ca_generation": 2,
    "kubectl_image": "registry.example/kubectl",
    "pod": PodOptions(priority_class_name="low"),
}
OF_THE_DAEMON: dict[str, Any] = {
    "name": "docker",
    "image": "docker:29.9.2-dind",
    "drain_timeout": Duration.minutes(31),
    "reload_timeout": HOURS(25),
}


def job_name(*, namespace: str | None = "kube-ops", hostname: str | None = None, tls: Tls | None = None, **props: Any) -> str:
    chart = Chart(App(), "test", namespace=namespace)
    volume: ClaimedVolume | LocalVolume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    if hostname:
        volume = LocalVolume(chart, "local", hostname=hostname, path="/mnt/docker", storage=Size.gibibytes(1))
    DindDaemon(chart, "docker-dind", volume=volume, tls=tls, **props)
    name: str = job_of(chart)["metadata"]["name"]
    return name.rpartition("-")[2]


@pytest.fixture(scope="module")
def default_job_name() -> str:
    return job_name()


def test_the_same_configuration_is_the_same_job(default_job_name):
    explicit = SelfIssued(client_namespaces=(), lifetime=HOURS(90 * 24), pod=PodOptions())
    assert job_name(tls=explicit) == default_job_name


@pytest.mark.parametrize("prop", [field.name for field in fields(SelfIssued)])
def test_each_prop_of_the_way_is_another_job(default_job_name, prop):
    assert job_name(tls=SelfIssued(**{prop: OF_THE_WAY[prop]})) != default_job_name


@pytest.mark.parametrize("prop", OF_THE_DAEMON)
def test_each_prop_of_the_daemon_that_it_uses_is_another_job(default_job_name, prop):
    assert job_name(**{prop: OF_THE_DAEMON[prop]}) != default_job_name


@pytest.mark.parametrize("where", [{"namespace": "ops"}, {"namespace": None}, {"hostname": "node1"}], ids=str)
def test_another_place_of_the_daemon_is_another_job(default_job_name, where):
    assert job_name(**where) != default_job_name


@pytest.mark.parametrize("option", [field.name for field in fields(PodOptions)])
def test_each_option_of_a_pod_is_another_job(default_job_name, option):
    assert job_name(pod=PodOptions(**{option: EVERYTHING_OF_A_POD[option]})) != default_job_name


def test_what_the_job_does_not_use_is_the_same_job(default_job_name):
    assert job_name(registry_mirrors=["https://mirror.example"], engine_flags=["--debug"]) == default_job_name


@pytest.mark.parametrize(
    ("file", "text", "same"),
    [
        ("tls/certificate_job.py", "# a comment", True),
        ("tls/certificate_pod.py", "# a comment", True),
        ("tls/issue.sh", "# a script is applied as it is", False),
        ("common.sh", "# a script is applied as it is", False),
        ("daemon/drain.sh", "# a script of the daemon", True),
    ],
)
def test_only_what_is_applied_names_the_job(default_job_name, tmp_path, file, text, same):
    shutil.copytree(Path(dindcache.__file__).parent, tmp_path / "dindcache")
    with (tmp_path / "dindcache" / file).open("a") as changed:
        changed.write(f"\n{text}\n")
    program = (
        f"from tests.unit import test_tls; assert test_tls.dindcache.__file__ == {str(tmp_path)!r} + '/dindcache/__init__.py'"
    )
    program += "; print(test_tls.job_name())"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parent.parent.parent}"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert (done.stdout.strip() == default_job_name) is same


def test_predecessors_are_ended_by_the_state_that_is_applied_last(chart, find, volume):
    """A pod that starts late must not delete the Job that has replaced its own, so the state is not in the template."""
    DindDaemon(chart, "docker-dind", volume=volume)
    job, config = job_of(chart), find("ConfigMap", "docker-dind-certs")
    state = job["metadata"]["labels"]["dindcache/certificates"]
    assert config["data"]["state"] == state
    assert job["metadata"]["name"] == f"docker-dind-certs-{state}"
    for template in templates(chart):
        assert state not in str(template)
        end = template["spec"]["initContainers"][0]
        selector = "app%3Ddocker-dind%2Cdindcache/certificates%2Cdindcache/certificates%21%3D$(STATE)"
        path = f"/apis/batch/v1/namespaces/$(NAMESPACE)/jobs?labelSelector={selector}&propagationPolicy=Background"
        assert end["args"] == ["delete", f"--raw={path}"]
        (variable,) = (variable for variable in end["env"] if variable["name"] == "STATE")
        assert variable["valueFrom"] == {"configMapKeyRef": {"name": "docker-dind-certs", "key": "state"}}
    # The ConfigMap is applied first.
    kinds = [manifest["kind"] for manifest in chart.to_json() if manifest["metadata"]["name"].startswith("docker-dind-certs")]
    assert kinds.index("ConfigMap") < kinds.index("Job")
    # Jobs of the CronJob and of a prune have no state.
    for cron_job in of_kind(chart, "CronJob"):
        assert "dindcache/certificates" not in cron_job["spec"]["jobTemplate"].get("metadata", {}).get("labels", {})


def test_only_the_hourly_job_has_a_deadline(chart, find, volume):
    DindDaemon(chart, "docker-dind", volume=volume)
    assert "activeDeadlineSeconds" not in job_of(chart)["spec"]
    # A run that hangs would keep the CronJob from starting the next one.
    assert find("CronJob")["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 3600
    assert find("CronJob")["spec"]["concurrencyPolicy"] == "Forbid"


def test_each_container_mounts_only_what_it_needs(chart, volume):
    DindDaemon(chart, "docker-dind", volume=volume)
    for template in templates(chart):
        assert template["spec"]["automountServiceAccountToken"] is False
        mounts = {
            name: {(m["name"], m.get("subPath")) for m in container["volumeMounts"]}
            for name, container in containers(template).items()
        }
        issued = {(name, None) for name in ("ca", "previous", "next", "server", "client")}
        assert mounts == {
            "end-predecessors": {("token", None)},
            "issue": {("work", None), ("out", None), ("config", None), *issued},
            # The CA's key is in this manifest only.
            "publish-ca": {("token", None), ("out", "ca.yaml")},
            "publish": {("token", None), ("out", "certificates.yaml")},
        }
    (deployment,) = of_kind(chart, "Deployment")
    assert pod_of(deployment)["automountServiceAccountToken"] is False


def test_the_pods_have_the_options_of_the_daemon(chart, volume):
    DindDaemon(chart, "docker-dind", volume=volume, pod=PodOptions(**EVERYTHING_OF_A_POD))
    for template in templates(chart):
        assert template["metadata"] == {"annotations": {"sidecar.istio.io/inject": "false"}, "labels": {"team": "build"}}
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry-example"}]
        assert template["spec"]["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
        assert template["spec"]["priorityClassName"] == "high"


def test_the_pods_can_have_options_of_their_own(chart, find, volume):
    own = PodOptions(tolerations=[], priority_class_name="low", annotations={"linkerd.io/inject": "disabled"})
    DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(pod=own), pod=PodOptions(**EVERYTHING_OF_A_POD))
    for template in templates(chart):
        assert template["metadata"] == {"annotations": {"linkerd.io/inject": "disabled"}, "labels": {"team": "build"}}
        assert "tolerations" not in template["spec"]
        assert template["spec"]["priorityClassName"] == "low"
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry-example"}]
    assert pod_of(find("Deployment"))["priorityClassName"] == "high"


def test_the_job_runs_away_from_the_daemons_node(chart):
    local = LocalVolume(chart, "docker", hostname="node1", path="/mnt/docker", storage=Size.gibibytes(1))
    DindDaemon(chart, "docker-dind", volume=local)
    (term,) = pod_of(job_of(chart))["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = term["preference"]["matchExpressions"]
    assert expression == {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node1"]}


def test_the_job_runs_away_from_a_daemon_whose_node_is_not_known(chart, volume):
    DindDaemon(chart, "docker-dind", volume=volume)
    (term,) = pod_of(job_of(chart))["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"] == {
        "labelSelector": {"matchLabels": {"app": "docker-dind"}},
        "topologyKey": "kubernetes.io/hostname",
    }


def test_the_log_asks_for_another_ca_while_the_change_still_fits(chart, volume):
    DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(lifetime=DAYS(40)), reload_timeout=DAYS(2))
    environment = {v["name"]: v.get("value") for v in containers(templates(chart)[0])["issue"]["env"]}
    assert int(environment["ROLLOUT_SECONDS"]) == 2 * 86400 + 30 * 60 + 600
    assert int(environment["CA_NOTICE_SECONDS"]) == 40 * 86400 + 3 * int(environment["ROLLOUT_SECONDS"])


def test_daemons_have_their_own_secrets(chart):
    secrets = set()
    for namespace in ("kube-ops", "ops", "team--ci"):
        chart = Chart(App(), "test", namespace=namespace)
        for name in ("docker", "docker-kube"):
            volume = ClaimedVolume(chart, f"{name}-data", storage=Size.gibibytes(1))
            daemon = DindDaemon(chart, name, volume=volume, tls=SelfIssued(client_namespaces=["builds"]))
            for where in (namespace, "builds"):
                secret = daemon.client(where).secret
                assert secret
                secrets.add((where, secret.name))
    assert len(secrets) == 12


def test_a_daemon_with_given_secrets_can_have_any_name(chart, volume):
    DindDaemon(chart, "docker--dind", volume=volume, tls=GivenSecrets(server="a", client="b", client_namespaces=["builds"]))


@pytest.mark.parametrize("namespace", ["team--ci", "2024", "1e3"])
def test_any_legal_namespace_has_certificates(namespace):
    chart = Chart(App(), "test", namespace=namespace)
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(client_namespaces=["a--b", "0x10"]))
    secret = daemon.client("a--b").secret
    assert secret
    assert secret.name == f"docker-dind--{namespace}-client"


def test_without_a_namespace_the_job_uses_its_own():
    chart = Chart(App(), "test")
    daemon = DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)))
    environment = containers(templates(chart)[0])["issue"]["env"]
    assert {"name": "CLIENTS", "value": "$(NAMESPACE)/docker-dind-client"} in environment
    secret = daemon.client(None).secret
    assert secret
    assert secret.name == "docker-dind-client"


def test_the_network_policy(chart, find, volume):
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
    # No egress is restricted.
    assert sum(manifest["kind"] == "NetworkPolicy" for manifest in chart.to_json()) == 1


GENERATIONS = "ca_generation must be from 1 to 1000000000, got "
BAD_NAMES = [
    *("", "docker dind", "fe80::1%eth0", "https://docker.example", "docker.example:2376", "a..b", "d" * 64, "*", "a,DNS:b"),
]
BAD_NAMESPACES = (["builds", "builds"], ["kube-ops"], ["Builds"], ["builds", ""], ["a.b"])


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        *(
            (
                lambda days=days: SelfIssued(lifetime=days),
                f"lifetime must be a whole number of days, from 1 to 1825, got {got} days",
            )
            for days, got in [(HOURS(36), "1.5"), (DAYS(1826), "1826"), (DAYS(3649), "3649"), (DAYS(0), "0")]
        ),
        *((lambda g=g: SelfIssued(ca_generation=g), f"{GENERATIONS}{g}") for g in (0, -1, 10**9 + 1)),
        (lambda: SelfIssued(client_namespaces="builds"), "client_namespaces must be a list, each item a string, got 'builds'"),
        (lambda: SelfIssued(names="docker.example"), "names must be a list, each item a string, got 'docker.example'"),
        (lambda: CertManager(lifetime=Duration.minutes(119)), r"lifetime must be a whole number of hours, got 1\.98333 h"),
        (lambda: CertManager(client_namespaces=["builds"]), "client_namespaces need a cluster_issuer, .* got 'builds'"),
        (lambda: CertManager(cluster_issuer="CA"), "cluster_issuer must be .* got 'CA'"),
        (lambda: GivenSecrets(server="a", client="a"), "server and client must be two Secrets, got 'a' for both"),
        (lambda: GivenSecrets(server="A", client="b"), "server must be .* got 'A'"),
        (lambda: GivenSecrets(server="a", client=""), "client must be .* got ''"),
    ],
)
def test_a_way_rejects_bad_values(tls, message):
    with pytest.raises(ValueError, match=message):
        tls()


def renewals(way: Callable[..., Tls], *pairs: tuple[Duration, Duration]) -> list[tuple[Tls, str]]:
    """Return pairs of a lifetime and a renewal before its end that do not leave the daemon 24.67 h on both sides."""
    message = "renew_before must be longer than 24.6667 h, .* shorter than the lifetime of {:g} h by as much, got {:g} h"
    return [
        (way(lifetime=lifetime, renew_before=renew), message.format(lifetime.to_hours(), renew.to_hours()))
        for lifetime, renew in pairs
    ]


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        *renewals(SelfIssued, (DAYS(90), DAYS(1)), (DAYS(30), DAYS(30)), (DAYS(10), DAYS(9)), (DAYS(2), HOURS(25))),
        *renewals(CertManager, (DAYS(90), HOURS(24)), (DAYS(9), DAYS(10)), (DAYS(90), HOURS(90 * 24 - 1))),
        *(
            (tls(client_namespaces=namespaces), f"client_namespaces must be .*got '{namespaces[-1]}'")
            for tls in (
                SelfIssued,
                lambda **props: CertManager(cluster_issuer="ca", **props),
                lambda **props: GivenSecrets(server="a", client="b", **props),
            )
            for namespaces in BAD_NAMESPACES
        ),
        *(
            (tls(names=["good.example", name]), "names must be a DNS name or an IP address, got ")
            for tls in (SelfIssued, CertManager)
            for name in BAD_NAMES
        ),
    ],
)
def test_a_daemon_rejects_a_way_that_does_not_fit_and_its_id_stays_free(chart, volume, tls, message):
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            DindDaemon(chart, "docker-dind", volume=volume, tls=tls)
    DindDaemon(chart, "docker-dind", volume=volume)


@pytest.mark.parametrize("tls", [SelfIssued, CertManager])
def test_the_shortest_lifetime_leaves_the_daemon_its_time_twice(chart, volume, tls):
    DindDaemon(chart, "docker-dind", volume=volume, tls=tls(lifetime=DAYS(3), renew_before=HOURS(36)))


def test_names_of_daemons(chart, volume):
    with pytest.raises(ValueError, match="name must have at most 46 characters to issue certificates, got 'ddd"):
        DindDaemon(chart, "d" * 47, volume=volume)
    with pytest.raises(ValueError, match="name must not contain '--', .* got 'docker--dind'"):
        DindDaemon(chart, "docker--dind", volume=volume)
    DindDaemon(chart, "d" * 46, volume=volume)


def test_other_namespaces_need_a_namespace():
    chart = Chart(App(), "test")
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    with pytest.raises(ValueError, match="client_namespaces need a namespace of the daemon's chart, got 'builds' without one"):
        DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(client_namespaces=["builds"]))


def test_the_name_of_a_client_secret_is_a_label():
    """A GitLab Runner names a volume after it."""
    chart = Chart(App(), "test", namespace="n" * 20)
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    with pytest.raises(ValueError, match="name of the client Secret must be at most 63 .* got 'ddd.*--nnn.*-client'"):
        DindDaemon(chart, "d" * 40, volume=volume, tls=SelfIssued(client_namespaces=["builds"]))
    DindDaemon(chart, "d" * 34, volume=volume, tls=SelfIssued(client_namespaces=["builds"]))
