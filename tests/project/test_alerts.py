"""The alerts fire when they should, by Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from dindcache.prometheus.alerts import alerts
from tests.framework.alert_cases import CASES, promtool_tests, rules

TROUBLESHOOTING = Path(__file__).parent.parent.parent / "docs" / "reference" / "troubleshooting.md"


def test_each_alert_has_a_case_in_which_it_fires_and_a_runbook():
    every = alerts(free_percent=17)
    assert {alert.name for alert in every} == set().union(*(firing for *_, firing in CASES.values()))
    headings = [line.lstrip("# ") for line in TROUBLESHOOTING.read_text().splitlines() if line.startswith("#")]
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert {alert.runbook for alert in every} <= anchors


def test_promtool_agrees(tmp_path):
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool; tests/cluster/test_monitoring.py runs it in the image of Prometheus")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(promtool_tests()))
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "tests.yaml"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
