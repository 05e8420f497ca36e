"""A daemon that issues its certificates itself: which clients it accepts, and how certificates change while builds run.

Its namespaces look like numbers, which every manifest must quote.
"""

import base64
import json
import re
import ssl
import time
from collections.abc import Iterator

import pytest
from cdk8s import App, Chart, Cron, Duration, Yaml
from cdk8s_plus_27 import EnvValue

from dindcache import DindDaemon, NoTls, PruneSchedule, SelfIssued
from tests.framework.certificates import Authority, secret, served_certificate, sync
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import APP, Site, new_site
from tests.framework.support import idle_deployment

NAMESPACE, BUILDS, STRANGERS = "20240229", "1e30", "dindcache-tls-strangers"
OTHER = "other-dind"
DAEMON = (NAMESPACE, APP)
SERVER, CLIENT, ELSEWHERE = f"{APP}-server", f"{APP}-client", f"{APP}--{NAMESPACE}-client"
SERVICE = [APP, f"{APP}.{NAMESPACE}", f"{APP}.{NAMESPACE}.svc", f"{APP}.{NAMESPACE}.svc.cluster.local"]
SLOW = "FROM busybox:latest\nARG number\nRUN sleep 20; date >built\n"
STATE = "dindcache/certificates"


def tls_chart(site: Site, tls: SelfIssued | NoTls | None = None) -> tuple[Chart, DindDaemon]:
    chart = site.chart()
    tls = tls or SelfIssued(client_namespaces=[BUILDS])
    daemon = site.add_daemon(chart, tls=tls, reload_timeout=Duration.minutes(10), drain_timeout=Duration.seconds(60))
    daemon.container.env.add_variable("POLL_SECONDS", EnvValue.from_value("1"))
    PruneSchedule(chart, "clear", daemon=daemon, schedule=Cron.annually())
    return chart, daemon


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Site]:
    with new_site(cluster, NAMESPACE, BUILDS, STRANGERS) as site:
        yield site


@pytest.fixture(scope="module")
def daemon(site: Site) -> DindDaemon:
    chart, daemon = tls_chart(site)
    other = site.chart(OTHER)
    site.add_daemon(other, OTHER)
    site.cluster.apply(other)
    site.start(chart)
    site.start(other)
    # The hourly run would repair what a test breaks.
    for name in (APP, OTHER):
        patch = '--patch={"spec": {"suspend": true}}'
        site.cluster.kubectl("patch", "cronjob", f"{name}-certs", f"--namespace={NAMESPACE}", patch)
    return daemon


@pytest.fixture(scope="module")
def client(site: Site, daemon: DindDaemon) -> Client:
    return site.client(daemon)


@pytest.fixture(scope="module")
def builder(site: Site, daemon: DindDaemon) -> Client:
    return site.client(daemon, BUILDS)


def issue(cluster: Cluster, *names: str) -> None:
    """Run the CronJob by hand, under each name at once."""
    jobs = []
    for name in names:
        arguments = ["create", "job", name, f"--namespace={NAMESPACE}", f"--from=cronjob/{APP}-certs"]
        job = json.loads(cluster.kubectl(*arguments, "--dry-run=client", "-o", "json"))
        del job["metadata"]["ownerReferences"]  # the CronJob removes all but the last one
        jobs.append(job)
    cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*jobs))
    found = [f"job/{name}" for name in names]
    cluster.kubectl("wait", f"--namespace={NAMESPACE}", *found, "--for=condition=complete", "--timeout=600s")


def jobs(cluster: Cluster, namespace: str = NAMESPACE) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.get("jobs", f"--namespace={namespace}")["items"]}


def put(client: Client, directory: str, files: dict[str, bytes]) -> str:
    """Write files into the client's pod, and return a docker command that uses them."""
    script = "".join(
        f"cat >{directory}/{name} <<'END'\n{content.decode().strip()}\nEND\n"
        for name, content in files.items()
        if name.endswith(".pem")
    )
    client.sh(f"rm -rf {directory}; mkdir {directory}\n{script}")
    return f"DOCKER_CERT_PATH={directory} timeout 20 docker version"


