import re
from typing import Any

import pytest
from cdk8s import ApiObject, ApiObjectMetadata, App, Chart, Cron, Duration, JsonPatch, Size
from cdk8s_plus_27 import (
    ContainerProps,
    ContainerResources,
    Cpu,
    CpuResources,
    CronJob,
    Deployment,
    EphemeralStorageResources,
    Job,
    MemoryResources,
    Volume,
    k8s,
)

from dindcache import (
    ClaimedVolume,
    DindDaemon,
    Engine,
    GivenSecrets,
    Monitoring,
    NoTls,
    PodOptions,
    PruneSchedule,
    SelfIssued,
)
from dindcache.images import client_image


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
        pod=PodOptions(
            tolerations=[k8s.Toleration(key="dedicated", operator="Equal", value="ci", effect="NoSchedule")],
            priority_class_name="high",
            image_pull_secrets=["registry-example"],
            annotations={"sidecar.istio.io/inject": "false"},
            labels={"team": "ci"},
        ),
        node_selector={"disk": "fast"},
        runtime_class_name="runc",
    )
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())
    golden(chart)


def test_a_daemon_in_a_user_namespace(chart, golden, find, volume):
    DindDaemon(chart, "docker-dind", volume=volume, user_namespace=True, seccomp_profile="profiles/dindcache.json")
    pod = find("Deployment")["spec"]["template"]["spec"]
    assert pod["hostUsers"] is False
    assert not [c["name"] for c in (*pod["containers"], *pod["initContainers"]) if c["securityContext"].get("privileged")]
    golden(chart)


def limits(cpu: CpuResources | None, memory: MemoryResources | None) -> ContainerResources:
    return ContainerResources(cpu=cpu, memory=memory)


FOUR, EIGHT = Cpu.units(4), Size.gibibytes(8)


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        (limits(CpuResources(limit=FOUR), MemoryResources(limit=EIGHT)), "Guaranteed"),
        (
            limits(
                CpuResources(request=Cpu.millis(4000), limit=FOUR), MemoryResources(request=Size.mebibytes(8192), limit=EIGHT)
            ),
            "Guaranteed",
        ),
        (limits(CpuResources(limit=FOUR), None), "Burstable"),
        (limits(CpuResources(request=FOUR), MemoryResources(request=EIGHT)), "Burstable"),
        (limits(CpuResources(request=Cpu.units(2), limit=FOUR), MemoryResources(limit=EIGHT)), "Burstable"),
        (limits(CpuResources(limit=FOUR), MemoryResources(request=Size.gibibytes(1), limit=EIGHT)), "Burstable"),
        (limits(None, None), "Burstable"),
    ],
)
def test_a_pod_is_guaranteed_if_its_engine_is(chart, find, volume, resources, qos):
    DindDaemon(chart, "docker-dind", volume=volume, resources=resources, monitoring=Monitoring())
    pod = find("Deployment")["spec"]["template"]["spec"]
    found = [container.get("resources", {}) for container in (*pod["initContainers"], *pod["containers"])]
    assert len(found) == 5
    assert ("Guaranteed" if all(map(is_guaranteed, found)) else "Burstable") == qos
    # The containers beside the engine are no more than burstable in a pod that is.
    assert any(map(is_guaranteed, found[2:])) is (qos == "Guaranteed")


def is_guaranteed(resources: dict[str, dict[str, str]]) -> bool:
    """Return whether a container is, by the rule of Kubernetes: a request that is left out is the limit."""
    limit = resources.get("limits", {})
    given = [{**limit, **resources.get(kind, {})} for kind in ("requests", "limits")]
    request, limit = ({key: value.replace("4000m", "4") for key, value in each.items()} for each in given)
    return limit.keys() >= {"cpu", "memory"} and request == limit


def test_what_was_resolved_can_be_read_back(chart, volume):
    engine = Engine(dns=["10.0.0.53"])
    daemon = DindDaemon(chart, "docker-dind", volume=volume, engine=engine, drain_timeout=Duration.minutes(10), tls=NoTls())
    assert (daemon.name, daemon.namespace, daemon.port) == ("docker-dind", "kube-ops", 2375)
    assert (daemon.volume, daemon.engine) == (volume, engine)
    assert (daemon.image, daemon.client_image) == ("docker:29.9.3-dind", "docker:29.9.3-cli")
    assert daemon.drain_timeout.to_seconds() == 600
    assert daemon.reload_timeout.to_days() == 1


