"""Certificates of a daemon on a cluster: those in its Secrets, the one that it serves, and those that tests issue."""

import base64
import re
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdk8s import Yaml

from tests.framework.cluster import KUBECTL, Cluster

FILES = ("ca.pem", "cert.pem", "key.pem")
"""The files of a daemon or a client."""

_EC = "EC -pkeyopt ec_paramgen_curve:P-256"
_CONFIGURATION = """[req]
distinguished_name = name
[name]
[ca]
default_ca = signer
[signer]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = policy
[policy]
commonName = supplied
"""


def secret(cluster: Cluster, namespace: str, name: str) -> dict[str, bytes]:
    """Return the content of a Secret."""
    data = cluster.get("secret", name, f"--namespace={namespace}")["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


def write_secret(cluster: Cluster, namespace: str, name: str, content: dict[str, bytes], *, type: str = "Opaque") -> None:
    """Create or replace a Secret."""
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "type": type}
    stdin = Yaml.stringify({**manifest, "data": data})
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=stdin)


def sync(cluster: Cluster, namespace: str, app: str) -> None:
    """Let the kubelet write changed Secrets into an app's pods now, which takes it up to two minutes otherwise.

    It does so with every change of a pod.
    """
    annotation = f"tests/synced={time.time_ns()}"
    cluster.kubectl("annotate", "pod", f"--namespace={namespace}", f"--selector=app={app}", "--overwrite", annotation)


@contextmanager
def forwarded(cluster: Cluster, namespace: str, app: str) -> Iterator[int]:
    """Forward a port of this machine to the daemon's."""
    command = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", "port-forward", f"--namespace={namespace}", f"deployment/{app}"]
    with subprocess.Popen([*command, ":2376"], stdout=subprocess.PIPE, text=True, env=KUBECTL) as process:
        assert process.stdout
        try:
            match = re.search(r"127\.0\.0\.1:(\d+) ", process.stdout.readline())
            assert match
            yield int(match[1])
        finally:
            process.terminate()


def served_certificate(
    cluster: Cluster, daemon: tuple[str, str], directory: Path, files: dict[str, bytes], name: str
) -> bytes | None:
    """Return the certificate, in PEM, that a daemon shows to a client with these files.

    :param daemon: Namespace and name of the daemon
    :param directory: Directory that the files are written to
    :param files: Files of the client
    :param name: Name that the client expects
    """
    for file in FILES:
        (directory / file).write_bytes(files[file])
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    with (
        forwarded(cluster, *daemon) as port,
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
        context.wrap_socket(connection, server_hostname=name) as wrapped,
    ):
        wrapped.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        assert b"200 OK" in wrapped.recv(100)
        der = wrapped.getpeercert(binary_form=True)
        return der and ssl.DER_cert_to_PEM_cert(der).encode()


def openssl(directory: Path, *arguments: str) -> None:
    """Run openssl in a directory."""
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


class Authority:
    """A CA that issues certificates for tests.

    :param name: Its common name
    :param signer: CA that signs it. Defaults to itself
    :param files: Certificate and key of an existing CA, in ``ca.pem`` and ``ca-key.pem``. Defaults to a new one
    """

    def __init__(self, name: str = "CA", *, signer: "Authority | None" = None, files: dict[str, bytes] | None = None) -> None:
        if files is None:
            extensions = "basicConstraints = critical, CA:true\nsubjectKeyIdentifier = hash"
            signed = _sign(signer, name, extensions, key=_EC, begin=-7200, end=30 * 86400)
            files = {"ca.pem": signed["cert.pem"], "ca-key.pem": signed["key.pem"]}
        self.certificate, self.key = files["ca.pem"], files["ca-key.pem"]

    def issue(self, extensions: str, *, key: str = _EC, begin: int = -3600, end: int = 86400) -> dict[str, bytes]:
        """Issue a certificate, and return the files of a daemon or a client.

        :param extensions: Lines such as ``extendedKeyUsage = clientAuth``
        :param key: Arguments of ``openssl genpkey -algorithm``
        :param begin: Start of its validity, in seconds from now
        :param end: End of its validity, in seconds from now
        """
        extensions = f"{extensions}\nauthorityKeyIdentifier = keyid"
        return {"ca.pem": self.certificate, **_sign(self, "test", extensions, key=key, begin=begin, end=end)}


def _sign(signer: Authority | None, name: str, extensions: str, *, key: str, begin: int, end: int) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as path:
        directory = Path(path)
        (directory / "configuration").write_text(_CONFIGURATION)
        (directory / "extensions").write_text(extensions)
        (directory / "index").touch()
        openssl(directory, "genpkey", "-out", "key.pem", "-algorithm", *key.split())
        openssl(directory, *"req -new -config configuration -key key.pem -out request".split(), "-subj", f"/CN={name}")
        authority = ["-selfsign", "-keyfile", "key.pem"]
        if signer:
            (directory / "ca.pem").write_bytes(signer.certificate)
            (directory / "ca-key.pem").write_bytes(signer.key)
            authority = ["-cert", "ca.pem", "-keyfile", "ca-key.pem"]
        dates = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds)) for seconds in (begin, end)]
        sign = "ca -config configuration -batch -notext -in request -out cert.pem -extfile extensions".split()
        openssl(directory, *sign, "-startdate", dates[0], "-enddate", dates[1], *authority)
        return {file: (directory / file).read_bytes() for file in ("cert.pem", "key.pem")}
