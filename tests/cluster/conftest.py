"""The cluster that ``--kubeconfig`` names, which the workers of a run share."""

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework import support
from tests.framework.cluster import Cluster
from tests.framework.site import Site, new_site

# The modules that take longest, which start first, so that no worker begins one when the others have finished.
LONGEST = """test_monitoring test_fleet test_gitlab test_tls test_crash test_survive test_pressure test_prune test_certificates
test_command_lines test_upgrade test_engines test_quickstart test_gc test_volume test_nodes""".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {Path(__file__).parent / f"{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the cluster says about the namespaces of a failed test to its report: they are gone when somebody reads it."""
    report = yield
    if not isinstance(item, pytest.Function):
        return report
    cluster = item.funcargs.get("cluster")
    if report.failed and isinstance(cluster, Cluster):
        for name in _namespaces(item.module):
            for what in (["pods", "--output=wide"], ["events", "--sort-by=.lastTimestamp"]):
                lines = cluster.run("get", *what, f"--namespace={name}").stdout.splitlines()
                report.sections.append((f"{what[0]} of {name}", "\n".join(lines[-40:])))
    return report


def _namespaces(module: object) -> list[str]:
    return [getattr(module, name) for name in ("NAMESPACE", "JOBS") if hasattr(module, name)]


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
    cluster = Cluster(
        kubeconfig,
        request.config.getoption("--registry-mirror"),
        daemon_node=request.config.getoption("--daemon-node"),
        user_namespaces=bool(request.config.getoption("--user-namespaces")),
    )
    with _locked(run_directory / "workers") as workers:
        others = int(workers.read_text() or 0)
        if not others:
            support.set_up(cluster)
        workers.write_text(str(others + 1))
    yield cluster
    with _locked(workers):
        others = int(workers.read_text()) - 1
        workers.write_text(str(others))
        if not others:
            support.tear_down(cluster)


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Site]:
    """Site of a module: its NAMESPACE for daemons and, if its clients are in another one, its JOBS."""
    with new_site(cluster, *_namespaces(request.module)) as site:
        yield site


@pytest.fixture
def processors(run_directory: Path) -> Iterator[None]:
    """Hold the machine's processors: of the tests that load them or claim a time, one runs at a time."""
    with _locked(run_directory / "processors"):
        yield
