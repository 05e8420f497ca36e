"""The shell blocks of README and docs, run on a cluster."""

import os
import re
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

from tests.framework.cluster import Cluster

REPOSITORY = Path(__file__).parent.parent.parent


def block(page: str, heading: str, language: str = "sh") -> str:
    """Return the first block of a language below a heading of a page, such as ``## Grow a volume``."""
    _, found, below = (REPOSITORY / page).read_text().partition(f"\n{heading}\n")
    assert found, f"{page} has no {heading!r}"
    match = re.search(rf"^ *```{language}\n(.*?)^ *```$", below, re.MULTILINE | re.DOTALL)
    assert match, f"{page} has no {language} below {heading!r}"
    return textwrap.dedent(match[1])


def run(cluster: Cluster, script: str, directory: Path, names: Mapping[str, str] | None = None) -> str:
    """Run a block in a directory, whose ``dist/`` it can apply, and return its output.

    :param names: Names of the test by those of the page, the longer ones first. Defaults to those of the page
    """
    for old, new in (names or {}).items():
        script = script.replace(old, new)
    environment = {**os.environ, "KUBECONFIG": cluster.kubeconfig}
    command = ["/bin/sh", "-euxc", f"exec 2>&1\n{script}"]
    done = subprocess.run(command, cwd=directory, env=environment, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    return done.stdout