def restart(cluster: Cluster) -> None:
    """Start the daemon's pod anew, with what its Secret has now, which is faster than a reload."""
    cluster.delete_pod(NAMESPACE, APP, drain=False)
    cluster.rollout(NAMESPACE, APP)


def test_a_build_from_another_namespace_and_node(cluster, builder):
    assert cluster.pods(NAMESPACE, APP)[0]["spec"]["nodeName"] == cluster.node_names[0]
    builder.write_project("/tmp/app")
    assert builder.cached_steps("/tmp/app", "app") == set()
    builder.sh("date +%s >/tmp/app/source")
    assert builder.cached_steps("/tmp/app", "app") == {"2/4"}


def test_the_server_by_each_of_its_names(cluster, client, tmp_path):
    for name in SERVICE:
        client.sh(f"docker -H tcp://{name}:2376 version")
    files = secret(cluster, NAMESPACE, CLIENT)
    for name in [*SERVICE, "localhost", "127.0.0.1"]:
        assert served_certificate(cluster, DAEMON, tmp_path, files, name) == secret(cluster, NAMESPACE, SERVER)["cert.pem"]
    with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
        served_certificate(cluster, DAEMON, tmp_path, files, "elsewhere")


def test_an_address_of_the_service_is_a_clear_error(cluster, client):
    address = cluster.get("service", APP, f"--namespace={NAMESPACE}")["spec"]["clusterIP"]
    done = client.run(f"docker -H tcp://{address}:2376 version")
    assert done.returncode != 0
    assert f"certificate is valid for 127.0.0.1, not {address}" in done.stderr


def test_clients_without_a_valid_certificate_are_rejected(cluster, client):
    """With the errors that docs/reference/troubleshooting.md explains."""
    plain = client.run("DOCKER_TLS_VERIFY= timeout 20 docker version")
    assert plain.returncode != 0
    assert "Client sent an HTTP request to an HTTPS server" in plain.stderr
    mine = secret(cluster, NAMESPACE, CLIENT)
    ca = Authority(files=secret(cluster, NAMESPACE, f"{APP}-ca-1"))
    other = {**secret(cluster, NAMESPACE, f"{OTHER}-client"), "ca.pem": mine["ca.pem"]}
    below = Authority("below", signer=ca)
    chained = below.issue("extendedKeyUsage = clientAuth")
    expected: list[tuple[dict[str, bytes], str]] = [
        ({"ca.pem": mine["ca.pem"]}, "tls: certificate required"),
        (other, "tls: certificate required"),  # a client does not show one that the server does not ask for
        (secret(cluster, NAMESPACE, SERVER), "tls: bad certificate"),
        (ca.issue("extendedKeyUsage = clientAuth", end=-60), "tls: expired certificate"),
        # The CA signs no other CA.
        ({**chained, "ca.pem": mine["ca.pem"], "cert.pem": chained["cert.pem"] + below.certificate}, "tls: bad certificate"),
    ]
    for files, error in expected:
        done = client.run(put(client, "/tmp/wrong", files))
        assert done.returncode != 0
        assert error in done.stderr
    client.sh(put(client, "/tmp/right", ca.issue("extendedKeyUsage = clientAuth")))


def test_several_daemons_of_a_namespace_have_their_own_ca(cluster, client):
    client.sh("docker version")
    assert secret(cluster, NAMESPACE, f"{OTHER}-ca-1")["ca.pem"] != secret(cluster, NAMESPACE, f"{APP}-ca-1")["ca.pem"]