@pytest.mark.parametrize(
    ("image", "client"),
    [
        ("docker:29.9.3-dind", "docker:29.9.3-cli"),
        ("docker:dind", "docker:cli"),
        ("registry.example:5000/mirror/docker:28-dind-alpine3.20", "registry.example:5000/mirror/docker:28-cli-alpine3.20"),
        # The digest belongs to the engine's image only.
        (f"docker:29.9.3-dind@sha256:{'0' * 64}", "docker:29.9.3-cli"),
        # Without "dind" in the tag, it is the engine's image, which contains a client too.
        (f"docker@sha256:{'0' * 64}", f"docker@sha256:{'0' * 64}"),
        ("registry.example:5000/engine", "registry.example:5000/engine"),
        ("registry.example/engine:29", "registry.example/engine:29"),
    ],
)
def test_the_client_image_is_of_the_same_registry_and_release(image, client):
    assert client_image(image) == client


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
def test_connect_from_a_namespace_without_a_secret_is_rejected(chart, volume, tls):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=tls)
    other = Chart(App(), "other", namespace="elsewhere")
    job = Job(other, "job", containers=[ContainerProps(image="docker:cli")])
    message = "daemon 'docker-dind' issues no client certificate in namespace 'elsewhere': add it to client_namespaces"
    with pytest.raises(ValueError, match=message):
        daemon.connect(job)
    assert "env" not in container_of(other.to_json()[0])


def test_connect_uses_the_namespace_of_the_workload(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    elsewhere = ApiObjectMetadata(namespace="elsewhere")
    with pytest.raises(ValueError, match="issues no client certificate in namespace 'elsewhere'"):
        daemon.connect(Job(chart, "job", metadata=elsewhere, containers=[ContainerProps(image="docker:cli")]))
    nowhere = Chart(App(), "nowhere")
    with pytest.raises(
        ValueError, match="workload must have a namespace to be a client of 'docker-dind', got none in 'nowhere/job'"
    ):
        daemon.connect(Job(nowhere, "job", containers=[ContainerProps(image="docker:cli")]))


def test_a_workload_is_the_client_of_one_daemon(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    job = Job(chart, "job", containers=[ContainerProps(image="docker:cli")])
    daemon.connect(job)
    with pytest.raises(ValueError, match="daemon of workload 'test/job' must be unique in an app"):
        daemon.connect(job)


def test_connect_without_tls(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=NoTls())
    other = Chart(App(), "other", namespace="builds")
    daemon.connect(Job(other, "job", containers=[ContainerProps(image="docker:cli")]))
    (job,) = other.to_json()
    assert container_of(job)["env"] == [{"name": "DOCKER_HOST", "value": "tcp://docker-dind.kube-ops.svc:2375"}]
    assert job["spec"]["template"]["metadata"]["labels"]["dindcache/client"] == "true"


def test_a_client_of_a_daemon_without_a_namespace():
    chart = Chart(App(), "test")
    daemon = DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)))
    assert daemon.client().host == "tcp://docker-dind:2376"
    with pytest.raises(
        ValueError, match="chart of daemon 'docker-dind' must have a namespace for clients in 'builds', got None"
    ):
        daemon.client("builds")


