"""``issue.sh`` with openssl: the certificates that it issues, keeps, restores and replaces."""

import base64
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dindcache._scripts import read_scripts

START = 1_800_000_000
HOUR, DAY = 3600, 86400
Files = dict[str, bytes]
Secrets = dict[str, Files]
SERVER, CLIENT = "docker-dind-server", "docker-dind-client"
ALWAYS = "DNS:@,DNS:@.kube-ops.svc,DNS:localhost,IP:127.0.0.1"


class Issue:
    """The script, with the existing Secrets and the time at which it runs."""

    def __init__(self, directory: Path, path: str) -> None:
        self.directory, self.path = directory, path
        self.log: list[str] = []
        for name, text in read_scripts("common.sh", "tls/issue.sh").items():
            (directory / name).write_text(text)

    def __call__(
        self,
        secrets: Secrets,
        *,
        names: str = "",
        generation: int = 1,
        later: int = 0,
        lifetime: int = 90,
        renew: int = 30,
        clients: str = f"kube-ops/{CLIENT} builds/docker-dind--kube-ops-client",
        namespace: str = "kube-ops",
        servers: str = "docker-dind",
        fails: bool = False,
    ) -> Secrets:
        issued, work, out = (self.directory / name for name in ("issued", "work", "out"))
        for fresh in (issued, work, out):
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            fresh.chmod(0o777)
        cas = {mount: f"docker-dind-ca-{generation + i}" for mount, i in {"ca": 0, "previous": -1, "next": 1}.items()}
        for mount, name in {"server": SERVER, "client": CLIENT, **cas}.items():
            (issued / mount).mkdir()
            for key, value in secrets.get(name, {}).items():
                (issued / mount / key).write_bytes(value)
                (issued / mount / key).chmod(0o444)
        done = subprocess.run(
            ["sh", str(self.directory / "issue.sh")],
            env={
                "PATH": self.path,
                "ISSUED": str(issued),
                "WORK": str(work),
                "OUT": str(out),
                "NOW": str(START + later),
                "NAME": "docker-dind",
                "NAMESPACE": namespace,
                "SERVERS": servers,
                "SERVER_NAMES": f"{ALWAYS}{names}",
                "CLIENTS": clients,
                "CA_GENERATION": str(generation),
                "CA_DAYS": "3650",
                "CA_NOTICE_SECONDS": str((lifetime + 3) * DAY),
                "LIFETIME_DAYS": str(lifetime),
                "RENEW_SECONDS": str(int(renew * DAY)),
                "BACKDATE_SECONDS": str(HOUR),
                "ROLLOUT_SECONDS": str(DAY),
            },
            user=10000 if os.getuid() == 0 else None,  # root could write what the pod's user cannot
            check=False,
            capture_output=True,
            text=True,
        )
        assert "PRIVATE" not in done.stdout + done.stderr
        assert done.stdout == ""
        self.log = done.stderr.splitlines()
        assert all(line.startswith("dindcache: ") for line in self.log), self.log
        assert done.returncode == (1 if fails else 0), self.log
        if fails:
            assert not list(out.iterdir())
            return secrets
        self.manifests = [m for name in ("ca", "certificates") for m in yaml.safe_load_all((out / f"{name}.yaml").read_text())]
        written = {
            manifest["metadata"]["name"]: {key: base64.b64decode(value) for key, value in manifest["data"].items()}
            for manifest in self.manifests
        }
        return {**secrets, **written}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def issue(directory: Path, image_path: str) -> Issue:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return Issue(directory, image_path)


def trusts(tmp_path: Path, ca: bytes, certificate: bytes, *options: str, later: int = 0) -> bool:
    (tmp_path / "ca").write_bytes(ca)
    (tmp_path / "certificate").write_bytes(certificate)
    command = ["openssl", "verify", "-attime", str(START + later), "-no-CApath", "-no-CAstore", "-CAfile", str(tmp_path / "ca")]
    done = subprocess.run([*command, *options, str(tmp_path / "certificate")], check=False, capture_output=True)
    return done.returncode == 0


def time_of(certificate: bytes, which: str) -> int:
    """Return the time at which a certificate starts or expires, in seconds after the first run."""
    done = subprocess.run(["openssl", "x509", "-noout", f"-{which}date"], input=certificate, check=True, capture_output=True)
    return ssl.cert_time_to_seconds(done.stdout.decode().partition("=")[2].strip()) - START


