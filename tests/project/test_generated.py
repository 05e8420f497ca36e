"""The committed files are those that the code writes, and Kubernetes accepts them."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from cdk8s import App, Yaml

import main
from benchmarks import bare
from dindcache.prometheus.dashboard import dashboard_json
from tests.conftest import GOLDEN
from tests.framework.metrics_page import metrics_page

ROOT = Path(__file__).parent.parent.parent
CDK8S = ["npx", "--yes", "cdk8s-cli@2.207.60"]
CHECKED = {**os.environ, "CDK8S_CHECK_UPGRADE": "false"}
APPS = {"dist": [ROOT / "main.py"], "examples": sorted((ROOT / "examples").glob("*.py"))}
CRD_FILES = sorted((ROOT / "imports" / "crds").glob("*.yaml"))
CRDS = {
    (f"{crd['spec']['group']}/{crd['spec']['versions'][0]['name']}", crd["spec"]["names"]["kind"]): crd["spec"]["versions"][0]
    for path in CRD_FILES
    for crd in yaml.safe_load_all(path.read_text())
}
MANIFESTS = sorted([*ROOT.glob("dist/*"), *ROOT.glob("examples/*.k8s.yaml"), *GOLDEN.glob("*.yaml")])


def load(path: Path) -> Any:
    """Return an app as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("directory", APPS)
def test_committed_manifests_are_what_the_apps_write(directory, tmp_path):
    for path in APPS[directory]:
        app = App(outdir=str(tmp_path))  # one app each, since each is for its own cluster
        load(path).build(app)
        app.synth()
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / directory).glob("*.k8s.yaml")}
    assert committed == written


def test_committed_values_are_what_the_example_writes():
    example = load(ROOT / "examples" / "github_actions.py")
    values = example.values(example.build(App()))
    assert (ROOT / "examples" / "github-actions.values.yaml").read_text() == Yaml.stringify(values)


def test_an_example_says_when_to_start_from_it():
    starts = {path.name: path.read_text() for path in (ROOT / "examples").glob("*.py")}
    assert not [name for name, text in starts.items() if "Start from " not in text.split('"""')[1]]


def test_committed_files_for_gitlab_are_what_the_app_writes():
    paths = [path for directory in ("gitlab", "templates") for path in (ROOT / directory).iterdir()]
    committed = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    assert committed == main.gitlab(main.build(App()).daemon)


def test_the_bare_app_of_the_benchmark_makes_the_same_objects(tmp_path):
    (tmp_path / "bare.py").write_text(bare.app())
    environment = {**os.environ, "CDK8S_OUTDIR": str(tmp_path / "dist")}
    subprocess.run([sys.executable, tmp_path / "bare.py"], check=True, env=environment)
    written, committed = (
        {path.name: list(yaml.safe_load_all(path.read_text())) for path in directory.iterdir()}
        for directory in (tmp_path / "dist", ROOT / "dist")
    )
    assert written == committed


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_kubernetes_takes_it(path, version):
    manifests = list(yaml.safe_load_all(path.read_text()))
    assert manifests
    for manifest in manifests:
        crd = CRDS.get((manifest["apiVersion"], manifest["kind"]))
        if crd:
            # Not the schema itself: one of its patterns is of Go.
            jsonschema.Draft202012Validator(crd["schema"]["openAPIV3Schema"]).validate(manifest)
        else:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_every_golden_file_has_its_test():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests" / "unit").glob("test_*.py"))
    assert not [path.name for path in GOLDEN.iterdir() if f"def {path.stem}(" not in tests]


def test_cdk8s_import_makes_the_bindings(tmp_path):
    shutil.copytree(ROOT / "imports" / "crds", tmp_path / "imports" / "crds")
    for path in CRD_FILES:
        crds = str(path.relative_to(ROOT))
        subprocess.run([*CDK8S, "import", crds, "--language=python", "--no-save"], cwd=tmp_path, env=CHECKED, check=True)
    written, committed = (
        {
            path.relative_to(root): path.read_bytes()
            for group in ("io", "com")
            for path in root.glob(f"imports/{group}/**/*.*")
            if path.suffix != ".pyc"
        }
        for root in (tmp_path, ROOT)
    )
    assert written == committed


def test_the_committed_dashboard_is_what_its_script_writes(tmp_path):
    if sys.version_info < (3, 11):
        pytest.skip("needs Python 3.11, as the SDK of Grafana does")
    shutil.copytree(ROOT / "dashboards", tmp_path / "dashboards")
    written = tmp_path / "dindcache" / "prometheus" / "dashboard.json"
    written.parent.mkdir(parents=True)
    subprocess.run([sys.executable, tmp_path / "dashboards" / "grafana.py"], check=True)
    assert written.read_text() == dashboard_json()


def test_the_committed_page_of_metrics_is_what_the_tables_say(request):
    path = ROOT / "docs" / "reference" / "metrics.md"
    if request.config.getoption("--update-golden"):
        path.write_text(metrics_page())
    assert path.read_text() == metrics_page()
