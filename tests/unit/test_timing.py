"""The times that follow from the two timeouts of a daemon."""

import pytest
from cdk8s import Duration, Size

from dindcache import ClaimedVolume, DindDaemon


@pytest.mark.parametrize(("drain", "times"), [(30, (1860, 2400, 4260)), (0, (60, 600, 660))])
def test_the_pod_has_time_to_drain_and_to_start(chart, find, drain, times):
    grace, startup, progress = times
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    DindDaemon(chart, "docker-dind", volume=volume, drain_timeout=Duration.minutes(drain))
    spec = find("Deployment")["spec"]
    pod = spec["template"]["spec"]
    container, _ = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] == grace
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] == startup
    assert spec["progressDeadlineSeconds"] == progress
    assert container["livenessProbe"]["terminationGracePeriodSeconds"] == 15
    assert "fsGroup" not in pod["securityContext"]


def test_new_clients_are_rejected_halfway_through_a_drain(chart, find):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    daemon = DindDaemon(
        chart, "docker-dind", volume=volume, drain_timeout=Duration.seconds(61), reload_timeout=Duration.seconds(1000)
    )
    container, _ = find("Deployment")["spec"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment == {
        "PORT": "2376",
        "DRAIN_SECONDS": "61",
        "DRAIN_REJECT_AFTER_SECONDS": "30",
        "DRAIN_QUIET_SECONDS": "10",
        "RELOAD_DRAIN_SECONDS": "1061",
        "RELOAD_REJECT_AFTER_SECONDS": "1030",
        "LIVENESS_PERIOD_SECONDS": "10",
        "LIVENESS_FAILURES": "6",
    }
    # The rest of the drain, and a minute in which the engine ends.
    assert daemon.timing.unavailable == 31 + 60
    # Ten minutes until the kubelet has written a renewed Secret.
    assert daemon.timing.rollout == 1061 + 600
