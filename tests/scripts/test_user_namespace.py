"""``user-namespace.sh``: a node that cannot, and a data root of the other mode."""

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Check = Callable[..., tuple[int, str]]
MODES = {"a user namespace": "1", "the host": ""}


@pytest.fixture
def check(tmp_path: Path, scripts: Path, image_path: str) -> Check:
    """Run the script on a node that fulfils everything but what ``files`` say (content by path, None for no file)."""
    for directory in ("data", "proc", "cgroup"):
        (tmp_path / directory).mkdir()
    (tmp_path / "proc" / "uid_map").write_text("         0  903217152      65536\n")
    (tmp_path / "proc" / "mounts").write_text("overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n")
    for file in ("cgroup.controllers", "cgroup.subtree_control"):
        (tmp_path / "cgroup" / file).touch()

    def check(mode: str, files: Mapping[str, str | None] | None = None) -> tuple[int, str]:
        for name, content in (files or {}).items():
            path = tmp_path / name
            path.unlink()
            if content is not None:
                path.write_text(content)
        done = subprocess.run(
            ["sh", scripts / "user-namespace.sh"],
            env={
                "PATH": image_path,
                "USER_NAMESPACE": mode,
                **{name.upper(): str(tmp_path / name) for name in ("proc", "cgroup")},
                "DATA_ROOT": str(tmp_path / "data"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    return check


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"proc/uid_map": "0 0 4294967295\n"}, "no user namespace: its node needs Kubernetes 1.33"),
        ({"proc/uid_map": "0 100000 1000\n"}, "has 1000 users, not 65536"),
        ({"proc/mounts": "proc /proc proc rw 0 0\ntmpfs /proc/kcore tmpfs ro 0 0\n"}, "/proc is masked: .*procMount"),
        ({"cgroup/cgroup.controllers": None}, "cgroup v1: a user namespace needs cgroup v2"),
    ],
)
def test_what_a_node_lacks_is_named(check, files, message):
    status, output = check("1", files)
    assert status == 78
    assert re.search(f"^dindcache: .*{message}", output)
    assert check("") == (0, "")


def test_cgroups_that_cannot_be_written_are_named(check, tmp_path):
    (tmp_path / "cgroup" / "docker").touch()  # so root cannot create the directory either
    status, output = check("1")
    assert (status, "cgroup_writable = true" in output) == (78, True)


@pytest.mark.parametrize("directory", ["image", "containerd", "buildkit", "overlay2"])
def test_a_data_root_is_of_one_mode(check, tmp_path, directory):
    """Written without a mark, it is from outside of a user namespace, by this version or by one before."""
    (tmp_path / "data" / directory).mkdir()
    assert check(MODES["the host"]) == (0, "")
    status, output = check(MODES["a user namespace"])
    assert status == 78
    assert "the data root is not one of a user namespace: use an empty directory" in output
    assert [path.name for path in (tmp_path / "data").iterdir()] == [directory]


def test_a_data_root_of_a_user_namespace_stays_one(check, tmp_path):
    for name in ("lost+found", "dindcache"):  # of the file system, and of the metrics
        (tmp_path / "data" / name).mkdir()
    assert check(MODES["a user namespace"]) == (0, "")
    (tmp_path / "data" / "image").mkdir()
    assert check(MODES["a user namespace"]) == (0, "")
    status, output = check(MODES["the host"])
    assert status == 78
    assert "the data root is one of a user namespace: set user_namespace=True" in output
