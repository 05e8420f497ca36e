"""The objects that stay on a daemon when space is reclaimed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cdk8s import Duration

from dindcache import _check
from dindcache._typed import check_fields


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The objects that a `PruneSchedule` and the disk guard keep, besides those in use or with the label ``dindcache.keep``.

    :param images: Names of images, or patterns as in ``docker images --filter reference=``, such as
        ``registry.example/base/*:1``; ``*`` does not match ``/``. Defaults to none
    :param volumes: Names of volumes, or patterns such as ``maven-*``. Defaults to none
    :param max_job_duration: Longest time that a job needs an object that it created on the daemon, in whole seconds. Nothing
        younger is removed, and a container that runs longer is a leftover. Defaults to two hours, twice GitLab's job timeout
    :raises ValueError: A pattern can match nothing, or the duration is not a whole number of seconds or zero
    """

    images: Sequence[str] = ()
    volumes: Sequence[str] = ()
    max_job_duration: Duration = field(default_factory=lambda: Duration.hours(2))

    def __post_init__(self) -> None:
        """Validate the patterns and the duration."""
        check_fields(self)
        for pattern in self.images:
            _check.image_pattern("images", pattern)
        for pattern in self.volumes:
            _check.volume_pattern("volumes", pattern)
        _check.whole_seconds("max_job_duration", self.max_job_duration)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the scripts that remove objects."""
        return {
            "KEEP_IMAGES": " ".join(self.images),
            "KEEP_VOLUMES": " ".join(self.volumes),
            "MAX_JOB_SECONDS": str(int(self.max_job_duration.to_seconds())),
        }
