"""Nobody without a certificate and a place in the network, and what renews while builds run."""

import base64
import json
import re
import ssl
import time
from collections.abc import Iterator

import pytest
from cdk8s import App, Chart, Cron, Duration, Size, Yaml

from dindcache import DindDaemon, LocalVolume, NoTls, PruneSchedule, SelfIssued
from tests.framework.certificates import secret, served_certificate, sign
from tests.framework.cluster import ROOT, Client, Cluster, idle_deployment

NAMESPACE, BUILDS, STRANGERS = "dindcache-tls", "dindcache-tls-builds", "dindcache-tls-strangers"
APP, OTHER = "docker-dind", "other-dind"
DAEMON = (NAMESPACE, APP)
SERVICE = [APP, f"{APP}.{NAMESPACE}", f"{APP}.{NAMESPACE}.svc", f"{APP}.{NAMESPACE}.svc.cluster.local"]
SLOW = "FROM busybox:latest\nARG number\nRUN sleep 30; date >built\n"
# For a reload that nobody is in the way of: the kubelet's sync, 10 s without clients, the start.
RELOADED = 200


def tls_chart(cluster: Cluster, tls: SelfIssued | NoTls | None = None, name: str = APP) -> tuple[Chart, DindDaemon]:
    chart = Chart(App(), name, namespace=NAMESPACE, disable_resource_name_hashes=True)
    path = f"{ROOT}/tls-{name}"
    volume = LocalVolume(chart, f"{name}-data", hostname=cluster.hostnames[0], path=path, storage=Size.gibibytes(5))
    daemon = DindDaemon(
        chart,
        name,
        volume=volume,
        tls=tls or SelfIssued(client_namespaces=[BUILDS]),
        reload_timeout=Duration.minutes(10),
        drain_timeout=Duration.seconds(60),
        registry_mirrors=cluster.registry_mirrors,
    )
    PruneSchedule(chart, "clear", daemon=daemon, schedule=Cron.annually())
    return chart, daemon


@pytest.fixture(scope="module")
def daemon(cluster: Cluster) -> Iterator[DindDaemon]:
    for namespace in (NAMESPACE, BUILDS, STRANGERS):
        cluster.create_namespace(namespace)
    for name in (APP, OTHER):
        cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/tls-{name}; mkdir -p {ROOT}/tls-{name}")
    chart, daemon = tls_chart(cluster)
    cluster.apply(chart)
    # It runs each hour by itself, and would undo what is issued here as at a later time.
    cluster.kubectl("patch", "cronjob", f"{APP}-certs", f"--namespace={NAMESPACE}", '--patch={"spec": {"suspend": true}}')
    cluster.rollout(NAMESPACE, APP)
    yield daemon
    volumes = [f"{kind}/{NAMESPACE}-{name}-data" for kind in ("persistentvolume", "storageclass") for name in (APP, OTHER)]
    cluster.forget(NAMESPACE, *volumes)
    for namespace in (BUILDS, STRANGERS):
        cluster.forget(namespace)
    for name in (APP, OTHER):
        cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/tls-{name}")


@pytest.fixture(scope="module")
def client(cluster: Cluster, daemon: DindDaemon) -> Client:
    return Client(cluster, daemon, NAMESPACE, cluster.node_names[-1])


@pytest.fixture(scope="module")
def builder(cluster: Cluster, daemon: DindDaemon) -> Client:
    return Client(cluster, daemon, BUILDS, cluster.node_names[-1])


@pytest.fixture
def settled(cluster: Cluster, daemon: DindDaemon) -> None:
    """The daemon as the chart has it, a new pod, so that what the kubelet counts begins anew."""
    cluster.apply(tls_chart(cluster)[0])
    cluster.delete_pod(NAMESPACE, APP, drain=False)
    cluster.rollout(NAMESPACE, APP)


def issue(cluster: Cluster, *names: str, later: int = 0) -> None:
    """Run the CronJob by hand, under each name at once, as at another time."""
    jobs = []
    for name in names:
        arguments = ["create", "job", name, f"--namespace={NAMESPACE}", f"--from=cronjob/{APP}-certs"]
        job = json.loads(cluster.kubectl(*arguments, "--dry-run=client", "-o", "json"))
        del job["metadata"]["ownerReferences"]  # the CronJob removes what is done, but for one
        environment = job["spec"]["template"]["spec"]["initContainers"][0]["env"]
        environment.append({"name": "NOW", "value": str(int(time.time()) + later)})
        jobs.append(job)
    cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*jobs))
    found = [f"job/{name}" for name in names]
    cluster.kubectl("wait", f"--namespace={NAMESPACE}", *found, "--for=condition=complete", "--timeout=280s")