def test_the_server_by_each_of_its_names_and_a_client(issue, tmp_path):
    secrets = issue({}, names=",DNS:docker.example,IP:10.0.0.1")
    server, client = secrets[SERVER], secrets[CLIENT]
    assert secrets["docker-dind--kube-ops-client"] == client
    assert set(server) - {"last-ca-step"} == set(client) == {"ca.pem", "cert.pem", "key.pem"}
    for name in ["docker-dind", "docker-dind.kube-ops.svc", "localhost", "docker.example"]:
        options = ("-purpose", "sslserver", "-verify_hostname", name)
        assert trusts(tmp_path, client["ca.pem"], server["cert.pem"], *options)
    for address in ("127.0.0.1", "10.0.0.1"):
        assert trusts(tmp_path, client["ca.pem"], server["cert.pem"], "-verify_ip", address)
    assert not trusts(tmp_path, client["ca.pem"], server["cert.pem"], "-verify_hostname", "elsewhere")
    assert trusts(tmp_path, server["ca.pem"], client["cert.pem"], "-purpose", "sslclient")
    # Neither can be used as the other.
    assert not trusts(tmp_path, server["ca.pem"], server["cert.pem"], "-purpose", "sslclient")
    assert not trusts(tmp_path, server["ca.pem"], client["cert.pem"], "-purpose", "sslserver")


@pytest.mark.parametrize("namespace", ["2024", "0x1f", "true", "null", "0123"])
def test_names_that_look_like_something_else_stay_strings(issue, namespace):
    issue({}, namespace=namespace, clients=f"{namespace}/{CLIENT}")
    assert [manifest["metadata"]["namespace"] for manifest in issue.manifests] == [namespace] * 3


def test_certificates_start_in_the_past(issue, tmp_path):
    """Clocks differ."""
    secrets = issue({})
    for name in ("docker-dind-ca-1", SERVER, CLIENT):
        certificate = secrets[name].get("cert.pem", secrets[name]["ca.pem"])
        assert time_of(certificate, "start") == -HOUR
        assert time_of(certificate, "end") == (90 if "cert.pem" in secrets[name] else 3650) * DAY
    assert trusts(tmp_path, secrets[CLIENT]["ca.pem"], secrets[SERVER]["cert.pem"], later=60 - HOUR)


def test_what_is_valid_stays(issue):
    secrets = issue({})
    assert issue(secrets, later=60 * DAY - 1) == secrets
    assert issue.log == []


def test_what_is_due_is_renewed_and_the_ca_stays(issue):
    secrets = issue({})
    renewed = issue(secrets, later=60 * DAY)
    assert renewed["docker-dind-ca-1"] == secrets["docker-dind-ca-1"]
    for name in (SERVER, CLIENT):
        assert renewed[name]["ca.pem"] == secrets[name]["ca.pem"]
        assert renewed[name]["cert.pem"] != secrets[name]["cert.pem"]
        assert renewed[name]["key.pem"] != secrets[name]["key.pem"]


def test_other_names_are_another_certificate_of_the_server(issue):
    secrets = issue({})
    more = issue(secrets, names=",DNS:docker.example")
    assert more[SERVER]["cert.pem"] != secrets[SERVER]["cert.pem"]
    assert more[CLIENT] == secrets[CLIENT]
    assert issue(more)[SERVER]["cert.pem"] != more[SERVER]["cert.pem"]


def test_each_daemon_of_a_fleet_has_a_certificate_of_its_own(issue, tmp_path):
    secrets = issue({}, servers="docker-dind-node1 docker-dind-node2")
    server, client = secrets[SERVER], secrets[CLIENT]
    files = {f"docker-dind-node{i}.{file}" for i in (1, 2) for file in ("cert.pem", "key.pem")}
    assert server.keys() == {"ca.pem", "last-ca-step", *files}
    for certificate, name, is_its_own in [("node1", "node1", True), ("node2", "node2", True), ("node1", "node2", False)]:
        options = ("-purpose", "sslserver", "-verify_hostname", f"docker-dind-{name}.kube-ops.svc")
        assert trusts(tmp_path, client["ca.pem"], server[f"docker-dind-{certificate}.cert.pem"], *options) is is_its_own
    assert trusts(tmp_path, server["ca.pem"], client["cert.pem"], "-purpose", "sslclient")


