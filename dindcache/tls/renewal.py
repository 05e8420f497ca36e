"""The times of certificates that are renewed."""

from cdk8s import Duration


def check_renewal(lifetime: Duration, renew_before: Duration, rollout_seconds: int) -> None:
    """Check that the daemon serves a renewed certificate before the old one expires, and before the next one is issued.

    :raises ValueError: The renewal is too late, or too soon after the previous one
    """
    hours, renew_hours = (duration.to_hours(integral=False) for duration in (lifetime, renew_before))
    rollout_hours = rollout_seconds / 3600
    if not rollout_hours < renew_hours <= hours - rollout_hours:
        raise ValueError(
            f"renew_before must be longer than {rollout_hours:g} h, which the daemon can take to serve a renewed certificate "
            f"(reload_timeout and drain_timeout), and shorter than the lifetime of {hours:g} h by as much, "
            f"got {renew_hours:g} h"
        )