def test_pods_without_the_label_or_of_another_namespace_do_not_connect(cluster, daemon, client):
    pods = [(NAMESPACE, "unlabelled", {}), (STRANGERS, "stranger", {"dindcache/client": "true"})]
    for namespace, name, labels in pods:
        chart = Chart(App(), name, namespace=namespace, disable_resource_name_hashes=True)
        deployment = idle_deployment(chart, name, "docker:29.9.3-cli", cluster.node_names[-1])
        for key, value in labels.items():
            deployment.pod_metadata.add_label(key, value)
        cluster.apply(chart)
    for namespace, name, _ in pods:
        cluster.rollout(namespace, name)
        ask = f"timeout 5 docker -H tcp://{SERVICE[2]}:2376 version"
        done = cluster.run("exec", f"--namespace={namespace}", f"deployment/{name}", "--", "sh", "-c", f"{ask}; echo $?")
        assert done.stdout.splitlines()[-1] in {"124", "143"}  # it waits for a connection, until timeout ends it
        cluster.kubectl("delete", "deployment", name, f"--namespace={namespace}", "--wait=false")
    # A labelled pod has its answer at once.
    assert client.run("DOCKER_TLS_VERIFY= timeout 5 docker version").returncode == 1


def test_the_rights_of_the_job(cluster, daemon):
    account = f"--as=system:serviceaccount:{NAMESPACE}:{APP}-certs"
    names = {NAMESPACE: {f"{APP}-ca-1", SERVER, CLIENT}, BUILDS: {ELSEWHERE}, STRANGERS: set()}
    for namespace, expected in names.items():
        rules = [
            re.split(r"\s{2,}", line)
            for line in cluster.kubectl("auth", "can-i", "--list", f"--namespace={namespace}", account).splitlines()[1:]
        ]
        # Everyone can ask about itself, and for what is not of a resource.
        own = [rule for rule in rules if rule[0] and not rule[0].startswith("self")]
        assert {rule[2].strip("[]") for rule in own if rule[0] == "secrets" and rule[3] == "[create patch]"} == expected
        others = [(rule[0], rule[3]) for rule in own if rule[0] != "secrets"]
        assert others == ([("jobs.batch", "[deletecollection]")] if namespace == NAMESPACE else [])


def test_pods_of_their_own_are_restricted(cluster, site, daemon):
    """Those of the Job and of the prune, which is a client as strict as that."""
    cluster.kubectl("label", "namespace", STRANGERS, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    chart, _ = tls_chart(site)
    templates = [o["spec"]["jobTemplate"]["spec"]["template"] for o in chart.to_json() if o["kind"] == "CronJob"]
    assert len(templates) == 2
    for template in templates:
        spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": STRANGERS}, "spec": spec}
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=Yaml.stringify(pod))
    cluster.kubectl("label", "namespace", STRANGERS, "pod-security.kubernetes.io/enforce-")


def test_a_prune_is_a_client(cluster, daemon):
    cluster.run_now(NAMESPACE, f"{APP}-clear")


def test_a_second_apply_changes_nothing(cluster, site, client, builder):
    manifests = Yaml.stringify(*tls_chart(site)[0].to_json())
    resume = '--patch={"spec": {"suspend": false}}'
    cluster.kubectl("patch", "cronjob", f"{APP}-certs", f"--namespace={NAMESPACE}", resume)
    difference = cluster.run("diff", "-f", "-", stdin=manifests)
    assert (difference.returncode, difference.stdout) == (0, "")
    before = jobs(cluster)
    applied = cluster.kubectl("apply", "-f", "-", stdin=manifests).splitlines()
    assert {line.rpartition(" ")[2] for line in applied if f"/{APP}-certs" in line} == {"unchanged"}
    assert jobs(cluster) == before
    cluster.kubectl("patch", "cronjob", f"{APP}-certs", f"--namespace={NAMESPACE}", resume.replace("false", "true"))


