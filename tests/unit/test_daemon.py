from typing import Any

import pytest
from cdk8s import ApiObjectMetadata, App, Chart, Cron, Size
from cdk8s_plus_27 import (
    ContainerProps,
    ContainerResources,
    Cpu,
    CpuResources,
    CronJob,
    Deployment,
    Job,
    MemoryResources,
    NodeTaintQuery,
    Secret,
)

from dindcache import ClaimedVolume, DindDaemon, GivenSecrets, NoTls, SelfIssued


@pytest.fixture
def volume(chart):
    return ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))


def container_of(manifest: Any) -> Any:
    return manifest["spec"]["template"]["spec"]["containers"][0]


def test_dind_daemon(chart, golden, volume):
    DindDaemon(chart, "docker-dind", volume=volume)
    golden(chart)


def test_dind_daemon_with_everything(chart, golden, volume):
    daemon = DindDaemon(
        chart,
        "cache",
        volume=volume,
        name="docker-dind",
        image="registry.example/docker:29.9.3-dind",
        registry_mirrors=["https://mirror.example", "http://10.0.0.1:5000/hub/"],
        insecure_registries=["registry.example:5000", "10.0.0.0/8", "[fd00::1]:5000"],
        engine_flags=["--debug"],
        resources=ContainerResources(
            cpu=CpuResources(request=Cpu.units(2)),
            memory=MemoryResources(request=Size.gibibytes(4), limit=Size.gibibytes(8)),
        ),
        tolerations=[NodeTaintQuery.is_("dedicated", "ci")],
        image_pull_secrets=[Secret.from_secret_name(chart, "secret", "registry-example")],
        annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
    )
    assert daemon.client().host == "tcp://docker-dind:2376"
    golden(chart)


def test_the_service_and_the_deployment_select_the_pod_by_its_name(chart, find, volume):
    DindDaemon(chart, "docker-dind", volume=volume)
    deployment = find("Deployment")
    assert deployment["spec"]["selector"] == {"matchLabels": {"app": "docker-dind"}}
    assert find("Service")["spec"]["selector"] == {"app": "docker-dind"}
    assert deployment["spec"]["template"]["metadata"]["labels"]["app"] == "docker-dind"
    assert "resources" not in container_of(deployment)


@pytest.mark.parametrize("workload_type", [Deployment, Job, CronJob])
def test_connect(chart, find, volume, workload_type):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    props: dict[str, Any] = {"schedule": Cron.daily()} if workload_type is CronJob else {}
    workload = workload_type(chart, "client", **props, containers=[ContainerProps(image="docker:cli")])
    workload.add_init_container(name="first", image="docker:cli")
    daemon.connect(workload)
    manifest = find(workload_type.__name__, "test-client")
    spec = manifest["spec"]["jobTemplate"]["spec"] if workload_type is CronJob else manifest["spec"]
    pod = spec["template"]["spec"]
    assert spec["template"]["metadata"]["labels"]["dindcache/client"] == "true"
    items = [{"key": key, "path": key} for key in ("ca.pem", "cert.pem", "key.pem")]
    assert pod["volumes"] == [{"name": "docker-certificate", "secret": {"secretName": "docker-dind-client", "items": items}}]
    for container in (pod["containers"][0], pod["initContainers"][0]):
        assert container["env"] == [
            {"name": "DOCKER_HOST", "value": "tcp://docker-dind:2376"},
            {"name": "DOCKER_TLS_VERIFY", "value": "1"},
            {"name": "DOCKER_CERT_PATH", "value": "/certs/client"},
        ]
        assert container["volumeMounts"] == [{"mountPath": "/certs/client", "name": "docker-certificate", "readOnly": True}]


def test_connect_from_another_namespace(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(client_namespaces=["builds"]))
    other = Chart(App(), "other", namespace="builds")
    daemon.connect(Job(other, "job", containers=[ContainerProps(image="docker:cli")]))
    (job,) = other.to_json()
    assert container_of(job)["env"][0]["value"] == "tcp://docker-dind.kube-ops.svc:2376"
    assert job["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"] == "docker-dind--kube-ops-client"


@pytest.mark.parametrize("tls", [SelfIssued(client_namespaces=["builds"]), GivenSecrets(server="server", client="client")])
def test_connect_where_no_secret_is_is_refused(chart, volume, tls):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=tls)
    other = Chart(App(), "other", namespace="elsewhere")
    job = Job(other, "job", containers=[ContainerProps(image="docker:cli")])
    with pytest.raises(ValueError, match=r"client's namespace must be one of client_namespaces .* got 'elsewhere'"):
        daemon.connect(job)
    assert "env" not in container_of(other.to_json()[0])