def put(client: Client, directory: str, files: dict[str, bytes]) -> str:
    """Write files into the client's pod; a docker command that goes by them."""
    script = "".join(f"cat >{directory}/{name} <<'END'\n{content.decode().strip()}\nEND\n" for name, content in files.items())
    client.sh(f"rm -rf {directory}; mkdir {directory}\n{script}")
    return f"DOCKER_CERT_PATH={directory} timeout 20 docker version"


def test_a_build_from_another_namespace_and_node(cluster, builder):
    assert cluster.pods(NAMESPACE, APP)[0]["spec"]["nodeName"] == cluster.node_names[0]
    builder.write_project("/tmp/app")
    assert builder.cached_steps("/tmp/app", "app") == set()
    builder.sh("date +%s >/tmp/app/source")
    assert builder.cached_steps("/tmp/app", "app") == {"2/4"}


def test_the_server_under_each_of_its_names(cluster, client, tmp_path):
    for name in SERVICE:
        client.sh(f"docker -H tcp://{name}:2376 version")
    files = secret(cluster, NAMESPACE, f"{APP}-client")
    for name in [*SERVICE, "localhost", "127.0.0.1"]:
        assert (
            served_certificate(cluster, DAEMON, tmp_path, files, name)
            == secret(cluster, NAMESPACE, f"{APP}-server")["cert.pem"]
        )
    with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
        served_certificate(cluster, DAEMON, tmp_path, files, "elsewhere")


def test_an_address_of_the_service_is_a_clear_error(cluster, client):
    address = cluster.get("service", APP, f"--namespace={NAMESPACE}")["spec"]["clusterIP"]
    done = client.run(f"docker -H tcp://{address}:2376 version")
    assert done.returncode != 0
    assert f"certificate is valid for 127.0.0.1, not {address}" in done.stderr


def test_who_has_no_certificate_of_a_client_is_refused(cluster, client, tmp_path):
    """What docs/tls.md says of each."""
    plain = client.run("DOCKER_TLS_VERIFY= timeout 20 docker version")
    assert plain.returncode != 0
    assert "Client sent an HTTP request to an HTTPS server" in plain.stderr
    mine = secret(cluster, NAMESPACE, f"{APP}-client")
    ca = secret(cluster, NAMESPACE, f"{APP}-ca-1")
    chart, _ = tls_chart(cluster, name=OTHER)
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, OTHER)
    other = {**secret(cluster, NAMESPACE, f"{OTHER}-client"), "ca.pem": mine["ca.pem"]}
    expected: list[tuple[dict[str, bytes], str]] = [
        ({"ca.pem": mine["ca.pem"]}, "tls: certificate required"),
        (other, "tls: certificate required"),  # a client does not show one that the server does not ask for
        ({**secret(cluster, NAMESPACE, f"{APP}-server")}, "tls: bad certificate"),
        (sign(tmp_path, ca, "extendedKeyUsage=clientAuth", days=-1), "tls: expired certificate"),
    ]
    for files, error in expected:
        done = client.run(put(client, "/tmp/wrong", files))
        assert done.returncode != 0
        assert error in done.stderr
    client.sh(put(client, "/tmp/right", sign(tmp_path, ca, "extendedKeyUsage=clientAuth")))


def test_several_daemons_of_a_namespace_keep_to_their_own(cluster, client):
    client.sh("docker version")
    assert secret(cluster, NAMESPACE, f"{OTHER}-ca-1")["ca.pem"] != secret(cluster, NAMESPACE, f"{APP}-ca-1")["ca.pem"]
    cluster.kubectl("delete", "deployment", OTHER, f"--namespace={NAMESPACE}", "--wait")


def test_who_has_no_place_is_not_connected(cluster, daemon, client):
    for namespace, name, labels in [(NAMESPACE, "unlabelled", {}), (STRANGERS, "stranger", {"dindcache/client": "true"})]:
        chart = Chart(App(), name, namespace=namespace, disable_resource_name_hashes=True)
        deployment = idle_deployment(chart, name, "docker:29.9.3-cli", cluster.node_names[-1])
        for key, value in labels.items():
            deployment.pod_metadata.add_label(key, value)
        cluster.apply(chart)
        cluster.rollout(namespace, name)
        ask = f"timeout 5 docker -H tcp://{SERVICE[2]}:2376 version"
        done = cluster.run("exec", f"--namespace={namespace}", f"deployment/{name}", "--", "sh", "-c", f"{ask}; echo $?")
        assert done.stdout.splitlines()[-1] in {"124", "143"}  # it waits for a connection, until timeout ends it
        cluster.kubectl("delete", "deployment", name, f"--namespace={namespace}", "--wait=false")
    # What the others get at once.
    assert client.run("DOCKER_TLS_VERIFY= timeout 5 docker version").returncode == 1


