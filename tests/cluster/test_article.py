"""``examples/article.k8s.yaml`` on a cluster: it is written for a node ``node1``."""

from pathlib import Path

import pytest

from tests.framework.cluster import Cluster

MANIFEST = Path(__file__).parent.parent.parent / "examples" / "article.k8s.yaml"


def test_the_articles_daemon_serves(cluster: Cluster):
    if "node1" not in cluster.hostnames:
        pytest.skip("needs a node whose label kubernetes.io/hostname is node1")
    node_name = cluster.node_names[cluster.hostnames.index("node1")]
    cluster.on_node(node_name, "rm -rf /mnt/k8s/docker; mkdir -p /mnt/k8s/docker")
    cluster.create_namespace("kube-ops")
    cluster.kubectl("apply", "-f", MANIFEST)
    cluster.rollout("kube-ops", "docker-dind")
    info = cluster.kubectl("exec", "--namespace=kube-ops", "deployment/docker-dind", "--", "docker", "info")
    assert "Storage Driver: overlay2" in info
    assert "https://ot2k4d59.mirror.aliyuncs.com/" in info
    cluster.forget("kube-ops", "persistentvolume/docker-pv", "storageclass/local-volume")
