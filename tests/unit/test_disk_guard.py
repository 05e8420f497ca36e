import pytest
from cdk8s import Duration, Size

from dindcache import ClaimedVolume, DindDaemon, Retention


@pytest.fixture
def pod(chart, find):
    def pod(**arguments):
        DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(50)), **arguments)
        return find("Deployment")["spec"]["template"]

    return pod


def test_the_relief_may_do_nothing_but_ask_the_engine(pod):
    template = pod(retention=Retention(images=["base:*"], max_job_duration=Duration.hours(3)))
    engine, relief = template["spec"]["containers"]
    assert relief["command"] == ["sh", "/etc/dindcache/relieve.sh", "10800", "base:*"]
    assert relief["image"] == engine["image"]
    assert relief["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": False,
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert {mount["mountPath"] for mount in relief["volumeMounts"]} == {"/etc/dindcache", "/var/lib/docker/", "/run/dindcache"}
    assert all(mount["readOnly"] for mount in relief["volumeMounts"])
    assert not relief.keys() & {"env", "ports", "lifecycle", "startupProbe", "livenessProbe", "readinessProbe"}
    # The pod's log is the engine's.
    assert template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == engine["name"]


def test_a_daemon_without_relief_has_no_second_socket(pod):
    spec = pod(disk_guard=False)["spec"]
    (engine,) = spec["containers"]
    assert "/run/dindcache" not in {mount["mountPath"] for mount in engine["volumeMounts"]}
    assert "engine-socket" not in {volume["name"] for volume in spec["volumes"]}
