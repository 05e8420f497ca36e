"""``start.sh``: the flags of the engine that depend on its node."""

from typing import Any

from tests.scripts.conftest import end

ENVIRONMENT = {"PORT": "2375"}


def start_engine(start, *flags: str, **options: Any) -> list[str]:
    status, lines = end(start("start.sh", *flags, environment=ENVIRONMENT, **options))
    assert status == 0, lines
    return lines


def test_the_entrypoint_adds_no_listeners(start):
    """With ``dockerd`` as the first word, it adds no flags and checks no certificates of its own."""
    lines = start_engine(start, "--tls=false")
    assert "dockerd" in lines
    assert lines.index("dockerd") < lines.index("--tls=false")


def test_the_engine_gets_the_mtu_of_the_pod(start):
    setup = "ip link add eth7 type veth peer eth8 && ip link set eth7 mtu 1390 up && ip addr add 10.1.1.1/24 dev eth7"
    lines = start_engine(start, "--debug", "--tls=false", setup=f"{setup} && ip route add default via 10.1.1.2")
    mtu = ["--mtu=1390", "--default-network-opt=bridge=com.docker.network.driver.mtu=1390"]
    assert lines[-4:] == [*mtu, "--debug", "--tls=false"]


def test_what_a_node_does_not_have_is_logged_and_left_out(start):
    lines = start_engine(start, "--tls=false")
    assert lines[0] == "dindcache: left out: the MTU of the pod network (no interface eth0)"
    assert not [line for line in lines if line.startswith("--mtu")]
    assert lines[-1] == "--tls=false"


def test_the_disk_guard_gets_a_socket_in_the_shared_directory(start):
    lines = start_engine(start, "--tls=false", setup="mkdir /run/dindcache")
    assert lines[-2:] == ["--host=unix:///run/dindcache/docker.sock", "--tls=false"]
    assert not [line for line in start_engine(start, "--tls=false") if line.startswith("--host")]


def test_images_of_the_other_store_are_reported(start):
    snapshots = "$DATA_ROOT/containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots"
    lines = start_engine(start, setup=f"mkdir -p {snapshots}/1")
    note = "dindcache: the containerd image store has images on this volume: they stay, but are not listed"
    assert note in lines
    # Both stores create the directories.
    assert note not in start_engine(start, setup=f"rmdir {snapshots}/1")


def test_a_restarted_engine_accepts_clients_again(start):
    """A drain that ended in a restart of the container left its rule in the pod's network."""
    rules = """[ "$2" = -D ] || exit
    rules=$(cat /run/rules-$0 2>/dev/null || echo 2); [ "$rules" -gt 0 ] || exit 1
    echo "removed $(basename $0)"; mkdir -p /run/rules-$(dirname $0); echo $((rules - 1)) >/run/rules-$0"""
    lines = start_engine(start, programs={"iptables": rules, "ip6tables": rules})
    assert lines.count("removed iptables") == lines.count("removed ip6tables") == 2