def test_lost_secrets_are_restored_and_valid_ones_stay(cluster, client, builder):
    before = {name: secret(cluster, NAMESPACE, name) for name in (f"{APP}-ca-1", SERVER, CLIENT)}
    cluster.kubectl("delete", "secret", ELSEWHERE, f"--namespace={BUILDS}")
    half = {"data": {"key.pem": base64.b64encode(b"-----BEGIN").decode()}}
    cluster.kubectl("patch", "secret", SERVER, f"--namespace={NAMESPACE}", "--type=merge", f"--patch={json.dumps(half)}")
    issue(cluster, "restore")
    assert secret(cluster, NAMESPACE, f"{APP}-ca-1") == before[f"{APP}-ca-1"]
    assert secret(cluster, NAMESPACE, CLIENT) == before[CLIENT] == secret(cluster, BUILDS, ELSEWHERE)
    restored = secret(cluster, NAMESPACE, SERVER)
    assert restored["ca.pem"] == before[SERVER]["ca.pem"]
    assert restored["cert.pem"] != before[SERVER]["cert.pem"]


def test_another_configuration_and_the_first_one_again_issue_at_once(cluster, site, client, builder, tmp_path):
    """A renewal reaches the daemon after the build in flight, and a Job deletes only those that it replaces."""
    strangers = [
        ("stranger", NAMESPACE, {"app": APP}),
        ("similar", NAMESPACE, {"app": f"{APP}-2", STATE: "0123abcd"}),
        ("elsewhere", BUILDS, {"app": APP, STATE: "0123abcd"}),
    ]
    for name, namespace, labels in strangers:
        cluster.kubectl("create", "job", name, f"--namespace={namespace}", "--image=busybox:latest", "--", "true")
        cluster.kubectl("label", "job", name, f"--namespace={namespace}", *(f"{key}={value}" for key, value in labels.items()))
    chart, _ = tls_chart(site)
    (first,) = (o["metadata"]["name"] for o in chart.to_json() if o["kind"] == "Job")
    others = jobs(cluster) - {first}
    builder.sh(f"mkdir -p /tmp/slow; printf '{SLOW}' >/tmp/slow/Dockerfile".replace("\n", "\\n"))
    old = secret(cluster, NAMESPACE, SERVER)["cert.pem"]
    # The clients' certificate is renewed as well, while both are at work.
    cluster.kubectl("delete", "secret", CLIENT, f"--namespace={NAMESPACE}")
    restart(cluster)  # the kubelet delays the restarts of a container that has restarted before
    client.wait_for_daemon()
    follower = client.start("docker events")  # nobody restarts the engine under it
    cluster.apply(tls_chart(site, SelfIssued(client_namespaces=[BUILDS], names=["docker.example"]))[0])
    cluster.wait(lambda: secret(cluster, NAMESPACE, SERVER)["cert.pem"] != old, "another certificate")
    assert first not in jobs(cluster)
    assert others < jobs(cluster)
    sync(cluster, NAMESPACE, APP)
    build = builder.start_build(f"--build-arg=number={time.time_ns()} /tmp/slow", "slow")
    follower.kill()
    follower.communicate()
    output, _ = build.communicate(timeout=600)
    assert build.returncode == 0, output
    assert cluster.restarts(NAMESPACE, APP) == 0
    cluster.wait(lambda: cluster.restarts(NAMESPACE, APP) == 1, "the engine is restarted in order")
    cluster.rollout(NAMESPACE, APP)
    new = secret(cluster, NAMESPACE, SERVER)["cert.pem"]
    files = secret(cluster, NAMESPACE, CLIENT)
    assert served_certificate(cluster, DAEMON, tmp_path, files, "docker.example") == new
    cluster.apply(chart)
    cluster.wait(lambda: secret(cluster, NAMESPACE, SERVER)["cert.pem"] != new, "a certificate of the first configuration")
    assert others | {first} == jobs(cluster)
    assert "elsewhere" in jobs(cluster, BUILDS)


