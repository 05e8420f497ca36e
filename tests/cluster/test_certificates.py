"""Certificates that others issue: the tests play cert-manager's controller, and follow docs/guides/certificates.md."""

import base64
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cdk8s import Duration, Yaml
from cdk8s_plus_27 import EnvValue

from dindcache import CertManager, DindDaemon, GivenSecrets, Tls
from tests.framework import pages
from tests.framework.certificates import FILES, Authority, served_certificate, sync, write_secret
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import Site

HERE = Path(__file__).parent.parent.parent
NAMESPACE, JOBS = "dindcache-given", "dindcache-given-jobs"
GIVEN, MANAGED = "given-dind", "managed-dind"
CRDS = HERE / "imports" / "crds" / "cert-manager.io.yaml"
RSA, CLIENT = "RSA -pkeyopt rsa_keygen_bits:{}", "extendedKeyUsage = clientAuth"
LOCAL = "extendedKeyUsage = serverAuth\nsubjectAltName = DNS:localhost"


@pytest.fixture(scope="module")
def crds(cluster: Cluster) -> Iterator[None]:
    """cert-manager's own, so that the API server checks its objects; not its controller."""
    cluster.kubectl("apply", "--server-side", "-f", CRDS)
    cluster.kubectl("wait", "--for=condition=Established", "-f", CRDS)
    yield
    cluster.kubectl("delete", "-f", CRDS)


def apply(site: Site, name: str, tls: Tls) -> DindDaemon:
    """Apply a daemon whose reload does not wait for its clients, and do not wait for it."""
    chart = site.chart(name)
    daemon = site.add_daemon(chart, name, tls=tls, reload_timeout=Duration.seconds(0))
    daemon.container.env.add_variable("POLL_SECONDS", EnvValue.from_value("1"))
    site.cluster.kubectl("apply", "--validate=strict", "-f", "-", stdin=Yaml.stringify(*chart.to_json()))
    return daemon


def is_ready(cluster: Cluster, app: str) -> bool:
    (pod,) = cluster.pods(NAMESPACE, app)
    return any(status["name"] == app and status["ready"] for status in pod["status"].get("containerStatuses", []))


def builds(client: Client) -> None:
    client.write_project("/tmp/app")
    client.cached_steps("/tmp/app", "app")
    assert client.cached_steps("/tmp/app", "app") == {"2/4", "3/4", "4/4"}


@pytest.fixture(scope="module")
def given(cluster: Cluster, site: Site, tmp_path_factory: pytest.TempPathFactory) -> DindDaemon:
    """A daemon with the Secrets of docs/guides/certificates.md, after a start with broken ones."""
    for name in ("my-server", "my-client"):
        write_secret(cluster, NAMESPACE, name, dict.fromkeys(FILES, b""))
    daemon = apply(site, GIVEN, GivenSecrets(server="my-server", client="my-client"))
    # An empty certificate is no reason to serve without TLS.
    logs = ["logs", f"--namespace={NAMESPACE}", f"deployment/{GIVEN}", f"--container={GIVEN}"]
    cluster.wait(lambda: "invalid TLS configuration" in cluster.run(*logs).stdout, "the engine rejects its certificate")
    cluster.wait(lambda: cluster.restarts(NAMESPACE, GIVEN) >= 1, "the container restarts")
    assert not is_ready(cluster, GIVEN)
    cluster.kubectl("delete", "secret", f"--namespace={NAMESPACE}", "my-server", "my-client")
    script = pages.block("docs/guides/certificates.md", "## Secrets that you create")
    names = {"name=docker-dind namespace=kube-ops": f"name={GIVEN} namespace={NAMESPACE}"}
    pages.run(cluster, script, tmp_path_factory.mktemp("documentation"), names)
    sync(cluster, NAMESPACE, GIVEN)
    cluster.rollout(NAMESPACE, GIVEN)
    return daemon


def test_the_lines_of_the_documentation(cluster, site, given):
    builds(site.client(given))