def test_connect_goes_by_the_workloads_own_namespace(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    elsewhere = ApiObjectMetadata(namespace="elsewhere")
    with pytest.raises(ValueError, match="client's namespace must be one of client_namespaces .* got 'elsewhere'"):
        daemon.connect(Job(chart, "job", metadata=elsewhere, containers=[ContainerProps(image="docker:cli")]))


def test_a_second_daemon_of_a_workload_is_refused(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    job = Job(chart, "job", containers=[ContainerProps(image="docker:cli")])
    daemon.connect(job)
    with pytest.raises(ValueError, match="workload must be the client of one daemon, got 'test/job' again for 'docker-dind'"):
        daemon.connect(job)


def test_connect_without_tls(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=NoTls())
    other = Chart(App(), "other", namespace="builds")
    daemon.connect(Job(other, "job", containers=[ContainerProps(image="docker:cli")]))
    (job,) = other.to_json()
    assert container_of(job)["env"] == [{"name": "DOCKER_HOST", "value": "tcp://docker-dind.kube-ops.svc:2375"}]
    assert job["spec"]["template"]["metadata"]["labels"]["dindcache/client"] == "true"


def test_connect_from_a_namespace_to_none_is_refused():
    chart = Chart(App(), "test")
    daemon = DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)))
    other = Chart(App(), "other", namespace="builds")
    job = Job(other, "job", containers=[ContainerProps(image="docker:cli")])
    with pytest.raises(ValueError, match=r"daemon's chart must have a namespace to have clients in another one, got 'builds'"):
        daemon.connect(job)


def test_connect_without_containers_is_refused(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    with pytest.raises(ValueError, match=r"workload must have its containers .* got none in 'test/job'"):
        daemon.connect(Job(chart, "job"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": ""}, "daemon name .* got ''"),
        ({"name": "Docker"}, "daemon name .* got 'Docker'"),
        ({"name": "1docker"}, "daemon name .* got '1docker'"),
        ({"name": "docker.dind"}, r"daemon name .* got 'docker\.dind'"),
        ({"name": "d" * 64}, "daemon name must be at most 63"),
        *(
            ({"registry_mirrors": ["https://good.example", mirror]}, "registry mirror must be a URL such as .* got ")
            for mirror in [
                "",
                "mirror.example",
                "ftp://mirror.example",
                "https://",
                "https:///path",
                "https://user@mirror.example",
                "https://mirror.example?a=b",
                "https://mirror.example#a",
                "https://mirror.example:port",
                "https://mirror .example",
                "https://[::1",
                "https://[::1]x",
                "https://a..example",
                "https://256.256.256.256",
                "https://mirror.example:65536",
                f"https://{'a.' * 130}example",
            ]
        ),
        *(
            ({"insecure_registries": [registry]}, "insecure registry .*must be .* got")
            for registry in [
                "",
                "http://registry.example",
                ":5000",
                "registry.example:port",
                "registry.example/path",
                "10.0.0.0/33",
                "10.0.0.1/8",
                "user@registry.example",
                "[::g]:5000",
                "registry.example?a",
                "registry.example:",
                f"{'a' * 64}.example",
            ]
        ),
        ({"engine_flags": ["mtu=1450"]}, "engine flag must be a word such as .* got 'mtu=1450'"),
    ],
)
def test_bad_input_is_refused_and_the_id_stays_free(chart, volume, bad, message):
    with pytest.raises(ValueError, match=message):
        DindDaemon(chart, "docker-dind", volume=volume, **bad)
    DindDaemon(chart, "docker-dind", volume=volume)


def test_a_name_twice_in_a_chart_is_refused(chart, volume):
    DindDaemon(chart, "docker-dind", volume=volume)
    second = ClaimedVolume(chart, "second", storage=Size.gibibytes(1))
    with pytest.raises(ValueError, match="daemon name must be unique in a chart, got 'docker-dind' twice"):
        DindDaemon(chart, "other", name="docker-dind", volume=second)
    DindDaemon(chart, "other", volume=second)


def test_a_volume_with_two_daemons_is_refused(chart, volume):
    DindDaemon(chart, "first", volume=volume)
    with pytest.raises(ValueError, match="volume must have one daemon, got 'test/docker' for a second, 'second'"):
        DindDaemon(chart, "second", volume=volume)
    DindDaemon(chart, "second", volume=ClaimedVolume(chart, "another", storage=Size.gibibytes(1)))
