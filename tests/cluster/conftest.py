"""The cluster that ``--kubeconfig`` names, which the workers of a run share."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework import support
from tests.framework.cluster import Cluster

# The modules that take longest, which start first, so that no worker begins one when the others have finished.
LONGEST = """test_tls test_crash test_survive test_pressure test_prune test_certificates test_upgrade test_quickstart test_engines
test_pipeline test_gc test_volume test_nodes test_gitlab""".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Directory that the workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, run_directory: Path) -> Iterator[Cluster]:
    kubeconfig = request.config.getoption("--kubeconfig")
    if not kubeconfig:
        pytest.skip("needs --kubeconfig=FILE of a cluster to try things on")
    cluster = Cluster(kubeconfig, request.config.getoption("--registry-mirror"))
    path = run_directory / "workers"

    def count(change: int, act: Callable[[Cluster], None]) -> None:
        """Count the workers that use the cluster; act for the first one that begins and the last one that ends."""
        with _locked(path):
            others = int(path.read_text() or 0) + min(change, 0)
            if others == 0:
                act(cluster)
            path.write_text(str(others + max(change, 0)))

    count(1, support.set_up)
    yield cluster
    count(-1, support.tear_down)


@pytest.fixture
def processors(run_directory: Path) -> Iterator[None]:
    """Hold the machine's processors: of the tests that load them or claim a time, one runs at a time."""
    with _locked(run_directory / "processors"):
        yield
