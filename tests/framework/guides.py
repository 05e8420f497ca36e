"""Pages whose shell blocks run on a cluster."""

RUN: dict[str, str] = {
    "docs/guides/disk-space.md": "tests/cluster/test_quickstart.py",
    "docs/guides/volumes.md": "tests/cluster/test_volume.py",
    "docs/quickstart.md": "tests/cluster/test_quickstart.py",
}
"""The test that runs them, by page."""
