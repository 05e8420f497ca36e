"""The ways to synthesize, each in a copy of the app: the files that they write, and that they delete nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CDK8S = ["npx", "--yes", "cdk8s-cli@2.207.60"]
GITLAB = {"gitlab/config.toml", "gitlab/values.yaml", "gitlab/docker.gitlab-ci.yml", "templates/docker-build.yml"}


@pytest.fixture
def app(tmp_path):
    """A synthesized copy of the app, with a file of the user's in each directory."""
    copy = tmp_path / "app"
    copy.mkdir()
    for name in ("main.py", "cdk8s.yaml", "Makefile", "dist", "gitlab", "templates"):
        source = ROOT / name
        shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy)
    for directory in ("gitlab", "templates"):
        (copy / directory / "mine.yaml").write_text("mine")
    return copy


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def run(app: Path, *command: str, **environment: str) -> str:
    checked = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "CDK8S_CHECK_UPGRADE": "false"}
    done = subprocess.run(command, cwd=app, env={**checked, **environment}, check=True, capture_output=True, text=True)
    return done.stdout


def test_cdk8s_synth_writes_what_is_committed(app):
    before = files(app)
    run(app, *CDK8S, "synth")
    assert files(app) == before


@pytest.mark.parametrize(
    ("arguments", "environment", "output"),
    [
        (["synth", "--output=elsewhere/prod"], {}, "elsewhere/prod"),
        (["synth", "--format=helm", "--chart-version=0.1.0", "--chart-api-version=v2", "--output=chart"], {}, "chart"),
    ],
)
def test_another_output_gets_manifests_only(app, arguments, environment, output):
    before = files(app)
    run(app, *CDK8S, *arguments, **environment)
    added = files(app).keys() - before.keys()
    assert added
    assert not [name for name in added if not name.startswith(f"{output}/")]
    # A CRD in cdk8s.yaml, which an example needs, would otherwise be in the chart too.
    assert not [name for name in added if "/crds/" in name]
    names = {Path(name).name for name in added}
    assert "docker-cache.k8s.yaml" in names
    assert not names & {Path(name).name for name in GITLAB - {"gitlab/values.yaml"}}
    assert {name: text for name, text in files(app).items() if name in before} == before


def test_an_output_directory_of_the_environment_gets_manifests_only(app):
    before = files(app)
    run(app, "python", "main.py", CDK8S_OUTDIR="elsewhere/dist")
    assert files(app).keys() - before.keys() == {"elsewhere/dist/docker-cache.k8s.yaml"}


def test_stdout_gets_manifests_and_the_temporary_directory_nothing(app, tmp_path):
    before, temporary = files(app), tmp_path / "tmp"
    temporary.mkdir()
    printed = run(app, *CDK8S, "synth", "--stdout", TMPDIR=str(temporary))
    assert "kind: Deployment" in printed
    assert "DOCKER_BUILD_IMAGE" not in printed
    assert not list(temporary.rglob("docker-build.yml"))
    changed = files(app)
    assert {name: changed[name] for name in GITLAB} == {name: before[name] for name in GITLAB}


def test_make_synth_deletes_nothing_and_names_what_it_does_not_write(app):
    # The environment of this clone is already set up.
    (app / ".venv").symlink_to(ROOT / ".venv")
    (app / "dist" / "mine.k8s.yaml").write_text("mine")
    before = files(app)
    command = ["make", "synth", "--assume-old=.venv/ready", "--assume-old=pyproject.toml", "--assume-old=constraints.txt"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=app, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dist/mine.k8s.yaml: main.py does not write it" in done.stderr
    assert {name: text for name, text in files(app).items() if name in before} == before


def test_a_synth_that_fails_changes_nothing(app):
    (app / "main.py").write_text((app / "main.py").read_text().replace('NAMESPACE = "kube-ops"', 'NAMESPACE = "No"'))
    before = files(app)
    with pytest.raises(subprocess.CalledProcessError):
        run(app, "python", "main.py")
    assert files(app) == before
