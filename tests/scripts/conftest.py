"""Scripts as process 1 of namespaces of their own, with stand-ins for programs of the image."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import dindcache
from dindcache._scripts import read_scripts
from tests.scripts.engine import KEEP, Engine

NAMESPACES = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
if os.getuid() != 0:
    NAMESPACES += ["--user", "--map-root-user"]

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A directory with all scripts, of which a ConfigMap has those of its containers."""
    package = Path(dindcache.__file__).parent
    paths = [str(path.relative_to(package)) for path in package.rglob("*.sh")]
    texts = read_scripts(*paths)
    assert len(texts) == len(paths), "two scripts have one name"
    directory = tmp_path / "scripts"
    directory.mkdir()
    for name, text in texts.items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine without objects, for the stand-in ``engine.docker()``."""
    engine = Engine(tmp_path / "engine.json")
    engine.start()
    return engine


@pytest.fixture
def record(engine: Engine) -> Callable[..., None]:
    """Add a version of the record of use, from now by default, by a disk guard that has kept it for a year."""

    def record(*, age: int = 0, since: int = 365 * 86400, **used: dict[str, int]) -> None:
        now = int(time.time())
        labels = {"dindcache.last-used": now - age, "dindcache.since": now - since}
        labels |= {f"{kind}.{key}": now - ages[key] for kind, ages in used.items() for key in ages}
        texts = {key: str(value) for key, value in labels.items()}
        engine.add("volume", f"dindcache-last-used-{now - age}.0", "2026-01-01T00:00:00Z", labels={KEEP: "", **texts})

    return record


@pytest.fixture(scope="session")
def image_path() -> Iterator[str]:
    """Search path of the image's programs: those of BusyBox, or of this machine if it has no BusyBox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        yield os.environ["PATH"]
        return
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)  # for every user
        subprocess.run([busybox, "--install", "-s", path], check=True)
        for program in ("flock", "openssl"):
            if not (path / program).exists():  # Debian's BusyBox has no flock, and none has an openssl
                (path / program).symlink_to(shutil.which(program) or program)
        yield name


class Image:
    """The programs of an image.

    :param path: Directory of programs that come before those of ``image_path``
    """

    def __init__(self, path: Path, image_path: str) -> None:
        self.path, self.search = path, f"{path}:{image_path}"
        path.mkdir()

    def add(self, programs: Mapping[str, str]) -> None:
        """Add or replace programs, each by its script."""
        for name, script in programs.items():
            (self.path / name).unlink(missing_ok=True)
            (self.path / name).write_text(f"#!{shutil.which('sh', path=self.search)}\n{script}\n")
            (self.path / name).chmod(0o755)


@pytest.fixture
def image(tmp_path: Path, image_path: str) -> Image:
    """The programs of the image that scripts run in as process 1."""
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare, and namespaces for this user")
    return Image(tmp_path / "bin", image_path)


@pytest.fixture
def start(tmp_path: Path, image: Image, scripts: Path) -> Iterator[Start]:
    """Start ``setup; exec sh SCRIPT ARGUMENT…``.

    ``programs`` are stand-ins for programs of the image. ``$SCRIPTS`` is the directory of the scripts.
    """
    # Rules can be added; no rule exists that could be deleted.
    image.add(dict.fromkeys(("iptables", "ip6tables"), '[ "$2" != -D ]'))
    image.add({"docker": "exit ${DOCKER_STATUS:-0}", "dockerd-entrypoint.sh": 'printf "%s\\n" "$@"'})
    (tmp_path / "data").mkdir()
    started: list[Process] = []

    def start(
        script: str,
        *arguments: str,
        setup: str = "",
        environment: dict[str, str] | None = None,
        programs: dict[str, str] | None = None,
    ) -> Process:
        image.add(programs or {})
        prepare = f"mount -t sysfs sys /sys && mount -t tmpfs run /run && mount -t tmpfs shm /dev/shm && {setup or ':'}"
        command = f"{prepare} && exec env PATH='{image.search}' sh {scripts / script} "
        process = subprocess.Popen(
            [*NAMESPACES, "sh", "-c", command + '"$@"', "sh", *arguments],
            env={**os.environ, "DATA_ROOT": str(tmp_path / "data"), "SCRIPTS": str(scripts), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        # Otherwise, a test that reads line by line could wait forever.
        timer = threading.Timer(120, process.kill)
        timer.daemon = True
        timer.start()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process: Process, seconds: float = 30) -> tuple[int, list[str]]:
    """Wait for the end of a script, and return its status and its lines."""
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output.splitlines()


def first_line(process: Process) -> str:
    """Wait for the next line of a script, and return it."""
    assert process.stdout
    return process.stdout.readline().strip()


def inner(process: Process) -> int:
    """Return the ID of the process that is 1 in its own namespace."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