def test_the_issuer_may_write_its_secrets_and_nothing_else(cluster, daemon):
    account = f"--as=system:serviceaccount:{NAMESPACE}:{APP}-certs"
    names = {
        NAMESPACE: {f"{APP}-ca-1", f"{APP}-server", f"{APP}-client"},
        BUILDS: {f"{APP}--{NAMESPACE}-client"},
        STRANGERS: set(),
    }
    for namespace, expected in names.items():
        rules = [
            re.split(r"\s{2,}", line)
            for line in cluster.kubectl("auth", "can-i", "--list", f"--namespace={namespace}", account).splitlines()[1:]
        ]
        # What everyone may: ask about itself, and what is not of a resource.
        own = [rule for rule in rules if rule[0] and not rule[0].startswith("self")]
        assert all(rule[0] == "secrets" and rule[3] == "[create patch]" for rule in own)
        assert {rule[2].strip("[]") for rule in own} == expected


def test_pods_of_their_own_are_restricted(cluster, daemon):
    """The issuer's, the prune's, and a client that is as strict itself."""
    cluster.kubectl("label", "namespace", STRANGERS, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    chart, _ = tls_chart(cluster)
    templates = [o["spec"]["jobTemplate"]["spec"]["template"] for o in chart.to_json() if o["kind"] == "CronJob"]
    assert len(templates) == 2
    for template in templates:
        spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": STRANGERS}, "spec": spec}
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=Yaml.stringify(pod))
    cluster.kubectl("label", "namespace", STRANGERS, "pod-security.kubernetes.io/enforce-")


def test_a_prune_is_a_client(cluster, daemon):
    cluster.run_now(NAMESPACE, f"{APP}-clear")


def test_what_is_lost_heals_and_what_is_valid_stays(cluster, client, builder, settled):
    before = {name: secret(cluster, NAMESPACE, name) for name in (f"{APP}-ca-1", f"{APP}-server", f"{APP}-client")}
    cluster.kubectl("delete", "secret", f"{APP}--{NAMESPACE}-client", f"--namespace={BUILDS}")
    half = {"data": {"key.pem": base64.b64encode(b"-----BEGIN").decode()}}
    cluster.kubectl(
        "patch", "secret", f"{APP}-server", f"--namespace={NAMESPACE}", "--type=merge", f"--patch={json.dumps(half)}"
    )
    issue(cluster, "heal")
    assert secret(cluster, NAMESPACE, f"{APP}-ca-1") == before[f"{APP}-ca-1"]
    assert (
        secret(cluster, NAMESPACE, f"{APP}-client")
        == before[f"{APP}-client"]
        == secret(cluster, BUILDS, f"{APP}--{NAMESPACE}-client")
    )
    healed = secret(cluster, NAMESPACE, f"{APP}-server")
    assert healed["ca.pem"] == before[f"{APP}-server"]["ca.pem"]
    assert healed["cert.pem"] != before[f"{APP}-server"]["cert.pem"]


def test_a_renewal_reaches_the_daemon_after_the_build_in_flight(cluster, client, builder, settled, tmp_path):
    builder.sh(f"mkdir -p /tmp/slow; printf '{SLOW}' >/tmp/slow/Dockerfile".replace("\n", "\\n"))
    old = secret(cluster, NAMESPACE, f"{APP}-server")["cert.pem"]
    assert served_certificate(cluster, DAEMON, tmp_path, secret(cluster, NAMESPACE, f"{APP}-client"), APP) == old
    # Another client certificate too, while both are at work.
    cluster.kubectl("delete", "secret", f"{APP}-client", f"--namespace={NAMESPACE}")
    cluster.apply(tls_chart(cluster, SelfIssued(client_namespaces=[BUILDS], names=["docker.example"]))[0])
    cluster.wait(lambda: secret(cluster, NAMESPACE, f"{APP}-server")["cert.pem"] != old, "another certificate")
    follower = client.start("docker events")  # nobody restarts the engine under it
    mounted = f"exec --namespace={NAMESPACE} deployment/{APP} -- cat /certs/server/cert.pem".split()
    cluster.wait(lambda: cluster.run(*mounted).stdout.encode() != old, "the kubelet writes it", RELOADED)
    build = builder.start_build(f"--build-arg=number={time.time_ns()} /tmp/slow", "slow")
    follower.kill()
    follower.communicate()
    output, _ = build.communicate(timeout=120)
    assert build.returncode == 0, output
    cluster.wait(lambda: cluster.restarts(NAMESPACE, APP) == 1, "the engine is restarted in order", RELOADED)
    cluster.rollout(NAMESPACE, APP)
    files = secret(cluster, NAMESPACE, f"{APP}-client")
    new = secret(cluster, NAMESPACE, f"{APP}-server")["cert.pem"]
    assert served_certificate(cluster, DAEMON, tmp_path, files, "docker.example") == new
    builder.wait_for_daemon()


