"""The cluster that ``--kubeconfig`` names."""

from collections.abc import Iterator

import pytest

from tests.framework.cluster import NAMESPACE, Cluster


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    kubeconfig = request.config.getoption("--kubeconfig")
    if not kubeconfig:
        pytest.skip("needs --kubeconfig=FILE of a cluster to try things on")
    cluster = Cluster(kubeconfig, request.config.getoption("--registry-mirror"))
    cluster.set_up()
    yield cluster
    cluster.forget(NAMESPACE)
