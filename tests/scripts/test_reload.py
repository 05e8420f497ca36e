"""``reload-certificate.sh`` next to an engine that does nothing, as process 1 of its own namespaces, under sh and BusyBox.

``tests/cluster/test_certificates.py`` shows which certificates the real engine accepts.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.framework.certificates import Authority
from tests.scripts.conftest import Image

SCRIPTS = Path(__file__).parent.parent.parent / "dindcache"
NAMESPACES = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
if os.getuid() != 0:
    NAMESPACES += ["--user", "--map-root-user"]
PROGRAMS = {
    # It rejects a key that does not match, as the real one does.
    "dockerd": """[ "$*" = "--validate $FLAGS" ] || { echo "unknown flags $*"; exit 1; }
        cd "$CERTIFICATES"
        [ "$(openssl x509 -in cert.pem -noout -pubkey)" = "$(openssl pkey -in key.pem -pubout)" ] && exit
        echo "invalid TLS configuration"; exit 1""",
    "dockerd-entrypoint.sh": "trap 'echo ended in order; exit' TERM; {begin}; echo serving; while :; do sleep 0.1; done",
    "docker": "exit 0",
    # A drain adds the first rule when it rejects new clients. Only that rule can be deleted.
    "iptables": """case $2 in
        -I) {rejecting} ;;
        -D) rm "$CERTIFICATES/../rule" 2>/dev/null && echo accepting new clients ;;
        esac""",
    "ip6tables": '[ "$2" != -D ]',
}
SERVER = "extendedKeyUsage = serverAuth"
Launch = Callable[..., "Running"]


class Running:
    """Process 1 of the namespaces."""

    def __init__(self, command: str, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [*NAMESPACES, "sh", "-c", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._timer = threading.Timer(60, self.process.kill)
        self._timer.start()

    def wait_for(self, text: str) -> list[str]:
        """Return the lines up to one with this text."""
        assert self.process.stdout
        lines = []
        for line in self.process.stdout:
            lines.append(line.strip())
            if text in line:
                return lines
        raise AssertionError(f"no {text!r}: {lines}")

    def end(self) -> None:
        self._timer.cancel()
        self.process.kill()
        self.process.communicate()


class Certificates:
    """A mounted Secret: a link that the kubelet points to another directory."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.path = directory, directory / "mounted"
        ca = Authority()
        versions = {name: ca.issue(SERVER) for name in ("first", "second", "third", "broken")}
        versions["broken"]["key.pem"] = versions["first"]["key.pem"]
        versions["expired"] = ca.issue(SERVER, end=-60)
        versions["for clients"] = ca.issue("extendedKeyUsage = clientAuth")
        for name, files in versions.items():
            (directory / name).mkdir(parents=True)
            for file, content in files.items():
                (directory / name / file).write_bytes(content)
        self.renew("first")

    def renew(self, name: str) -> None:
        link = self.directory / "link"
        link.symlink_to(name)
        link.replace(self.path)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def launch(tmp_path: Path, image: Image, certificates: Certificates) -> Iterator[Launch]:
    """Start ``start.sh`` with stand-ins for programs of the image."""
    scripts = tmp_path / "scripts"
    for directory in (scripts, tmp_path / "data"):
        directory.mkdir()
    for script in [SCRIPTS / "common.sh", *(SCRIPTS / "daemon").glob("*.sh")]:
        shutil.copy(script, scripts)
    started: list[Running] = []

    def start(*, begin: str = ":", rejecting: str = ":", **programs: str) -> Running:
        for name, program in {**PROGRAMS, **programs}.items():
            image.add({name: program.replace("{begin}", begin).replace("{rejecting}", rejecting)})
        environment = {
            **os.environ,
            "PORT": "2376",
            "RELOAD_DRAIN_SECONDS": "30",
            "RELOAD_REJECT_AFTER_SECONDS": "0",
            "DRAIN_QUIET_SECONDS": "1",
            "LIVENESS_PERIOD_SECONDS": "10",
            "LIVENESS_FAILURES": "3",
            "POLL_SECONDS": "0.1",
            "CERTIFICATES": str(certificates.path),
            "DATA_ROOT": str(tmp_path / "data"),
            "FLAGS": "--debug --tlsverify",
        }
        prepare = "mount -t sysfs sys /sys && mount -t tmpfs run /run"
        command = f"{prepare} && exec env PATH='{image.search}' sh {scripts}/start.sh $FLAGS"
        started.append(Running(command, environment))
        return started[-1]

    yield start
    for running in started:
        running.end()


def test_a_renewed_certificate_restarts_the_engine_after_a_drain(launch, certificates):
    running = launch()
    running.wait_for("serving")
    certificates.renew("second")
    lines = running.wait_for("ended in order")
    assert lines[0] == "dindcache: the certificate was renewed"
    assert lines[-2] == "dindcache: drain: no client for 1 s"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "invalid TLS configuration"),
        ("expired", "certificate has expired"),
        ("for clients", "unsuitable certificate purpose"),
    ],
)
def test_the_engine_keeps_its_certificate_until_there_is_a_usable_one(launch, certificates, name, reason):
    running = launch()
    running.wait_for("serving")
    certificates.renew(name)
    lines = running.wait_for(reason)
    assert lines[0].startswith("dindcache: the renewed certificate is not usable, the engine keeps the previous one: ")
    certificates.renew("second")
    lines = running.wait_for("ended in order")
    assert sum("not usable" in line for line in lines) == 0


def renew(name: str) -> str:
    """Return a command that does the same as ``Certificates.renew``."""
    return f'ln -s {name} "$CERTIFICATES/../link"; mv -T "$CERTIFICATES/../link" "$CERTIFICATES"'


def test_a_certificate_that_breaks_during_the_drain_ends_no_engine(launch, certificates):
    running = launch(rejecting=f'{renew("broken")}; >"$CERTIFICATES/../rule"')
    running.wait_for("serving")
    certificates.renew("second")
    lines = running.wait_for("not usable")
    assert "accepting new clients" in lines
    assert "ended in order" not in lines
    certificates.renew("third")
    running.wait_for("the certificate was renewed")


def test_a_renewal_right_after_the_engine_has_read_its_certificate_is_not_missed(launch):
    digest = shutil.which("sha256sum")
    running = launch(begin=renew("second"), sha256sum=f'sleep 0.5; exec {digest} "$@"')
    running.wait_for("the certificate was renewed")