def test_a_change_of_the_ca_with_old_and_new_clients_at_work(cluster, client, builder, settled, tmp_path):
    chart, _ = tls_chart(cluster, SelfIssued(client_namespaces=[BUILDS], ca_generation=2))
    handover = next(
        int(variable["value"])
        for manifest in chart.to_json()
        if manifest["kind"] == "Job"
        for variable in manifest["spec"]["template"]["spec"]["initContainers"][0]["env"]
        if variable["name"] == "HANDOVER_SECONDS"
    )
    old = secret(cluster, NAMESPACE, f"{APP}-client")
    works = put(client, "/tmp/old", old)

    def reloaded(what: str) -> None:
        now = secret(cluster, NAMESPACE, f"{APP}-server")

        def serves() -> bool:
            # The engine writes its pid when it starts.
            shown = "[ /var/run/docker.pid -nt /certs/server/ca.pem ] && cat /certs/server/ca.pem /certs/server/cert.pem"
            mounted: str = cluster.run("exec", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--", "sh", "-c", shown).stdout
            return mounted.encode() == now["ca.pem"] + now["cert.pem"]

        cluster.wait(serves, f"the daemon serves with {what}", 2 * RELOADED)
        cluster.rollout(NAMESPACE, APP)
        client.wait_for_daemon()

    cluster.apply(chart)
    cluster.wait(lambda: secret(cluster, NAMESPACE, f"{APP}-server")["ca.pem"].count(b"BEGIN") == 2, "a bundle of both")
    reloaded("both")
    client.sh(works)  # who has not heard of it
    client.sh(put(client, "/tmp/both", secret(cluster, NAMESPACE, f"{APP}-client")))
    issue(cluster, "second-step", later=handover + 60)
    assert secret(cluster, NAMESPACE, f"{APP}-client")["cert.pem"] != old["cert.pem"]
    reloaded("a certificate of the second")
    client.sh("DOCKER_CERT_PATH=/tmp/both docker version")  # an old certificate, and trust in both
    builder.sh("docker version")
    issue(cluster, "third-step", later=2 * handover + 60)
    assert secret(cluster, NAMESPACE, f"{APP}-server")["ca.pem"] == secret(cluster, NAMESPACE, f"{APP}-ca-2")["ca.pem"]
    reloaded("the second alone")
    assert "certificate required" in client.run("DOCKER_CERT_PATH=/tmp/both docker version").stderr
    builder.sh("docker version")
    files = secret(cluster, NAMESPACE, f"{APP}-client")
    assert served_certificate(cluster, DAEMON, tmp_path, files, APP) == secret(cluster, NAMESPACE, f"{APP}-server")["cert.pem"]


def test_several_runs_at_once_agree(cluster, daemon, settled, tmp_path):
    names = [f"{APP}-ca-1", f"{APP}-server", f"{APP}-client"]
    cluster.kubectl("delete", "secret", f"--namespace={NAMESPACE}", *names)
    issue(cluster, *(f"at-once-{i}" for i in range(5)))
    issue(cluster, "afterwards")  # of two that saw the CA and no certificates, each makes them
    ca, server, client = (secret(cluster, NAMESPACE, name) for name in names)
    assert server["ca.pem"] == client["ca.pem"] == ca["ca.pem"]
    assert secret(cluster, BUILDS, f"{APP}--{NAMESPACE}-client") == client
    cluster.delete_pod(NAMESPACE, APP)
    cluster.rollout(NAMESPACE, APP)
    assert served_certificate(cluster, DAEMON, tmp_path, client, APP) == server["cert.pem"]


def test_an_upgrade_from_the_plain_daemon_keeps_the_data(cluster, client, settled):
    chart, daemon = tls_chart(cluster, NoTls())
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, APP)
    plain = Client(cluster, daemon, NAMESPACE, cluster.node_names[-1], name="plain")
    plain.write_project("/tmp/kept")
    plain.cached_steps("/tmp/kept", "kept")
    cluster.apply(tls_chart(cluster)[0])
    cluster.rollout(NAMESPACE, APP)
    refused = plain.run("timeout 5 docker version")
    assert refused.returncode != 0
    client.sh("mkdir -p /tmp/kept")
    for file in ("Dockerfile", "source"):
        content = plain.sh(f"cat /tmp/kept/{file}")
        client.sh(f"cat >/tmp/kept/{file} <<'END'\n{content.rstrip()}\nEND")
    assert client.cached_steps("/tmp/kept", "kept") == {"2/4", "3/4", "4/4"}
