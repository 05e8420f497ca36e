"""``examples/article.py`` against the article, field by field, and all that it adds."""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent

POD = "spec.template.spec"
JOB_POD = f"spec.jobTemplate.{POD}"
# What a pod of cdk8s-plus says that Kubernetes would assume (no token is the one that it would not), and its own label.
POD_DEFAULTS = {
    "automountServiceAccountToken": False,
    "dnsPolicy": "ClusterFirst",
    "hostNetwork": False,
    "securityContext.fsGroupChangePolicy": "Always",
    "setHostnameAsFQDN": False,
    "terminationGracePeriodSeconds": 30,
}
ADDED: dict[str, dict[str, Any]] = {
    "StorageClass": {},
    "PersistentVolume": {  # reserved for the claim
        "spec.claimRef.apiVersion": "v1",
        "spec.claimRef.kind": "PersistentVolumeClaim",
        "spec.claimRef.name": "docker-dind-data",
        "spec.claimRef.namespace": "kube-ops",
    },
    "PersistentVolumeClaim": {"spec.volumeName": "docker-pv"},  # bound to the volume
    "Deployment": {
        "spec.minReadySeconds": 0,
        "spec.progressDeadlineSeconds": 600,
        "spec.replicas": 1,
        "spec.strategy.type": "Recreate",
        "spec.template.metadata.labels.cdk8s.io/metadata.addr": "article-docker-dind-deployment-c87e4a58",
        **{f"{POD}.{field}": value for field, value in POD_DEFAULTS.items()},
        f"{POD}.restartPolicy": "Always",
        f"{POD}.securityContext.runAsNonRoot": False,
        f"{POD}.volumes[docker-dind-data-vol].persistentVolumeClaim.readOnly": False,
        f"{POD}.containers[docker-dind].args[1]": "--tls=false",  # no 16 s of warning at each start
        f"{POD}.containers[docker-dind].imagePullPolicy": "IfNotPresent",
        f"{POD}.containers[docker-dind].readinessProbe.exec.command[0]": "docker",
        f"{POD}.containers[docker-dind].readinessProbe.exec.command[1]": "--host=unix:///var/run/docker.sock",
        f"{POD}.containers[docker-dind].readinessProbe.exec.command[2]": "version",
        f"{POD}.containers[docker-dind].readinessProbe.failureThreshold": 3,
        f"{POD}.containers[docker-dind].readinessProbe.periodSeconds": 5,
        f"{POD}.containers[docker-dind].readinessProbe.timeoutSeconds": 5,
        f"{POD}.containers[docker-dind].securityContext.allowPrivilegeEscalation": True,
        f"{POD}.containers[docker-dind].securityContext.readOnlyRootFilesystem": False,
        f"{POD}.containers[docker-dind].securityContext.runAsNonRoot": False,
    },
    "Service": {},
    "CronJob": {
        "metadata.labels.app": "docker-dind",
        "spec.concurrencyPolicy": "Forbid",
        "spec.failedJobsHistoryLimit": 3,
        "spec.startingDeadlineSeconds": 21600,
        "spec.successfulJobsHistoryLimit": 1,
        "spec.suspend": False,
        "spec.jobTemplate.spec.activeDeadlineSeconds": 3600,
        "spec.jobTemplate.spec.backoffLimit": 2,
        "spec.jobTemplate.spec.template.metadata.labels.cdk8s.io/metadata.addr": ("article-clear-cache-cron-job-c8ff82c1"),
        **{f"{JOB_POD}.{field}": value for field, value in POD_DEFAULTS.items()},
        f"{JOB_POD}.securityContext.runAsNonRoot": True,
        f"{JOB_POD}.containers[clear-cache].imagePullPolicy": "IfNotPresent",
        f"{JOB_POD}.containers[clear-cache].securityContext.allowPrivilegeEscalation": False,
        f"{JOB_POD}.containers[clear-cache].securityContext.privileged": False,
        f"{JOB_POD}.containers[clear-cache].securityContext.readOnlyRootFilesystem": True,
        f"{JOB_POD}.containers[clear-cache].securityContext.runAsGroup": 1000,
        f"{JOB_POD}.containers[clear-cache].securityContext.runAsNonRoot": True,
        f"{JOB_POD}.containers[clear-cache].securityContext.runAsUser": 1000,
    },
}


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """Each leaf by its path; an entry of a list by its name where it has one, as ``kubectl apply`` merges them."""
    if isinstance(value, dict):
        return {p: v for key, item in value.items() for p, v in fields(item, f"{path}.{key}" if path else key).items()}
    if isinstance(value, list):
        entries = ((item["name"] if isinstance(item, dict) and "name" in item else i, item) for i, item in enumerate(value))
        return {p: v for key, item in entries for p, v in fields(item, f"{path}[{key}]").items()}
    return {path: value}


def load(path: Path) -> dict[str, dict[str, Any]]:
    return {manifest["kind"]: fields(manifest) for manifest in yaml.safe_load_all(path.read_text())}


def test_the_example_is_the_article_and_what_is_listed():
    article, example = load(HERE / "article.yaml"), load(HERE.parent / "examples" / "article.k8s.yaml")
    assert example == {kind: {**article[kind], **added} for kind, added in ADDED.items()}
    assert not [(kind, path) for kind, added in ADDED.items() for path in added if path in article[kind]]
    assert article.keys() == ADDED.keys()
