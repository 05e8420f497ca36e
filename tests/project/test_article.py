"""``examples/article.py`` against the article, field by field, with everything that it adds."""

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent

POD = "spec.template.spec"
JOB_POD = f"spec.jobTemplate.{POD}"
DIND, INIT = f"{POD}.containers[docker-dind]", f"{POD}.initContainers[wait-for-lock]"
# Fields that cdk8s-plus sets to the defaults of Kubernetes (except the token and the grace period).
POD_DEFAULTS = {
    "automountServiceAccountToken": False,
    "dnsPolicy": "ClusterFirst",
    "hostNetwork": False,
    "securityContext.fsGroupChangePolicy": "Always",
    "setHostnameAsFQDN": False,
}


def command(path: str, *words: str) -> dict[str, str]:
    return {f"{path}[{i}]": word for i, word in enumerate(words)}


def probe(path: str, script: str, period: int, failures: int) -> dict[str, Any]:
    return {
        **command(f"{path}.exec.command", "sh", f"/etc/dindcache/{script}"),
        f"{path}.failureThreshold": failures,
        f"{path}.periodSeconds": period,
        f"{path}.timeoutSeconds": 15,
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
        "spec.progressDeadlineSeconds": 4260,
        "spec.replicas": 1,
        "spec.strategy.type": "Recreate",
        "spec.template.metadata.annotations.cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "spec.template.metadata.annotations.kubectl.kubernetes.io/default-container": "docker-dind",
        "spec.template.metadata.labels.cdk8s.io/metadata.addr": "article-docker-dind-deployment-c87e4a58",
        **{f"{POD}.{field}": value for field, value in POD_DEFAULTS.items()},
        f"{POD}.restartPolicy": "Always",
        f"{POD}.securityContext.runAsNonRoot": False,
        f"{POD}.terminationGracePeriodSeconds": 1860,
        f"{POD}.volumes[docker-dind-data-vol].persistentVolumeClaim.readOnly": False,
        # its files, and each pod's copy of them
        f"{POD}.volumes[config].configMap.name": "docker-dind",
        f"{POD}.volumes[files].emptyDir.medium": "Memory",
        f"{POD}.volumes[files].emptyDir.sizeLimit": "2Mi",
        f"{INIT}.image": "docker:dind",
        f"{INIT}.imagePullPolicy": "IfNotPresent",
        **command(f"{INIT}.command", "sh", "/config/dindcache/prepare.sh"),
        f"{INIT}.env[CONFIG].value": "/config",
        f"{INIT}.env[FILES].value": "/files",
        f"{INIT}.securityContext.allowPrivilegeEscalation": False,
        f"{INIT}.securityContext.capabilities.drop[0]": "ALL",
        f"{INIT}.securityContext.privileged": False,
        f"{INIT}.securityContext.readOnlyRootFilesystem": True,
        f"{INIT}.securityContext.runAsNonRoot": False,
        f"{INIT}.securityContext.runAsUser": 0,
        f"{INIT}.securityContext.seLinuxOptions.type": "spc_t",
        f"{INIT}.securityContext.seccompProfile.type": "RuntimeDefault",
        f"{INIT}.volumeMounts[config].mountPath": "/config",
        f"{INIT}.volumeMounts[config].readOnly": True,
        f"{INIT}.volumeMounts[docker-dind-data-vol].mountPath": "/var/lib/docker/",
        f"{INIT}.volumeMounts[docker-dind-data-vol].readOnly": True,
        f"{INIT}.volumeMounts[files].mountPath": "/files",
        # the lock, the drain, the probes
        **command(f"{DIND}.command", "sh", "/etc/dindcache/lock.sh", "sh", "/etc/dindcache/start.sh"),
        # its listeners, and without 16 s of warning at each start
        f"{DIND}.args[1]": "--host=unix:///var/run/docker.sock",
        f"{DIND}.args[2]": "--host=tcp://0.0.0.0:2375",
        f"{DIND}.args[3]": "--tls=false",
        f"{DIND}.env[PORT].value": "2375",
        f"{DIND}.env[DRAIN_SECONDS].value": "1800",
        f"{DIND}.env[DRAIN_REJECT_AFTER_SECONDS].value": "900",
        f"{DIND}.env[DRAIN_QUIET_SECONDS].value": "10",
        f"{DIND}.env[LIVENESS_PERIOD_SECONDS].value": "10",
        f"{DIND}.env[LIVENESS_FAILURES].value": "6",
        f"{DIND}.env[RELOAD_DRAIN_SECONDS].value": "88200",
        f"{DIND}.env[RELOAD_REJECT_AFTER_SECONDS].value": "87300",
        **command(f"{DIND}.lifecycle.preStop.exec.command", "sh", "/etc/dindcache/drain.sh"),
        **probe(f"{DIND}.startupProbe", "alive.sh", 5, 480),
        **probe(f"{DIND}.livenessProbe", "alive.sh", 10, 6),
        f"{DIND}.livenessProbe.terminationGracePeriodSeconds": 15,
        **probe(f"{DIND}.readinessProbe", "ready.sh", 5, 12),
        f"{DIND}.imagePullPolicy": "IfNotPresent",
        f"{DIND}.securityContext.allowPrivilegeEscalation": True,
        f"{DIND}.securityContext.readOnlyRootFilesystem": False,
        f"{DIND}.securityContext.runAsNonRoot": False,
        # the second of its two mounts
        f"{DIND}.volumeMounts[files].mountPath": "/etc/docker",
        f"{DIND}.volumeMounts[files].readOnly": True,
        f"{DIND}.volumeMounts[files].subPath": "docker",
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
        "spec.jobTemplate.spec.template.metadata.labels.dindcache/client": "true",
        f"{JOB_POD}.securityContext.runAsNonRoot": True,
        f"{JOB_POD}.securityContext.seccompProfile.type": "RuntimeDefault",
        f"{JOB_POD}.terminationGracePeriodSeconds": 30,
        f"{JOB_POD}.containers[clear-cache].imagePullPolicy": "IfNotPresent",
        f"{JOB_POD}.containers[clear-cache].resources.limits.cpu": "1",
        f"{JOB_POD}.containers[clear-cache].resources.limits.memory": "256Mi",
        f"{JOB_POD}.containers[clear-cache].resources.requests.cpu": "10m",
        f"{JOB_POD}.containers[clear-cache].resources.requests.memory": "64Mi",
        f"{JOB_POD}.containers[clear-cache].securityContext.allowPrivilegeEscalation": False,
        f"{JOB_POD}.containers[clear-cache].securityContext.capabilities.drop[0]": "ALL",
        f"{JOB_POD}.containers[clear-cache].securityContext.privileged": False,
        f"{JOB_POD}.containers[clear-cache].securityContext.readOnlyRootFilesystem": True,
        f"{JOB_POD}.containers[clear-cache].securityContext.runAsGroup": 10000,
        f"{JOB_POD}.containers[clear-cache].securityContext.runAsNonRoot": True,
        f"{JOB_POD}.containers[clear-cache].securityContext.runAsUser": 10000,
    },
}


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """Return each leaf by its path; a list entry goes by its name if it has one, as ``kubectl apply`` merges lists."""
    if isinstance(value, dict):
        return {p: v for key, item in value.items() for p, v in fields(item, f"{path}.{key}" if path else key).items()}
    if isinstance(value, list):
        leaves: dict[str, Any] = {}
        for i, item in enumerate(value):
            key = item.pop("name", i) if isinstance(item, dict) else i
            leaves.update(fields(item, f"{path}[{key}]"))
        return leaves
    return {path: value}


def load(path: Path) -> dict[str, dict[str, Any]]:
    return {manifest["kind"]: fields(manifest) for manifest in yaml.safe_load_all(path.read_text())}


def test_the_example_is_the_article_and_what_is_listed():
    article, example = load(HERE / "article.yaml"), load(HERE.parent.parent / "examples" / "article.k8s.yaml")
    # The two added objects: golden files and the lines below pin their content.
    files = example.pop("ConfigMap")
    assert (
        example.pop("NetworkPolicy")["spec.ingress[1].from[0].namespaceSelector.matchLabels.kubernetes.io/metadata.name"]
        == "kube-ops"
    )
    assert json.loads(files["data.daemon.json"])["storage-driver"] == "overlay2"
    assert example["Deployment"].pop("spec.template.metadata.annotations.checksum/config")
    for path in [path for path in example["Deployment"] if ".configMap.items" in path]:
        del example["Deployment"][path]
    assert example == {kind: {**article[kind], **added} for kind, added in ADDED.items()}
    assert not [(kind, path) for kind, added in ADDED.items() for path in added if path in article[kind]]
    assert article.keys() == ADDED.keys()
