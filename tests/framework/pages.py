"""The blocks of README and docs, and the shell blocks run on a cluster."""

import os
import re
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.framework.cluster import Cluster

REPOSITORY = Path(__file__).parent.parent.parent


class Block(NamedTuple):
    """A block of a page: its language, its text and the text before it."""

    language: str
    text: str
    before: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of some languages."""
    text = page.read_text()
    found = re.finditer(r"^( *)```(\w+)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[2], textwrap.dedent(m[3]), text[: m.start()]) for m in found if m[2] in languages]


def block(page: str, heading: str, language: str = "sh") -> str:
    """Return the first block of a language below a heading of a page, such as ``## Grow a volume``."""
    found = [block.text for block in blocks(REPOSITORY / page, language) if f"\n{heading}\n" in block.before]
    assert found, f"{page} has no {language} below {heading!r}"
    return found[0]


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
