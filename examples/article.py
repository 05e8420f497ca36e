"""The system of the article "Docker layer cache for GitLab CI in Kubernetes" (2021): its objects, names and values.

Start from another example: this one is only for comparison. It prunes the build cache each week, and everyone who reaches the
port is root on the node. ``tests/project/test_article.py`` lists what it adds to the article.

A GitLab job of the article, corrected (the article has ``tages`` for ``tags``)::

    build_image:
      stage: image
      tags:
        - image
      image: docker:latest
      variables:
        DOCKER_HOST: tcp://docker-dind:2375
      script:
        - docker info
        - docker build -t xxxx .
        - docker push xxxx
      only:
        - tags
"""

from pathlib import Path

from cdk8s import ApiObject, App, Chart, Cron, JsonPatch, Size
from cdk8s_plus_27 import EnvValue, Namespaces
from constructs import Construct

from dindcache import DindDaemon, Engine, LocalStorageClass, LocalVolume, NoTls, Prune, PruneSchedule


class Article(Chart):
    """The article's five manifests."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id, namespace="kube-ops", disable_resource_name_hashes=True)
        volume = LocalVolume(
            self,
            "docker",
            hostname="node1",
            path="/mnt/k8s/docker",
            storage=Size.gibibytes(5),
            storage_class=LocalStorageClass(self, "class", name="local-volume"),
            volume_name="docker-pv",
            claim_name="docker-dind-data",
        )
        daemon = DindDaemon(
            self,
            "docker-dind",
            volume=volume,
            image="docker:dind",
            tls=NoTls(),
            engine=Engine(version="29"),  # which the tag does not contain
            disk_guard=False,
            registry_mirrors=["https://ot2k4d59.mirror.aliyuncs.com/"],
        )
        daemon.container.env.add_variable("DOCKER_TLS_CERTDIR", EnvValue.from_value(""))
        daemon.container.env.add_variable("DOCKER_DRIVER", EnvValue.from_value("overlay2"))
        daemon.container.env.add_variable("DOCKER_HOST", EnvValue.from_value("tcp://0.0.0.0:2375"))
        # The article's job has no client label.
        daemon.client_policy.allow_from(Namespaces.select(self, "clients", names=["kube-ops"]))
        clear_cache = PruneSchedule(
            self,
            "clear-cache",
            daemon=daemon,
            schedule=Cron.weekly(),
            prune=Prune.EVERYTHING,
            image="docker:latest",
        )
        ApiObject.of(clear_cache.cron_job).add_json_patch(
            JsonPatch.add("/spec/jobTemplate/metadata/name", "docker-dind-clear-cache")
        )


def build(app: App) -> None:
    """Create every chart of this app."""
    Article(app, "article")


if __name__ == "__main__":
    app = App(outdir=str(Path(__file__).parent))
    build(app)
    app.synth()
