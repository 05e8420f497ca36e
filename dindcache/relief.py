"""What makes room on a daemon's disk before it is full."""

from cdk8s import ApiObject, JsonPatch, Size
from cdk8s_plus_27 import (
    Container,
    ContainerResources,
    ContainerSecurityContextProps,
    Cpu,
    CpuResources,
    Deployment,
    EmptyDirMedium,
    ImagePullPolicy,
    IStorage,
    MemoryResources,
    Volume,
)
from constructs import Construct

from dindcache.files import DaemonFiles
from dindcache.keep import Keep

# Where start.sh lets the engine listen too, when it is there.
_SOCKET_PATH = "/run/dindcache"


class Relief(Construct):
    """A container beside a daemon's that looks at the file system every five seconds, and makes room when it is nearly full.

    With less than 20 % of the room or 10 % of the inodes free, it removes images and then build cache until there are 25 % and
    15 %: before the kubelet would evict the pod (at 15 % and 5 %).

    It takes 0.06 % of a CPU and 1.3 MB of memory while there is room, 18 MB while it makes some (our measurement).

    It asks the engine by a second socket, so it is no client that a drain waits for. It is root, whose socket that is and who
    alone may look into the data-root, with no capability; of the data-root it can only read.

    :param deployment: the daemon's, which has the daemon's container
    :param image: the daemon's, so that none is pulled for it
    :param volume: with the data-root
    :param files: with the scripts
    :param keep: what stays
    """

    def __init__(
        self, scope: Construct, id: str, *, deployment: Deployment, image: str, volume: IStorage, files: DaemonFiles, keep: Keep
    ) -> None:
        super().__init__(scope, id)
        (daemon,) = deployment.containers
        # In memory: the engine must find room for it on a full disk.
        socket = Volume.from_empty_dir(
            self, "socket", "engine-socket", medium=EmptyDirMedium.MEMORY, size_limit=Size.mebibytes(1)
        )
        daemon.mount(_SOCKET_PATH, socket)
        self.container: Container = deployment.add_container(
            name="relief",
            image=image,
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            command=["sh", f"{DaemonFiles.SCRIPTS_PATH}/relieve.sh", *keep.arguments],
            resources=ContainerResources(
                cpu=CpuResources(request=Cpu.millis(10), limit=Cpu.units(1)),
                memory=MemoryResources(request=Size.mebibytes(16), limit=Size.mebibytes(256)),
            ),
            security_context=ContainerSecurityContextProps(ensure_non_root=False, user=0),
        )
        self.container.mount(DaemonFiles.SCRIPTS_PATH, files.scripts, read_only=True)
        self.container.mount("/var/lib/docker/", volume, read_only=True)
        self.container.mount(_SOCKET_PATH, socket, read_only=True)
        context = "/spec/template/spec/containers/1/securityContext"
        ApiObject.of(deployment).add_json_patch(
            JsonPatch.add(f"{context}/capabilities", {"drop": ["ALL"]}),
            JsonPatch.add(f"{context}/seccompProfile", {"type": "RuntimeDefault"}),
        )
