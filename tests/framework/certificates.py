"""Certificates of a daemon on a cluster: what is there, what it shows, and some that a test makes."""

import base64
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.framework.cluster import KUBECTL, Cluster

FILES = ("ca.pem", "cert.pem", "key.pem")


def secret(cluster: Cluster, namespace: str, name: str) -> dict[str, bytes]:
    """What a Secret holds."""
    data = cluster.get("secret", name, f"--namespace={namespace}")["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


@contextmanager
def forwarded(cluster: Cluster, namespace: str, app: str) -> Iterator[int]:
    """The daemon's port on this machine."""
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
    """What a daemon shows to a client that has these files, in PEM."""
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


def sign(directory: Path, ca: dict[str, bytes], extensions: str, days: int = 1) -> dict[str, bytes]:
    """A certificate of a CA."""
    for name, content in ca.items():
        (directory / name).write_bytes(content)
    (directory / "extensions").write_text(f"{extensions}\nauthorityKeyIdentifier=keyid\n")
    openssl(directory, *"req -new -newkey rsa:2048 -nodes -subj /CN=test -keyout key.pem -out request.pem".split())
    openssl(
        directory,
        *"x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -extfile extensions -out cert.pem".split(),
        *("-days", str(days)),
    )
    return {name: (directory / name).read_bytes() for name in FILES}