def test_a_daemon_more_or_less_changes_no_certificate_of_another(issue):
    two = issue({}, servers="docker-dind-a docker-dind-b")
    three = issue(two, servers="docker-dind-a docker-dind-b docker-dind-c", later=DAY)
    assert issue.log == ["dindcache: a new certificate for the server docker-dind-c"]
    assert three[SERVER].items() >= two[SERVER].items()
    assert three[CLIENT] == two[CLIENT]
    one = issue(three, servers="docker-dind-c", later=2 * DAY)
    assert one[SERVER] == {
        key: value for key, value in three[SERVER].items() if not key.startswith(("docker-dind-a", "docker-dind-b"))
    }
    assert issue.log == []


def test_a_fleet_changes_its_ca_in_three_steps(issue, tmp_path):
    servers = "docker-dind-a docker-dind-b"
    secrets = issue({}, servers=servers)
    old_ca = secrets[CLIENT]["ca.pem"]
    for step in (1, 2, 3):
        secrets = issue(secrets, servers=servers, generation=2, later=step * 2 * DAY)
        assert f"step {step} of 3" in issue.log[0 if step > 1 else 1]
        for daemon in ("a", "b"):
            certificate = secrets[SERVER][f"docker-dind-{daemon}.cert.pem"]
            assert trusts(tmp_path, secrets[CLIENT]["ca.pem"], certificate, later=step * 2 * DAY)
            assert trusts(tmp_path, old_ca, certificate, later=step * 2 * DAY) is (step == 1)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        (CLIENT, {}),
        (CLIENT, {"cert.pem": b""}),
        (SERVER, {"key.pem": b"-----BEGIN"}),
        (SERVER, {"cert.pem": b"no certificate"}),
        (SERVER, {}),
    ],
    ids=["lost client", "empty", "half a key", "no certificate", "lost server"],
)
def test_a_lost_or_broken_secret_is_restored(issue, tmp_path, name, broken):
    secrets = issue({})
    restored = issue({**secrets, name: {**secrets[name], **broken} if broken else {}}, later=DAY)
    others = {key: value for key, value in secrets.items() if key.endswith("server") != name.endswith("server")}
    assert {key: restored[key] for key in others} == others
    assert restored[name]["cert.pem"] != secrets[name]["cert.pem"]
    assert trusts(tmp_path, secrets[CLIENT]["ca.pem"], restored[name]["cert.pem"], later=DAY)


def test_a_certificate_with_another_key_is_replaced(issue):
    secrets = issue({})
    other = {**secrets[SERVER], "key.pem": secrets[CLIENT]["key.pem"]}
    assert issue({**secrets, SERVER: other})[SERVER]["cert.pem"] != other["cert.pem"]


@pytest.mark.parametrize(
    "broken", [{"ca-key.pem": b""}, {"ca.pem": b"-----BEGIN"}, None], ids=["no key", "half a CA", "other key"]
)
def test_a_broken_ca_is_reported_since_its_secret_is_immutable(issue, broken):
    secrets = issue({})
    broken = broken or {"ca-key.pem": secrets[SERVER]["key.pem"]}
    issue({**secrets, "docker-dind-ca-1": {**secrets["docker-dind-ca-1"], **broken}}, fails=True)
    (line,) = issue.log
    assert line.startswith("dindcache: Secret docker-dind-ca-1 must have a CA and its key: delete it")