def test_another_ca_with_old_and_new_clients_at_work(cluster, site, client, builder, tmp_path):
    chart, _ = tls_chart(site, SelfIssued(client_namespaces=[BUILDS], ca_generation=2))
    old = secret(cluster, NAMESPACE, CLIENT)
    works = put(client, "/tmp/old", old)

    def next_step(name: str) -> None:
        """Issue as if the last step were long ago."""
        long_ago = {"data": {"last-ca-step": base64.b64encode(b"0").decode()}}
        patch = ["--type=merge", f"--patch={json.dumps(long_ago)}"]
        cluster.kubectl("patch", "secret", SERVER, f"--namespace={NAMESPACE}", *patch)
        issue(cluster, name)
        restart(cluster)
        client.wait_for_daemon()

    cluster.apply(chart)
    cluster.wait(lambda: secret(cluster, NAMESPACE, SERVER)["ca.pem"].count(b"BEGIN") == 2, "a bundle of both")
    restart(cluster)
    client.wait_for_daemon()
    client.sh(works)  # one that has not been updated
    client.sh(put(client, "/tmp/both", secret(cluster, NAMESPACE, CLIENT)))
    next_step("second-step")
    assert secret(cluster, NAMESPACE, CLIENT)["cert.pem"] != old["cert.pem"]
    client.sh("DOCKER_CERT_PATH=/tmp/both docker version")  # an old certificate, and trust in both
    builder.sh("docker version")
    next_step("third-step")
    assert secret(cluster, NAMESPACE, SERVER)["ca.pem"] == secret(cluster, NAMESPACE, f"{APP}-ca-2")["ca.pem"]
    assert "certificate required" in client.run("DOCKER_CERT_PATH=/tmp/both docker version").stderr
    builder.sh("docker version")
    files = secret(cluster, NAMESPACE, CLIENT)
    assert served_certificate(cluster, DAEMON, tmp_path, files, APP) == secret(cluster, NAMESPACE, SERVER)["cert.pem"]


def test_several_runs_at_once_agree(cluster, daemon, client, tmp_path):
    """After a revocation, which deletes every Secret."""
    cluster.kubectl("delete", "secret", f"--namespace={NAMESPACE}", f"--selector=app={APP}")
    issue(cluster, *(f"at-once-{i}" for i in range(3)))
    issue(cluster, "afterwards")  # of two that saw the CA and no certificates, each issues them
    (ca_secret,) = (
        item["metadata"]["name"]
        for item in cluster.get("secrets", f"--namespace={NAMESPACE}", f"--selector=app={APP}")["items"]
        if item.get("immutable")
    )
    ca, server, files = (secret(cluster, NAMESPACE, name) for name in (ca_secret, SERVER, CLIENT))
    assert server["ca.pem"] == files["ca.pem"] == ca["ca.pem"]
    assert secret(cluster, BUILDS, ELSEWHERE) == files
    restart(cluster)
    assert served_certificate(cluster, DAEMON, tmp_path, files, APP) == server["cert.pem"]


def test_an_upgrade_from_the_plain_daemon_keeps_the_data(cluster, site, client):
    def replace(tls: SelfIssued | NoTls | None) -> DindDaemon:
        """Apply another daemon, without a drain."""
        chart, daemon = tls_chart(site, tls)
        cluster.apply(chart)
        restart(cluster)
        return daemon

    plain = site.client(replace(NoTls()), name="plain")
    plain.write_project("/tmp/kept")
    plain.cached_steps("/tmp/kept", "kept")
    replace(None)
    rejected = plain.run("timeout 5 docker version")
    assert rejected.returncode != 0
    client.sh("mkdir -p /tmp/kept")
    for file in ("Dockerfile", "source"):
        content = plain.sh(f"cat /tmp/kept/{file}")
        client.sh(f"cat >/tmp/kept/{file} <<'END'\n{content.rstrip()}\nEND")
    assert client.cached_steps("/tmp/kept", "kept") == {"2/4", "3/4", "4/4"}