def versions() -> dict[str, tuple[dict[str, bytes], dict[str, bytes], bool, bool]]:
    """Return files of an engine and of a client, whether the check must accept the first, and whether the client connects."""
    root, other = Authority("root"), Authority("other")
    middle = Authority("middle", signer=root)
    plain, client = root.issue(LOCAL), root.issue(CLIENT)
    chain, client_chain = middle.issue(LOCAL), middle.issue(CLIENT)
    for files in (chain, client_chain):
        files["cert.pem"] += middle.certificate
    by_root = {"ca.pem": root.certificate}

    def openssl(*arguments: str) -> bytes:
        return subprocess.run(["openssl", *arguments], input=plain["key.pem"], check=True, capture_output=True).stdout

    good = {
        "EC": (plain, client),
        "RSA": (root.issue(LOCAL, key=RSA.format(2048)), client),
        "short RSA": (root.issue(LOCAL, key=RSA.format(1024)), client),
        "P-521": (root.issue(LOCAL, key="EC -pkeyopt ec_paramgen_curve:P-521"), client),
        "Ed25519": (root.issue(LOCAL, key="ED25519"), client),
        "an old form of the key, after its parameters": (
            {**plain, "key.pem": openssl("ecparam", "-name", "prime256v1") + openssl("ec")},
            client,
        ),
        "a chain with its root": ({**chain, **by_root}, {**client_chain, **by_root}),
        "a chain, and a client without one": ({**chain, **by_root}, client),
        "a chain with its intermediate": (chain, client_chain),
        "an intermediate that is not repeated": (middle.issue(LOCAL), middle.issue(CLIENT)),
        "carriage returns": ({file: text.replace(b"\n", b"\r\n") for file, text in plain.items()}, client),
        "text before and after": ({file: b"a text\n" + text + b"\n\xff\0" for file, text in plain.items()}, client),
        "several CAs": ({**plain, "ca.pem": other.certificate + root.certificate}, client),
        "clients of another CA": (
            {**plain, "ca.pem": other.certificate},
            {**other.issue(CLIENT), **by_root},
        ),
        "any usage": (root.issue("subjectAltName = DNS:localhost"), client),
    }
    bad = {
        "key of another": {**plain, "key.pem": chain["key.pem"]},
        "swapped": {**plain, "cert.pem": plain["key.pem"], "key.pem": plain["cert.pem"]},
        "intermediate first": {**chain, "cert.pem": middle.certificate + plain["cert.pem"]},
        "encrypted key": {**plain, "key.pem": openssl("pkcs8", "-topk8", "-passout", "pass:secret")},
        "encrypted key of the old form": {**plain, "key.pem": openssl("ec", "-aes256", "-passout", "pass:secret")},
        "half a key": {**plain, "key.pem": plain["key.pem"][:60]},
        "a curve that the engine does not know": root.issue(LOCAL, key="EC -pkeyopt ec_paramgen_curve:secp256k1"),
        "a byte order mark": {file: b"\xef\xbb\xbf" + text for file, text in plain.items()},
        **{f"no {file}": {**plain, file: b""} for file in FILES},
        # The engine starts with these, but no client connects.
        "expired": root.issue(LOCAL, end=-60),
        "not yet valid": root.issue(LOCAL, begin=3600),
        "for clients": root.issue(f"{CLIENT}\nsubjectAltName = DNS:localhost"),
    }
    return {
        **{name: (server, user, True, True) for name, (server, user) in good.items()},
        **{name: (server, client, False, False) for name, server in bad.items()},
        # A client that goes by common names could use it.
        "no names": (root.issue("extendedKeyUsage = serverAuth"), client, True, False),
    }


# For each version another engine in the container of the daemon, with an empty data root, and the client of the image.
TRY = """mkdir /tmp/tried && cd /tmp/tried && base64 -d | tar xz
echo '{"storage-driver": "vfs", "features": {"containerd-snapshotter": false}}' >/tmp/daemon.json
containerd=$(find /run /var/run -name containerd.sock | grep docker | head -n 1)
number=0
for directory in */; do
    cd /tmp/tried/$directory
    number=$((number + 1)) check=0 client=0
    : >log
    port=$((3000 + number))
    flags="--tlsverify --tlscacert=$PWD/server/ca.pem --tlscert=$PWD/server/cert.pem --tlskey=$PWD/server/key.pem"
    CERTIFICATES=$PWD/server sh /etc/dindcache/check-certificate.sh $flags >/dev/null 2>&1 || check=$?
    dockerd $flags --config-file=/tmp/daemon.json --host=tcp://127.0.0.1:$port \\
        --data-root=$PWD/data --exec-root=$PWD/exec --pidfile=$PWD/pid \\
        --containerd=$containerd --containerd-namespace=tried-$number --containerd-plugins-namespace=tried-$number-plugins \\
        --bridge=none --iptables=false --ip6tables=false >log 2>&1 &
    engine=$!
    until grep -q 'API listen on' log || ! kill -0 $engine 2>/dev/null; do sleep 0.1; done
    files="--tlscacert=client/ca.pem --tlscert=client/cert.pem --tlskey=client/key.pem"
    docker --host=tcp://localhost:$port --tlsverify $files version >/dev/null 2>client.log || client=$?
    if kill $engine 2>/dev/null; then started=0; else started=1; fi
    echo "$directory $check $started $client"
    [ $started = 1 ] || wait $engine || :
done
rm -rf /tmp/tried"""