class World:
    """A daemon and its clients over time. Secrets that were published within a rollout can be in use on either side."""

    def __init__(self, issue: Issue, tmp_path: Path) -> None:
        self.issue, self.tmp_path = issue, tmp_path
        self.now = 0
        self.secrets: Secrets = {}
        self.published: list[tuple[int, Files, Files]] = []
        self._trusted: dict[tuple[bytes, bytes], bool] = {}

    def run(self, generation: int, *, times: int = 1, **options: Any) -> None:
        """Run the script after half a day, and then every day."""
        for gap in (DAY // 2, *[DAY] * (times - 1)):
            self.now += gap
            self.secrets = self.issue(self.secrets, generation=generation, later=self.now, **options)
            server, client = self.secrets[SERVER], self.secrets[CLIENT]
            if not self.published or self.published[-1][1:] != (server, client):
                self.published.append((self.now, server, client))
            until = [*(when + DAY for when, _, _ in self.published[1:]), self.now + DAY]
            in_use = [version for version, end in zip(self.published, until, strict=True) if end > self.now]
            for _, server, _ in in_use:
                for _, _, client in in_use:
                    assert self._trusts(client["ca.pem"], server["cert.pem"]), f"a client is cut off: {self.issue.log}"
                    assert self._trusts(server["ca.pem"], client["cert.pem"]), f"a client is rejected: {self.issue.log}"

    def _trusts(self, ca: bytes, certificate: bytes) -> bool:
        if (ca, certificate) not in self._trusted:
            self._trusted[ca, certificate] = trusts(self.tmp_path, ca, certificate, later=self.now)
        return self._trusted[ca, certificate]

    def is_settled(self, generation: int) -> bool:
        """Return whether only this CA is trusted, and has signed the certificates in use."""
        ca = self.secrets[f"docker-dind-ca-{generation}"]["ca.pem"]
        return all(
            self.secrets[name]["ca.pem"] == ca and self._trusts(ca, self.secrets[name]["cert.pem"]) for name in (SERVER, CLIENT)
        )


@pytest.fixture
def world(issue: Issue, tmp_path: Path) -> World:
    world = World(issue, tmp_path)
    world.run(1)
    return world


def test_the_next_generation_replaces_the_ca_in_three_steps(world, issue):
    old = world.secrets
    world.run(2)
    new, before = world.secrets["docker-dind-ca-2"]["ca.pem"], old["docker-dind-ca-1"]["ca.pem"]
    for name in (SERVER, CLIENT):
        assert world.secrets[name]["ca.pem"] == new + before
        assert world.secrets[name]["cert.pem"] == old[name]["cert.pem"]
    assert issue.log[-1].startswith(
        "dindcache: CA generation 2, step 1 of 3: it is trusted as well. The next step follows after 20"
    )
    first = world.secrets
    world.run(2)
    assert world.secrets == first
    world.run(2)
    assert "CA generation 2, step 2 of 3: it signs. " in issue.log[0]
    second = world.secrets
    for name in (SERVER, CLIENT):
        assert second[name]["ca.pem"] == new + before
        assert second[name]["cert.pem"] != old[name]["cert.pem"]
    world.run(2)
    assert world.secrets == second
    world.run(2)
    assert issue.log == ["dindcache: CA generation 2, step 3 of 3: only it is trusted"]
    for name in (SERVER, CLIENT):
        assert world.secrets[name]["ca.pem"] == new
        assert world.secrets[name]["cert.pem"] == second[name]["cert.pem"]
    last = world.secrets
    world.run(2)
    assert world.secrets == last
    assert issue.log == []


# Generations, and the number of runs with each: a change takes three.
@pytest.mark.parametrize(
    "changes",
    [
        [(2, 3), (1, 3)],
        [(3, 3), (1, 3)],
        [(2, 1), (1, 3)],
        [(2, 2), (1, 3)],
        [(2, 1), (3, 3)],
        [(2, 2), (3, 3)],
        [(2, 1), (1, 1), (2, 3)],
        [(2, 1), (3, 1), (2, 1), (1, 3)],
        [(5, 2), (9, 2), (1, 3)],
    ],
    ids=lambda changes: " ".join(f"{generation}x{times}" for generation, times in changes),
)
def test_any_change_of_the_generation_cuts_no_client_off(world, changes):
    for generation, times in changes:
        world.run(generation, times=times)
    last, _ = changes[-1]
    world.run(last)
    assert world.is_settled(last)


@pytest.mark.parametrize("lost", ["docker-dind-ca-1", SERVER, CLIENT])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_lost_secret_cuts_no_client_off_in_any_step(world, lost, step):
    generation = 2 if step else 1
    if step:
        world.run(2, times=step)
    del world.secrets[lost]
    world.run(generation, times=4)
    assert world.is_settled(generation)


def test_names_wait_for_the_step_where_nobody_could_sign_them(world):
    """The key of generation 1 is not mounted."""
    before = world.secrets[SERVER]["cert.pem"]
    world.run(3, names=",DNS:docker.example")
    assert world.secrets[SERVER]["cert.pem"] == before
    world.run(3, times=2, names=",DNS:docker.example")
    ca, certificate = world.secrets["docker-dind-ca-3"]["ca.pem"], world.secrets[SERVER]["cert.pem"]
    assert trusts(world.tmp_path, ca, certificate, "-verify_hostname", "docker.example", later=world.now)


@pytest.mark.parametrize("generation", [1, 3])
def test_names_are_signed_at_once_by_the_ca_in_use(world, generation):
    world.run(2, times=4)
    world.run(generation, names=",DNS:docker.example")
    ca, certificate = world.secrets["docker-dind-ca-2"]["ca.pem"], world.secrets[SERVER]["cert.pem"]
    assert trusts(world.tmp_path, ca, certificate, "-verify_hostname", "docker.example", later=world.now)


@pytest.mark.parametrize("step", [None, b"", b"soon", b"99999999999"])
def test_a_lost_time_of_the_last_step_is_waited_for_again(world, step):
    world.run(2)
    first = world.secrets[CLIENT]
    world.secrets[SERVER] = {key: value for key, value in world.secrets[SERVER].items() if key != "last-ca-step"}
    if step is not None:
        world.secrets[SERVER]["last-ca-step"] = step
    world.now += DAY
    world.run(2)
    assert world.secrets[CLIENT] == first
    world.run(2, times=2)
    assert world.secrets[CLIENT] != first


def test_a_step_that_was_not_published_is_not_taken_for_one(world):
    world.run(2)
    world.secrets = {**world.secrets, SERVER: world.published[0][1], CLIENT: world.published[0][2]}
    world.now += 3 * DAY
    world.run(2)
    assert world.secrets[SERVER]["ca.pem"].count(b"BEGIN") == 2
    assert world.secrets[SERVER]["cert.pem"] == world.published[0][1]["cert.pem"]


def test_short_certificates_do_not_delay_a_step(world):
    """Each certificate is renewed after a day."""
    world.run(1, lifetime=3, renew=2)
    world.run(2, times=4, lifetime=3, renew=2)
    assert world.is_settled(2)


@pytest.mark.parametrize(("lifetime", "renew"), [(3, 1.5), (1825, 1800)])
def test_the_last_days_of_a_ca(issue, tmp_path, lifetime, renew):
    """Certificates expire with their CA, and are not issued again and again."""
    end = 3650 * DAY
    secrets = issue({}, lifetime=lifetime, renew=renew)
    secrets = issue(secrets, lifetime=lifetime, renew=renew, later=end - int(1.2 * DAY))
    assert (
        issue.log[0] == "dindcache: the CA expires on 2037-01-12, and so does every certificate: set ca_generation to 2 in time"
    )
    assert time_of(secrets[SERVER]["cert.pem"], "end") == end
    for later in (end - DAY, end - HOUR):
        assert issue(secrets, lifetime=lifetime, renew=renew, later=later) == secrets
    # Up to the last second, a lost Secret is restored, and a new namespace gets its own.
    restored = issue({**secrets, SERVER: {}}, lifetime=lifetime, renew=renew, later=end - 1, clients=f"new/{CLIENT}")
    assert time_of(restored[SERVER]["cert.pem"], "end") == end
    assert trusts(tmp_path, restored[CLIENT]["ca.pem"], restored[SERVER]["cert.pem"], later=end - 1)
    issue(secrets, lifetime=lifetime, renew=renew, later=end, fails=True)
    assert issue.log == ["dindcache: the CA expired on 2037-01-12: set ca_generation to 2"]
    # By then nobody has a valid certificate, so the change does not wait.
    late = issue(secrets, lifetime=lifetime, renew=renew, later=end + HOUR, generation=2)
    for name in (SERVER, CLIENT):
        assert late[name]["ca.pem"] == late["docker-dind-ca-2"]["ca.pem"]
        assert trusts(tmp_path, late[name]["ca.pem"], late[name]["cert.pem"], later=end + HOUR)


def test_ten_years_of_a_ca(issue, tmp_path):
    """Certificates of 900 days, renewed 300 days before their expiry, and the next CA when the log asks for it."""
    secrets, generation, restarts = issue({}, lifetime=900, renew=300), 1, 0
    for day in range(0, 4501, 300):
        before = secrets[SERVER]
        secrets = issue(secrets, lifetime=900, renew=300, later=day * DAY, generation=generation)
        restarts += before["cert.pem"] != secrets[SERVER]["cert.pem"] or before["ca.pem"] != secrets[SERVER]["ca.pem"]
        assert trusts(tmp_path, secrets[CLIENT]["ca.pem"], secrets[SERVER]["cert.pem"], later=(day + 299) * DAY)
        assert trusts(tmp_path, secrets[SERVER]["ca.pem"], secrets[CLIENT]["cert.pem"], later=(day + 299) * DAY)
        if any(line.endswith("set ca_generation to 2 in time") for line in issue.log):
            assert day == 3000  # the first run with less than 903 days left
            generation = 2
    assert generation == 2
    assert secrets[SERVER]["ca.pem"] == secrets["docker-dind-ca-2"]["ca.pem"]
    # At most one renewal every 600 days, and three steps.
    assert restarts <= 4500 // 600 + 3