def test_connect_without_containers_is_rejected(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    with pytest.raises(ValueError, match=r"workload must have its containers .* got none in 'test/job'"):
        daemon.connect(Job(chart, "job"))


@pytest.mark.parametrize("path", ["/certs/client", "/certs/client/"])
def test_a_mount_where_the_certificate_goes_is_rejected(chart, volume, path):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    job = Job(chart, "job", containers=[ContainerProps(image="docker:cli", name="build")])
    job.containers[0].mount(path, Volume.from_empty_dir(chart, "certs", "certs"))
    with pytest.raises(ValueError, match="workload must have nothing mounted at '/certs/client', got it in 'build'"):
        daemon.connect(job)


def test_a_pod_template_has_all_that_connect_gives(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    job = Job(chart, "job", containers=[ContainerProps(image="docker:cli", name="build")])
    daemon.connect(job)
    (manifest,) = (o for o in chart.to_json() if o["metadata"]["name"] == "test-job")
    connected, template = manifest["spec"]["template"], daemon.client().pod_template(container="build")
    assert template["metadata"]["labels"].items() <= connected["metadata"]["labels"].items()
    assert template["spec"]["volumes"] == connected["spec"]["volumes"]
    (container,) = template["spec"]["containers"]
    assert container.items() <= container_of(manifest).items()
    # Each call returns a copy, which can be changed freely.
    template["metadata"]["labels"].clear()
    assert daemon.client().pod_template(container="build")["metadata"]["labels"]


def test_a_pod_template_without_tls_has_no_certificate(chart, volume):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=NoTls())
    assert daemon.client("builds").pod_template(container="build") == {
        "metadata": {"labels": {"dindcache/client": "true"}},
        "spec": {
            "containers": [{"name": "build", "env": [{"name": "DOCKER_HOST", "value": "tcp://docker-dind.kube-ops.svc:2375"}]}]
        },
    }


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": ""}, "name must be .* got ''"),
        ({"name": "Docker"}, "name must be .* got 'Docker'"),
        ({"name": "1docker"}, "name must be .* got '1docker'"),
        ({"name": "docker.dind"}, r"name must be .* got 'docker\.dind'"),
        ({"name": "d" * 64}, "name must be at most 63"),
        *(
            ({"registry_mirrors": ["https://good.example", mirror]}, "registry_mirrors must be a URL such as .* got ")
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
            ({"insecure_registries": [registry]}, "insecure_registries must be .* got")
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
        ({"engine_flags": ["mtu=1450"]}, "engine_flags must be words such as .* got 'mtu=1450'"),
        *(
            ({"name": name}, f"name must not be that of another container of the pod, got '{name}'")
            for name in ("wait-for-lock", "disk-guard")
        ),
        *(
            ({"image": image}, "image must be an image such as .* got ")
            for image in [
                "",
                "docker dind",
                "Docker:29-dind",
                "docker:",
                "docker:29-dind@sha256:0",
                "https://docker:29-dind",
                "-x",
            ]
        ),
        ({"runtime_class_name": "Kata"}, "runtime_class_name must be .* got 'Kata'"),
        *(
            (
                {"user_namespace": True, "runtime_class_name": name},
                f"user_namespace must be left out with a RuntimeClass whose sandbox .* got runtime_class_name='{name}'",
            )
            for name in ("gvisor", "kata-qemu", "runsc", "sysbox-runc")
        ),
        (
            {"seccomp_profile": "profiles/dindcache.json"},
            "seccomp_profile must be left out without user_namespace=True, .* got 'profiles/dindcache.json'",
        ),
        *(
            ({"user_namespace": True, "seccomp_profile": path}, f"seccomp_profile must be a path in .* got '{path}'")
            for path in ("", "/profiles/dindcache.json", "../dindcache.json", "profiles/../dindcache.json")
        ),
        ({"drain_timeout": Duration.millis(1500)}, "drain_timeout must be a whole number of seconds, .* got 1.5 s"),
        ({"reload_timeout": Duration.millis(500)}, "reload_timeout must be a whole number of seconds, .* got 0.5 s"),
        ({"drain_timeout": Duration.days(20000)}, "drain_timeout must be at most 1073741493 s, got 1728000000 s"),
        ({"node_selector": {"bad key!": "a"}}, "key of node_selector must be a name such as .* got 'bad key!'"),
        ({"node_selector": {"disk": "a/b"}}, "node_selector 'disk' must be at most 63 letters, .* got 'a/b'"),
        (
            {"resources": ContainerResources(cpu=CpuResources(request=Cpu.units(2), limit=Cpu.millis(500)))},
            "resources must request at most their limit of CPU, got '2' and '500m'",
        ),
        (
            {
                "resources": ContainerResources(
                    memory=MemoryResources(request=Size.gibibytes(2), limit=Size.mebibytes(1000)),
                )
            },
            "resources must request at most their limit of memory, got '2Gi' and '1000Mi'",
        ),
        (
            {
                "resources": ContainerResources(
                    ephemeral_storage=EphemeralStorageResources(request=Size.gibibytes(2), limit=Size.gibibytes(1)),
                )
            },
            "resources must request at most their limit of ephemeral storage, got '2Gi' and '1Gi'",
        ),
        (
            {"engine": Engine(registry_certificates={"registry.example": "-----BEGIN CERTIFICATE-----" + "a" * (1 << 20)})},
            r"registry_certificates must have at most \d+ bytes, which fit a ConfigMap, got 1048603",
        ),
    ],
)
def test_bad_input_is_rejected_and_the_id_stays_free(chart, volume, bad, message):
    before = [construct.node.path for construct in chart.node.find_all()]
    with pytest.raises(ValueError, match=message):
        DindDaemon(chart, "docker-dind", volume=volume, **bad)
    assert [construct.node.path for construct in chart.node.find_all()] == before
    DindDaemon(chart, "docker-dind", volume=volume)


