import pytest
from cdk8s import Duration, Size

from dindcache import ClaimedVolume, DindDaemon, Retention


@pytest.fixture
def pod(chart, find):
    def pod(**arguments):
        DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(50)), **arguments)
        return find("Deployment")["spec"]["template"]

    return pod


def test_the_disk_guard_has_the_socket_of_the_engine_and_no_other_rights(pod):
    template = pod()
    engine, guard = template["spec"]["containers"]
    assert guard["command"] == ["sh", "/etc/dindcache/guard-disk.sh"]
    assert guard["image"] == engine["image"]
    assert guard["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": False,
        "runAsUser": 0,
        "seLinuxOptions": {"type": "spc_t"},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert {mount["mountPath"] for mount in guard["volumeMounts"]} == {"/etc/dindcache", "/var/lib/docker/", "/run/dindcache"}
    assert all(mount["readOnly"] for mount in guard["volumeMounts"])
    assert not guard.keys() & {"ports", "lifecycle", "startupProbe", "livenessProbe", "readinessProbe"}
    # By default, the pod's log is that of the engine.
    assert template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == engine["name"]


# The ages in seconds, and the precision and the delay of the record of use.
@pytest.mark.parametrize(
    ("job", "ages", "precision", "delay"),
    [
        (Duration.hours(2), "604800 86400 7200", "600", "60"),
        (Duration.days(2), "604800 172800 172800", "600", "60"),
        (Duration.days(30), "2592000 2592000 2592000", "600", "60"),
        # The record is more precise than the shortest age.
        (Duration.minutes(10), "604800 86400 600", "50", "5"),
        (Duration.seconds(1), "604800 86400 1", "0", "0"),
    ],
)
def test_nothing_goes_that_a_job_can_need(pod, job, ages, precision, delay):
    _, guard = pod(retention=Retention(images=["base:*"], volumes=["maven"], max_job_duration=job))["spec"]["containers"]
    assert {variable["name"]: variable["value"] for variable in guard["env"]} == {
        "AGES_SECONDS": ages,
        "ENOUGH_PERCENT": "25 15",
        "KEEP_IMAGES": "base:*",
        "KEEP_VOLUMES": "maven",
        "LOW_PERCENT": "20 10",
        "MAX_JOB_SECONDS": str(int(job.to_seconds())),
        "RECORD_DELAY_SECONDS": delay,
        "URGENT_ENOUGH_PERCENT": "20 10",
        "URGENT_PERCENT": "17 8",
        "USE_PRECISION_SECONDS": precision,
    }


def test_a_daemon_without_disk_guard_has_no_second_socket(pod):
    spec = pod(disk_guard=False)["spec"]
    (engine,) = spec["containers"]
    assert "/run/dindcache" not in {mount["mountPath"] for mount in engine["volumeMounts"]}
    assert "engine-socket" not in {volume["name"] for volume in spec["volumes"]}
