"""``prepare.sh`` and ``lock.sh``: one daemon on a data root, with the files that its pod started with."""

import os
import signal

from tests.scripts.conftest import end, first_line, inner


def test_the_command_that_the_script_becomes_holds_the_lock(start):
    holder = start("lock.sh", "sh", "-c", "echo serving; exec sleep 60")
    assert first_line(holder) == "serving"
    waiter = start("lock.sh", "sh", "-c", "test -e /run/dindcache.waiting && echo serving")
    assert first_line(waiter).startswith("dindcache: another daemon holds ")
    os.kill(inner(holder), signal.SIGKILL)
    status, lines = end(waiter)
    assert status == 0
    assert lines[0].endswith(" is free")
    assert lines[1] == "serving"


def test_a_waiting_script_ends_at_once_when_its_pod_is_deleted(start):
    holder = start("lock.sh", "sh", "-c", "echo serving; exec sleep 60")
    assert first_line(holder) == "serving"
    waiter = start("lock.sh", "true")
    first_line(waiter)
    os.kill(inner(waiter), signal.SIGTERM)
    assert end(waiter, seconds=5)[0] == 143


def test_a_shared_process_namespace_is_rejected(start):
    status, lines = end(start("lock.sh", "true", setup="sh $SCRIPTS/lock.sh true; echo $?; echo"))
    assert status == 0
    assert lines[0].endswith("not 1: hostPID and shareProcessNamespace must be off")
    assert lines[1] == "1"


def test_an_error_of_the_lock_is_no_reason_to_wait(start):
    status, lines = end(start("lock.sh", "true", programs={"flock": "echo no locks >&2; exit 1"}))
    assert status == 1
    assert lines[0].endswith("/data: no locks")


def test_the_files_are_copied_before_the_wait(start, tmp_path):
    """The kubelet mounts a ConfigMap as links to a directory, which the next version replaces."""
    config, files = tmp_path / "config", tmp_path / "files"
    (config / "..2026" / "dindcache").mkdir(parents=True)
    (config / "..2026" / "docker" / "certs.d" / "registry.example:5000").mkdir(parents=True)
    (config / "..2026" / "docker" / "certs.d" / "registry.example:5000" / "ca.crt").write_text("ca")
    (config / "..2026" / "docker" / "daemon.json").write_text("{}")
    for script in (tmp_path / "scripts").iterdir():
        (config / "..2026" / "dindcache" / script.name).write_text(script.read_text())
    (config / "..data").symlink_to("..2026")
    for name in ("dindcache", "docker"):
        (config / name).symlink_to(f"..data/{name}")
    files.mkdir()
    holder = start("lock.sh", "sh", "-c", "echo serving; exec sleep 60")
    assert first_line(holder) == "serving"
    environment = {"CONFIG": str(config), "FILES": str(files)}
    waiter = start("prepare.sh", environment=environment)
    assert first_line(waiter).startswith("dindcache: another daemon holds ")
    copied = {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()}
    assert {"docker/daemon.json", "docker/certs.d/registry.example:5000/ca.crt", "dindcache/drain.sh"} <= copied
    assert not [path for path in files.rglob("*") if path.is_symlink() or path.name.startswith("..")]
    os.kill(inner(holder), signal.SIGKILL)
    assert end(waiter)[0] == 0