def test_the_check_of_a_renewal_is_the_engines_own(cluster, given):
    """What it accepts starts an engine, and what it rejects is of no use."""
    tried = versions()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for i, (server, client, _, _) in enumerate(tried.values()):
            for side, files in (("server", server), ("client", client)):
                for file, content in files.items():
                    info = tarfile.TarInfo(f"{i:02}/{side}/{file}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    pod = ["--stdin", f"--namespace={NAMESPACE}", f"deployment/{GIVEN}", f"--container={GIVEN}"]
    output = cluster.kubectl("exec", *pod, "--", "sh", "-ec", TRY, stdin=base64.b64encode(archive.getvalue()).decode())
    results = {
        name: [int(word) == 0 for word in line.split()[1:]] for name, line in zip(tried, output.splitlines(), strict=True)
    }
    expected = {name: (accepted, connects) for name, (_, _, accepted, connects) in tried.items()}
    assert {name: (accepted, connects) for name, (accepted, _, connects) in results.items()} == expected
    assert all(started for accepted, started, _ in results.values() if accepted)


def write_managed(cluster: Cluster, namespace: str, name: str, files: dict[str, bytes]) -> None:
    """Write what cert-manager writes for a Certificate."""
    content = {"ca.crt": files["ca.pem"], "tls.crt": files["cert.pem"], "tls.key": files["key.pem"]}
    write_secret(cluster, namespace, name, content, type="kubernetes.io/tls")


def test_cert_manager_with_an_intermediate_and_without(cluster, site, crds, tmp_path):
    root = Authority("root")
    middle = Authority("middle", signer=root)
    daemon = apply(site, MANAGED, CertManager(cluster_issuer="docker-ca", client_namespaces=[JOBS]))
    requested = {
        (namespace, item["spec"]["secretName"]): item["spec"]
        for namespace in (NAMESPACE, JOBS)
        for item in cluster.get("certificates.cert-manager.io", f"--namespace={namespace}")["items"]
    }
    server = (NAMESPACE, f"{MANAGED}-server")
    assert {key: spec["usages"][-1] for key, spec in requested.items()} == {
        server: "server auth",
        (NAMESPACE, f"{MANAGED}-client"): "client auth",
        (JOBS, f"{MANAGED}--{NAMESPACE}-client"): "client auth",
    }

    def issue(namespace: str, name: str, signer: Authority) -> dict[str, bytes]:
        """Issue as a ClusterIssuer does that is an intermediate with a known root, or the root."""
        names = ",".join(f"DNS:{name}" for name in requested[namespace, name].get("dnsNames", []))
        files = signer.issue(LOCAL.replace("DNS:localhost", names) if names else CLIENT)
        chain = files["cert.pem"] + (b"" if signer is root else signer.certificate)
        write_managed(cluster, namespace, name, {**files, "cert.pem": chain, "ca.pem": root.certificate})
        return files

    for namespace, name in requested:
        issue(namespace, name, middle)
    cluster.rollout(NAMESPACE, MANAGED)
    client = site.client(daemon, JOBS)
    builds(client)
    for restarts, signer in enumerate([root, middle], start=1):
        renewed = issue(*server, signer)
        sync(cluster, NAMESPACE, MANAGED)
        cluster.wait(
            lambda restarts=restarts: cluster.restarts(NAMESPACE, MANAGED) == restarts, "the engine is restarted in order"
        )
        cluster.rollout(NAMESPACE, MANAGED)
        shown = served_certificate(cluster, (NAMESPACE, MANAGED), tmp_path, root.issue(CLIENT), MANAGED)
        assert shown == renewed["cert.pem"]
        client.wait_for_daemon()


def test_the_api_server_takes_every_kind(cluster, site, crds):
    chart = site.chart("kinds")
    site.add_daemon(chart, "kinds", tls=CertManager())
    manifests = [o for o in chart.to_json() if o["apiVersion"].startswith("cert-manager")]
    for example in ("cert-manager-ca", "cert-manager"):
        objects = yaml.safe_load_all((HERE / "examples" / f"{example}.k8s.yaml").read_text())
        manifests += [o for o in objects if o["apiVersion"].startswith("cert-manager")]
    assert {o["kind"] for o in manifests} == {"Certificate", "ClusterIssuer", "Issuer"}
    for manifest in manifests:
        if "namespace" in manifest["metadata"]:
            manifest["metadata"]["namespace"] = NAMESPACE
        cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=Yaml.stringify(manifest))
