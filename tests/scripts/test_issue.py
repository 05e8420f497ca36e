"""``issue.sh`` with openssl, under the machine's sh and under BusyBox: what it issues, keeps, heals and hands over."""

import base64
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

SCRIPT = Path(__file__).parent.parent / "dindcache" / "scripts" / "issue.sh"
DAY = 86400
Secrets = dict[str, dict[str, bytes]]
Issue = Callable[..., Secrets]


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that every user gets to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(params=["sh", "busybox"])
def issue(request: pytest.FixtureRequest, directory: Path) -> Issue:
    """Run the script on the Secrets that there are (by their name); the Secrets that it writes."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    script = directory / SCRIPT.name  # the clone may be closed to the user that runs it
    script.write_text(SCRIPT.read_text())
    path = directory / "bin"
    path.mkdir()
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip("needs busybox")
    command = [shell, "sh"] if request.param == "busybox" else [shell]
    if request.param == "busybox":
        subprocess.run([shell, "--install", "-s", path], check=True)
        (path / "openssl").symlink_to(openssl)
    search = str(path) if request.param == "busybox" else os.environ["PATH"]

    def issue(
        secrets: Secrets, *names: str, generation: int = 1, later: int = 0, lifetime: int = 90, renew: int = 30, status: int = 0
    ) -> Secrets:
        issued, work = directory / "issued", directory / "work"
        for fresh in (issued, work):
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
        work.chmod(0o777)
        mounts = {"server": "docker-dind-server", "client": "docker-dind-client", "ca": f"docker-dind-ca-{generation}"}
        for mount, name in {**mounts, "previous": f"docker-dind-ca-{generation - 1}"}.items():
            (issued / mount).mkdir()
            for key, value in secrets.get(name, {}).items():
                (issued / mount / key).write_bytes(value)
                (issued / mount / key).chmod(0o444)
        done = subprocess.run(
            [*command, str(script), *names],
            env={
                "PATH": search,
                "ISSUED": str(issued),
                "WORK": str(work),
                "NAME": "docker-dind",
                "NAMESPACE": "kube-ops",
                "GENERATION": str(generation),
                "HANDOVER_SECONDS": str(DAY),
                "LIFETIME_DAYS": str(lifetime),
                "RENEW_SECONDS": str(renew * DAY),
                "CLIENTS": "kube-ops/docker-dind-client builds/docker-dind--kube-ops-client",
                "NOW": str(int(time.time()) + later),
            },
            user=10000 if os.getuid() == 0 else None,  # root may write what the pod's user may not
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr
        if status:
            return {}
        assert "PRIVATE" not in done.stdout + done.stderr
        manifests: list[Any] = []
        for file in ("ca.yaml", "certificates.yaml"):
            manifests += yaml.safe_load_all((work / "out" / file).read_text())
        assert [manifest["metadata"]["namespace"] for manifest in manifests] == ["kube-ops", "kube-ops", "kube-ops", "builds"]
        written = {
            manifest["metadata"]["name"]: {key: base64.b64decode(value) for key, value in manifest["data"].items()}
            for manifest in manifests
        }
        assert written["docker-dind--kube-ops-client"] == written["docker-dind-client"]
        return {**secrets, **written}

    return issue


def trusts(tmp_path: Path, ca: bytes, certificate: bytes, *options: str) -> bool:
    (tmp_path / "ca").write_bytes(ca)
    (tmp_path / "certificate").write_bytes(certificate)
    command = ["openssl", "verify", "-CAfile", str(tmp_path / "ca"), *options, str(tmp_path / "certificate")]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_the_daemon_under_each_of_its_names_and_a_client(issue, tmp_path):
    secrets = issue({}, "DNS:docker.example", "IP:10.0.0.1")
    server, client = secrets["docker-dind-server"], secrets["docker-dind-client"]
    assert set(server) == set(client) == {"ca.pem", "cert.pem", "key.pem"}
    names = ["docker-dind", "docker-dind.kube-ops", "docker-dind.kube-ops.svc", "docker-dind.kube-ops.svc.cluster.local"]
    for name in [*names, "localhost", "docker.example"]:
        options = ("-purpose", "sslserver", "-verify_hostname", name)
        assert trusts(tmp_path, client["ca.pem"], server["cert.pem"], *options)
    for address in ("127.0.0.1", "10.0.0.1"):
        assert trusts(tmp_path, client["ca.pem"], server["cert.pem"], "-verify_ip", address)
    assert not trusts(tmp_path, client["ca.pem"], server["cert.pem"], "-verify_hostname", "elsewhere")
    assert trusts(tmp_path, server["ca.pem"], client["cert.pem"], "-purpose", "sslclient")
    # Neither stands for the other.
    assert not trusts(tmp_path, server["ca.pem"], server["cert.pem"], "-purpose", "sslclient")
    assert not trusts(tmp_path, server["ca.pem"], client["cert.pem"], "-purpose", "sslserver")


def test_what_is_valid_stays(issue):
    secrets = issue({})
    assert issue(secrets) == secrets


def test_what_is_due_is_renewed_and_the_ca_stays(issue):
    secrets = issue({})
    renewed = issue(secrets, lifetime=90, renew=91)
    assert renewed["docker-dind-ca-1"] == secrets["docker-dind-ca-1"]
    for name in ("docker-dind-server", "docker-dind-client"):
        assert renewed[name]["ca.pem"] == secrets[name]["ca.pem"]
        assert renewed[name]["cert.pem"] != secrets[name]["cert.pem"]
        assert renewed[name]["key.pem"] != secrets[name]["key.pem"]


def test_a_name_more_is_a_certificate_more(issue):
    secrets = issue({})
    more = issue(secrets, "DNS:docker.example")
    assert more["docker-dind-server"]["cert.pem"] != secrets["docker-dind-server"]["cert.pem"]
    assert more["docker-dind-client"] == secrets["docker-dind-client"]
    assert issue(more)["docker-dind-server"]["cert.pem"] != more["docker-dind-server"]["cert.pem"]


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("docker-dind-client", {}),
        ("docker-dind-client", {"cert.pem": b""}),
        ("docker-dind-server", {"key.pem": b"-----BEGIN"}),
        ("docker-dind-server", {"cert.pem": b"no certificate"}),
    ],
    ids=["lost", "empty", "half a key", "no certificate"],
)
def test_what_is_lost_or_half_written_heals(issue, tmp_path, name, broken):
    secrets = issue({})
    healed = issue({**secrets, name: {**secrets[name], **broken} if broken else {}})
    assert {key: secrets[key] for key in secrets if not key.endswith(name.removeprefix("docker-dind"))} == {
        key: healed[key] for key in healed if not key.endswith(name.removeprefix("docker-dind"))
    }
    assert trusts(tmp_path, secrets["docker-dind-client"]["ca.pem"], healed[name]["cert.pem"])


def test_a_key_of_another_certificate_is_not_kept(issue):
    secrets = issue({})
    other = {**secrets["docker-dind-server"], "key.pem": secrets["docker-dind-client"]["key.pem"]}
    assert issue({**secrets, "docker-dind-server": other})["docker-dind-server"]["cert.pem"] != other["cert.pem"]


@pytest.mark.parametrize("ca", [{}, {"ca-key.pem": b""}, {"ca.pem": b"-----BEGIN"}], ids=["lost", "no key", "half a CA"])
def test_a_lost_ca_is_a_new_one_for_all(issue, tmp_path, ca):
    secrets = issue({})
    healed = issue({**secrets, "docker-dind-ca-1": {**secrets["docker-dind-ca-1"], **ca} if ca else {}})
    assert healed["docker-dind-ca-1"]["ca.pem"] != secrets["docker-dind-ca-1"]["ca.pem"]
    for name in ("docker-dind-server", "docker-dind-client"):
        assert trusts(tmp_path, healed["docker-dind-ca-1"]["ca.pem"], healed[name]["cert.pem"])


def test_a_change_of_the_ca_in_steps(issue, tmp_path):
    old = issue({})
    first, second = issue(old, ca_generation=2), old["docker-dind-ca-1"]["ca.pem"]
    new_ca = first["docker-dind-ca-2"]["ca.pem"]
    for name in ("docker-dind-server", "docker-dind-client"):
        # Everyone trusts both, nobody has a new certificate.
        assert first[name]["ca.pem"] == new_ca + second
        assert first[name]["cert.pem"] == old[name]["cert.pem"]
    assert issue(first, ca_generation=2, later=DAY - 60) == first
    signed = issue(first, ca_generation=2, later=DAY + 60)
    for name in ("docker-dind-server", "docker-dind-client"):
        assert signed[name]["ca.pem"] == new_ca + second
        assert trusts(tmp_path, new_ca, signed[name]["cert.pem"])
        # Who has not yet what is new, and who has.
        assert trusts(tmp_path, first["docker-dind-client"]["ca.pem"], signed[name]["cert.pem"])
    # The certificates of the second step are from now, so that a handover after them is a day from now.
    last = issue(signed, ca_generation=2, later=2 * DAY + 60)
    for name in ("docker-dind-server", "docker-dind-client"):
        assert last[name] == {**signed[name], "ca.pem": new_ca}
        assert not trusts(tmp_path, last[name]["ca.pem"], old[name]["cert.pem"])
    assert issue(last, ca_generation=2, later=3 * DAY) == last


def test_a_step_that_was_missed_is_not_left_out(issue):
    """The CronJob did not run for days after the first."""
    first = issue(issue({}), ca_generation=2)
    second = issue(first, ca_generation=2, later=5 * DAY)
    assert second["docker-dind-server"]["cert.pem"] != first["docker-dind-server"]["cert.pem"]
    assert second["docker-dind-server"]["ca.pem"] == first["docker-dind-server"]["ca.pem"]


def test_nobody_gets_a_certificate_that_not_everyone_trusts(issue):
    """The first step was never published, whatever the time."""
    old = issue({})
    first = issue(old, ca_generation=2)
    unpublished = {**old, "docker-dind-ca-2": first["docker-dind-ca-2"]}
    late = issue(unpublished, ca_generation=2, later=DAY + 60)
    assert late["docker-dind-server"] == first["docker-dind-server"]


def test_a_ca_that_ends_too_soon_is_said(issue):
    issue(issue({}), lifetime=3651, status=1)
