"""A daemon whose processes are killed at any moment of a build."""

import time

from tests.framework.client import Client

PROCESSES = ["dockerd", "containerd", "tini"]
"""Processes of the engine's container: the engine, its containerd, and process 1."""

KILLS_PER_POD = 3
"""Kills before the pod is replaced: the kubelet doubles its delay with each restart of a pod."""

DOCKERFILE = r"FROM busybox:latest\nCOPY source .\nRUN sleep 2; cat source >first\nRUN sleep 2; date >second\n"
BUILD = "docker build --progress=plain -t killed /tmp/killed"


def renew(client: Client, app: str) -> None:
    """Replace the pod of a client's daemon."""
    client.cluster.delete_pod(client.namespace, app, drain=False)
    client.cluster.rollout(client.namespace, app)
    client.wait_for_daemon()


def serves(client: Client) -> None:
    """Wait until a daemon builds: the engine answers some questions while its containerd is away."""
    build = "echo FROM busybox:latest | docker build -q -"
    client.cluster.wait(lambda: client.run(build).returncode == 0, "the daemon serves again")


def lost_layers(client: Client, app: str, process: str, moment: float) -> set[str]:
    """Kill a process during a build that begins now, and return the finished steps that are not cached afterwards.

    :param moment: Time of the kill, in seconds after the start of the build
    """
    client.sh(
        f"""mkdir -p /tmp/killed; printf '{DOCKERFILE}' >/tmp/killed/Dockerfile
        date >/tmp/killed/source; cat /proc/uptime >>/tmp/killed/source"""
    )
    build = client.start(BUILD)
    time.sleep(moment)
    client.cluster.signal(client.namespace, app, process, "KILL")
    finished = client.steps(build.communicate(timeout=600)[0], "DONE")
    serves(client)
    return finished - client.steps(client.sh(BUILD), "CACHED")
