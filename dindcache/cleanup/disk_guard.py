"""The container that reclaims space on a daemon's disk before the disk is full."""

from cdk8s import Size
from cdk8s_plus_27 import (
    Container,
    ContainerResources,
    ContainerSecurityContextProps,
    Cpu,
    Deployment,
    EnvValue,
    ImagePullPolicy,
    Volume,
)
from constructs import Construct

from dindcache._patch import patch_pod
from dindcache._scripts import SCRIPTS_DIRECTORY, SCRIPTS_PATH, script_command
from dindcache.cleanup.retention import Retention
from dindcache.pod import sidecar_resources

# Percent of the disk's space and inodes.
_ENOUGH, _URGENT_ENOUGH = (25, 15), (20, 10)
_DAY = 86400


class DiskGuard(Construct):
    """A container next to the engine that polls the file system every five seconds and reclaims space when it is nearly full.

    Below 20 % free space or 10 % free inodes it removes images and then build cache, the least recently used first, until 25 %
    and 15 % are free: before the kubelet would evict the pod.

    It is not a TLS client: it talks to the engine over a second Unix socket, so a drain does not wait for it. It runs as root,
    because only root can use the socket and read the data root, but with no capabilities and with the data root mounted
    read-only.

    :param deployment: Deployment of the daemon, which has the engine's container
    :param image: Image of the engine, so that no other image is pulled
    :param resources: Resources of the engine's container
    :param data: Volume with the data root
    :param scripts: Volume with the directory of the scripts
    :param socket: Volume with the engine's second socket, and its directory
    :param retention: Objects that stay
    """

    NAME = "disk-guard"
    """Name of the container."""

    LOW_PERCENT, URGENT_PERCENT = (20, 10), (17, 8)
    """Percent of free space and of free inodes below which it removes what is old, and then what was used recently.
    The kubelet evicts the pod at 15 and 5 if the disk is the node's."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        deployment: Deployment,
        image: str,
        resources: ContainerResources,
        data: Volume,
        scripts: Volume,
        socket: tuple[str, Volume],
        retention: Retention,
    ) -> None:
        super().__init__(scope, id)
        self.container: Container = deployment.add_container(
            name=self.NAME,
            image=image,
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            command=script_command("guard-disk.sh"),
            env_variables={name: EnvValue.from_value(value) for name, value in _environment(retention).items()},
            resources=sidecar_resources(resources, cpu=Cpu.millis(200), burst=Cpu.units(1), memory=Size.mebibytes(256)),
            security_context=ContainerSecurityContextProps(ensure_non_root=False, user=0),
        )
        self.container.mount(SCRIPTS_PATH, scripts, sub_path=SCRIPTS_DIRECTORY, read_only=True)
        self.container.mount("/var/lib/docker/", data, read_only=True)
        path, volume = socket
        self.container.mount(path, volume, read_only=True)
        patch_pod(deployment, containers={self.NAME: UNPRIVILEGED_ROOT})


UNPRIVILEGED = {
    "securityContext/capabilities": {"drop": ["ALL"]},
    "securityContext/seccompProfile": {"type": "RuntimeDefault"},
}
"""Fields of an unprivileged container."""

UNPRIVILEGED_ROOT = {
    **UNPRIVILEGED,
    # Otherwise, under SELinux, the runtime relabels every file of the data root when the container starts.
    "securityContext/seLinuxOptions": {"type": "spc_t"},
}
"""Fields of an unprivileged container that opens the data root."""


def _environment(retention: Retention) -> dict[str, str]:
    job = int(retention.max_job_duration.to_seconds())
    # At most a twelfth of the shortest age. An image that a busy daemon uses all day costs six records an hour.
    precision = min(600, job // 12)
    return {
        **retention.environment,
        "USE_PRECISION_SECONDS": str(precision),
        "RECORD_DELAY_SECONDS": str(precision // 10),
        "LOW_PERCENT": "{} {}".format(*DiskGuard.LOW_PERCENT),
        "ENOUGH_PERCENT": "{} {}".format(*_ENOUGH),
        "URGENT_PERCENT": "{} {}".format(*DiskGuard.URGENT_PERCENT),
        "URGENT_ENOUGH_PERCENT": "{} {}".format(*_URGENT_ENOUGH),
        # Objects that were last used a week ago go first; objects that a job can still need stay.
        "AGES_SECONDS": " ".join(str(max(job, age)) for age in (7 * _DAY, _DAY, job)),
    }