def test_zero_seconds_are_not_the_default(chart, find, volume):
    DindDaemon(chart, "docker-dind", volume=volume, drain_timeout=Duration.seconds(0), reload_timeout=Duration.seconds(0))
    environment = {variable["name"]: variable["value"] for variable in container_of(find("Deployment"))["env"]}
    assert environment == {
        "PORT": "2376",
        "DRAIN_SECONDS": "0",
        "DRAIN_REJECT_AFTER_SECONDS": "0",
        "DRAIN_QUIET_SECONDS": "10",
        "RELOAD_DRAIN_SECONDS": "0",
        "RELOAD_REJECT_AFTER_SECONDS": "0",
        "LIVENESS_PERIOD_SECONDS": "10",
        "LIVENESS_FAILURES": "6",
    }


def test_a_volume_has_one_daemon(chart, volume):
    DindDaemon(chart, "first", volume=volume)
    with pytest.raises(
        ValueError, match="daemon of volume 'test/docker/claim' must be unique .* 'test/first' and in 'test/second'"
    ):
        DindDaemon(chart, "second", volume=volume)
    DindDaemon(chart, "second", volume=ClaimedVolume(chart, "another", storage=Size.gibibytes(1)))


def test_a_volume_elsewhere_is_rejected(chart, volume):
    daemons = Chart(chart.node.root, "daemons", namespace="ci")
    with pytest.raises(
        ValueError, match="volume must be in the namespace of the daemon, 'ci', got 'test/docker/claim' in 'kube-ops'"
    ):
        DindDaemon(daemons, "docker-dind", volume=volume)
    other = Chart(App(), "other", namespace="kube-ops")
    with pytest.raises(ValueError, match="volume must be in the app of the daemon, got 'test/docker/claim' of another app"):
        DindDaemon(other, "docker-dind", volume=volume)


class OwnVolume:
    """A user's own volume, not a class of this library."""

    def __init__(self, scope: Chart, hostname: str | None = None) -> None:
        self.storage = Size.gibibytes(10)
        self.hostname = hostname
        self.claim = k8s.KubePersistentVolumeClaim(scope, "own", metadata=k8s.ObjectMeta(name="own.claim"))


def test_a_volume_of_a_class_of_ones_own(chart, find):
    DindDaemon(chart, "docker-dind", volume=OwnVolume(chart), node_selector={"disk": "fast"})
    pod = find("Deployment")["spec"]["template"]["spec"]
    assert {"name": "own-claim-vol", "persistentVolumeClaim": {"claimName": "own.claim", "readOnly": False}} in pod["volumes"]
    assert pod["nodeSelector"] == {"disk": "fast"}


def test_a_volume_with_a_node_leaves_none_to_choose(chart):
    with pytest.raises(ValueError, match="node_selector must be left out for a volume of node 'node1', got {'disk': 'fast'}"):
        DindDaemon(chart, "docker-dind", volume=OwnVolume(chart, "node1"), node_selector={"disk": "fast"})


