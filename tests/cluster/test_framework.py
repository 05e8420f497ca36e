"""The framework's own promise: nothing of a site is left, also when a test fails while its daemon drains."""

import pytest
from cdk8s import Duration, Size

from tests.framework.cluster import ROOT
from tests.framework.site import APP, Site, new_site

NAMESPACE, JOBS = "dindcache-framework", "dindcache-framework-jobs"


def test_a_test_that_fails_during_a_drain_leaves_nothing(cluster):
    def fail(site: Site) -> None:
        daemon = site.daemon(disk="size=300m", storage=Size.mebibytes(300), drain_timeout=Duration.minutes(30))
        follower = site.client(daemon).start("docker version >/dev/null; echo begin; docker events")
        assert follower.stdout
        assert follower.stdout.readline() == "begin\n"
        cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", f"--selector=app={APP}", "--wait=false")
        raise RuntimeError("the test fails")

    with pytest.raises(RuntimeError, match="the test fails"), new_site(cluster, NAMESPACE, JOBS) as site:
        fail(site)
    names = cluster.kubectl("get", "namespace,persistentvolume,storageclass", "-o", "name")
    assert NAMESPACE not in names
    for node_name in cluster.node_names:
        assert NAMESPACE not in cluster.on_node(node_name, f"ls {ROOT} || :; cat /proc/mounts")
