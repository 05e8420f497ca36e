"""The times of a daemon, all of which follow from its two timeouts."""

from dataclasses import dataclass

from cdk8s import Duration

from dindcache import _check

# After a drain: the engine gives its containers 15 s, then exits.
_SHUTDOWN_SECONDS = 60
# The time in which an engine recovers a large data root after a crash.
_RECOVERY_SECONDS = 600
# The time until the kubelet has written a changed Secret into a pod: its sync period and that of its cache, a minute each, with
# a wide margin.
_SYNC_SECONDS = 600
# A job reconnects between its build and its push.
_QUIET_SECONDS = 10
# Kubernetes reads a deadline as a 32-bit integer.
_LONGEST_DEADLINE = (1 << 31) - 1


LIVENESS_PERIOD_SECONDS = 10
"""Time between two liveness probes of the engine."""

LIVENESS_FAILURES = 6
"""Number of consecutive failed probes after which the kubelet and a drain consider the engine hung."""


@dataclass(frozen=True)
class Timing:
    """The times of a daemon, in seconds.

    :param drain: Longest time that a pod waits for its clients before it ends
    :param reload: Longest time that a daemon with a renewed certificate waits for a moment without clients
    """

    drain: int
    reload: int

    @staticmethod
    def of(*, drain_timeout: Duration | None, reload_timeout: Duration | None) -> "Timing":
        """Return the times that follow from two timeouts, which default to 30 minutes and to a day.

        :raises ValueError: A timeout is not a whole number of seconds, or too long for Kubernetes
        """
        drain_timeout = Duration.minutes(30) if drain_timeout is None else drain_timeout
        reload_timeout = Duration.days(1) if reload_timeout is None else reload_timeout
        drain = _check.whole_seconds("drain_timeout", drain_timeout, least=0)
        reload = _check.whole_seconds("reload_timeout", reload_timeout, least=0)
        timing = Timing(drain=drain, reload=reload)
        if timing.progress_deadline > _LONGEST_DEADLINE:
            longest = (_LONGEST_DEADLINE - _SHUTDOWN_SECONDS - _RECOVERY_SECONDS) // 2
            raise ValueError(f"drain_timeout must be at most {longest} s, got {drain} s")
        return timing

    @property
    def reject_after(self) -> int:
        """Time after which a drain rejects new clients, so that a busy daemon ends."""
        return self.drain // 2

    @property
    def unavailable(self) -> int:
        """Longest time that a terminating daemon accepts no new clients."""
        return self.drain - self.reject_after + _SHUTDOWN_SECONDS

    @property
    def grace_period(self) -> int:
        """Time between a pod's deletion and its forced termination."""
        return self.drain + _SHUTDOWN_SECONDS

    @property
    def startup(self) -> int:
        """Longest time until a started engine answers, since its predecessor can still be draining."""
        return self.drain + _RECOVERY_SECONDS

    @property
    def progress_deadline(self) -> int:
        """Longest time of a rollout."""
        return self.grace_period + self.startup

    @property
    def reload_drain(self) -> int:
        """Longest time of a drain for a renewed certificate."""
        return self.reload + self.drain

    @property
    def reload_reject_after(self) -> int:
        """Time after which a drain for a renewed certificate rejects new clients."""
        return self.reload + self.reject_after

    @property
    def rollout(self) -> int:
        """Longest time until the daemon serves a renewed certificate."""
        return self.reload_drain + _SYNC_SECONDS

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the scripts that drain."""
        return {
            "DRAIN_SECONDS": str(self.drain),
            "DRAIN_REJECT_AFTER_SECONDS": str(self.reject_after),
            "DRAIN_QUIET_SECONDS": str(_QUIET_SECONDS),
            "RELOAD_DRAIN_SECONDS": str(self.reload_drain),
            "RELOAD_REJECT_AFTER_SECONDS": str(self.reload_reject_after),
            "LIVENESS_PERIOD_SECONDS": str(LIVENESS_PERIOD_SECONDS),
            "LIVENESS_FAILURES": str(LIVENESS_FAILURES),
        }