def test_a_device_in_a_user_namespace_is_rejected(tmp_path):
    app = App(outdir=str(tmp_path))
    chart = Chart(app, "test")
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, user_namespace=True)
    device = {"name": "disk", "devicePath": "/dev/xvda"}
    ApiObject.of(daemon.deployment).add_json_patch(JsonPatch.add("/spec/template/spec/containers/0/volumeDevices", [device]))
    with pytest.raises(RuntimeError, match="^volumeDevices of container .docker-dind. must be left out: a user namespace has "):
        app.synth()


@pytest.mark.parametrize(
    ("patched", "field"),
    [("hostPid", "hostPID"), ("shareProcessNamespace", "shareProcessNamespace"), ("hostNetwork", "hostNetwork")],
)
def test_a_patch_that_breaks_the_lock_or_the_drain_is_rejected(tmp_path, patched, field):
    app = App(outdir=str(tmp_path))
    chart = Chart(app, "test")
    daemon = DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)))
    app.synth()
    ApiObject.of(daemon.deployment).add_json_patch(JsonPatch.add(f"/spec/template/spec/{patched}", value=True))
    with pytest.raises(RuntimeError, match=f"^{field} of Deployment .docker-dind. must be off: "):
        app.synth()


def test_containers_that_open_the_data_root_unprivileged_are_not_relabelled(chart, find, volume):
    """Under SELinux, a runtime relabels every file of a volume when an unprivileged container starts."""
    DindDaemon(chart, "docker-dind", volume=volume)
    pod = find("Deployment")["spec"]["template"]["spec"]
    containers = [
        container
        for container in [*pod["initContainers"], *pod["containers"]]
        if any(mount["mountPath"] == "/var/lib/docker/" for mount in container["volumeMounts"])
    ]
    assert [container["name"] for container in containers] == ["wait-for-lock", "docker-dind", "disk-guard"]
    for container in containers:
        security = container["securityContext"]
        assert security["privileged"] or security["seLinuxOptions"] == {"type": "spc_t"}


def test_pod_options_reach_every_pod(chart, volume):
    tolerations = [k8s.Toleration(key="dedicated", operator="Exists")]
    options = PodOptions(
        image_pull_secrets=["registry-example"],
        tolerations=tolerations,
        priority_class_name="high",
        annotations={"sidecar.istio.io/inject": "false"},
        labels={"team": "ci"},
    )
    daemon = DindDaemon(chart, "docker-dind", volume=volume, pod=options)
    PruneSchedule(chart, "prune", daemon=daemon, schedule=Cron.weekly())
    templates = pod_templates(chart)
    assert set(templates) == {
        ("Deployment", "docker-dind"),
        ("Job", "docker-dind-certs"),
        ("CronJob", "docker-dind-certs"),
        ("CronJob", "docker-dind-prune"),
    }
    for template in templates.values():
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry-example"}]
        assert template["spec"]["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
        assert template["spec"]["priorityClassName"] == "high"
        assert template["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
        assert template["metadata"]["labels"]["team"] == "ci"


def test_pod_options_are_overridden_one_by_one(chart, volume):
    options = PodOptions(priority_class_name="high", labels={"team": "ci"}, image_pull_secrets=["a"])
    low = PodOptions(priority_class_name="low", image_pull_secrets=[])
    daemon = DindDaemon(chart, "docker-dind", volume=volume, pod=options, tls=SelfIssued(pod=low))
    PruneSchedule(chart, "prune", daemon=daemon, schedule=Cron.weekly(), pod=low)
    for (kind, _), template in pod_templates(chart).items():
        is_daemon = kind == "Deployment"
        assert template["spec"]["priorityClassName"] == ("high" if is_daemon else "low")
        assert ("imagePullSecrets" in template["spec"]) is is_daemon
        assert template["metadata"]["labels"]["team"] == "ci"


def pod_templates(chart: Chart) -> dict[tuple[str, str], Any]:
    """Return the pod template of each workload, by its kind and its name without a checksum."""
    templates = {}
    for manifest in chart.to_json():
        spec = manifest.get("spec", {})
        spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
        if "template" in spec:
            name = re.sub("-[0-9a-f]{8}$", "", manifest["metadata"]["name"])
            templates[manifest["kind"], name] = spec["template"]
    return templates
