"""The times of certificates that are renewed."""

from cdk8s import Duration


def check_renewal(lifetime: Duration, renew_before: Duration, rollout_seconds: int) -> None:
    """Check that a renewed certificate reaches the daemon before the old one expires.

    :raises ValueError: The lifetime is not longer than the renewal before its end, or that is too late for the daemon
    """
    hours, renew_hours = (duration.to_hours(integral=False) for duration in (lifetime, renew_before))
    if hours <= renew_hours:
        raise ValueError(f"renew_before must be shorter than the lifetime of {hours:g} h, got {renew_hours:g} h")
    if renew_hours * 3600 <= rollout_seconds:
        raise ValueError(
            f"renew_before must be longer than {rollout_seconds / 3600:g} h, which the daemon can take to serve a renewed "
            f"certificate (reload_timeout and drain_timeout), got {renew_hours:g} h"
        )
