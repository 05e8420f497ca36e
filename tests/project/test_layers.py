"""Imports point one way: constructs and the cluster framework import no tests, benchmarks import only the framework."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def imported(directory: str) -> dict[str, set[str]]:
    """Return the modules that each file of a directory imports, by its path."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / directory).rglob("*.py")):
        names = found[str(path.relative_to(ROOT))] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert found
    return found


@pytest.mark.parametrize(
    ("directory", "forbidden", "allowed"),
    [
        ("dindcache", ("tests", "benchmarks", "examples", "imports", "main"), ()),
        ("tests/framework", ("tests", "benchmarks", "pytest"), ("tests.framework",)),
        ("benchmarks", ("tests", "pytest"), ("tests.framework",)),
    ],
)
def test_imports_point_one_way(directory, forbidden, allowed):
    def below(name: str, packages: tuple[str, ...]) -> bool:
        return any(f"{name}.".startswith(f"{package}.") for package in packages)

    wrong = {
        path: {name for name in names if below(name, forbidden) and not below(name, allowed)}
        for path, names in imported(directory).items()
    }
    assert not {path: names for path, names in wrong.items() if names}
