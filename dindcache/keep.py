"""What stays on a daemon, whoever makes room."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cdk8s import Duration

from dindcache import _check


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What a `PruneSchedule` and a daemon short of room leave, beside what is in use or has the label ``dindcache.keep``.

    :param images: their names, or patterns of them as in ``docker images --filter reference=``: ``registry.example/base:*``;
        a ``*`` ends at a ``/``. By default none
    :param longest_job: how long a job may take from the first thing that it makes on the daemon to the last that it does with
        it, in whole seconds: nothing younger is removed. By default two hours, twice what GitLab gives a job
    :raises ValueError: a pattern is none that can be a name, or the job's time is no whole number of seconds or none at all
    """

    images: Sequence[str] = ()
    longest_job: Duration = field(default_factory=lambda: Duration.hours(2))

    def __post_init__(self) -> None:
        """Refuse what would keep nothing."""
        for pattern in _check.several("images to keep", self.images):
            _check.image_pattern("image to keep", pattern)
        _check.some_seconds("longest_job", self.longest_job)

    @property
    def arguments(self) -> list[str]:
        """What the scripts that remove take for it."""
        return [str(_check.whole_seconds("longest_job", self.longest_job)), *self.images]
