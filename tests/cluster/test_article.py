"""``examples/article.k8s.yaml`` on a cluster, with its namespace, node and directory replaced."""

from pathlib import Path

from tests.framework.site import APP, new_site

MANIFEST = Path(__file__).parent.parent.parent / "examples" / "article.k8s.yaml"
NAMESPACE = "dindcache-article"


def test_the_articles_daemon_serves(cluster):
    with new_site(cluster, NAMESPACE, cluster_objects=["persistentvolume/docker-pv", "storageclass/local-volume"]) as site:
        manifest = MANIFEST.read_text().replace("kube-ops", NAMESPACE).replace("/mnt/k8s/docker", site.directory())
        cluster.kubectl("apply", "-f", "-", stdin=manifest.replace("node1", cluster.hostnames[0]))
        cluster.rollout(NAMESPACE, APP)
        info = cluster.kubectl("exec", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--", "docker", "info")
        assert "Storage Driver: overlay2" in info
        assert "https://ot2k4d59.mirror.aliyuncs.com/" in info
