"""The budget of the build cache, which the engine enforces itself."""

from dataclasses import dataclass, field
from typing import Any

from cdk8s import Duration, Size, SizeRoundingBehavior

from dindcache import _check
from dindcache._typed import check_fields

# Percent of the volume. The rest is for images, containers and volumes (docs/explanation/build-cache.md).
_RESERVED, _MAX_USED, _MIN_FREE = 20, 50, 20
# Earlier engines know only keepStorage. An engine ignores keys that it does not know, and a rule without a size removes
# everything.
_THREE_SIZES_SINCE = 28
# The longest time.Duration of Go, in seconds.
_LONGEST = (1 << 63) // 10**9
# Build records, of 0.1 to 0.3 MB each, count toward no budget. The engine removes a record that is older than maxAge and not
# among the maxEntries newest. Nothing limits the number of younger ones, so maxAge is short. A busy daemon takes a day or more
# for maxEntries builds, which is long enough for tools that read the records.
_HISTORY = {"maxAge": "1h", "maxEntries": 1000}


@dataclass(frozen=True, kw_only=True)
class CacheRule:
    """A rule for cache records that are cheap to recreate: they are removed first, once no build has used them for a while.

    :param unused_for: Time since a build last used a record, in whole seconds
    :param when_larger_than: Size of the whole build cache above which the rule applies, in whole KiB. The engine cannot limit a
        single kind of record. Defaults to ``reserved_space`` of the `BuildCache`
    :raises ValueError: The time is zero, not a whole number of seconds or too long for the engine, or the size is not a whole
        number of KiB
    """

    unused_for: Duration
    when_larger_than: Size | None = None

    def __post_init__(self) -> None:
        """Validate the rule."""
        check_fields(self)
        seconds = self.unused_for.to_seconds(integral=False)
        if seconds != int(seconds) or not 0 < seconds <= _LONGEST:
            raise ValueError(f"unused_for must be a whole number of seconds, from 1 to {_LONGEST}, got {seconds:g} s")
        if self.when_larger_than is not None:
            _check.whole_kibibytes("when_larger_than", self.when_larger_than)


@dataclass(frozen=True, kw_only=True)
class BuildCache:
    """The budget of the build cache on the daemon's volume, which the engine checks after builds, at most once a minute.

    The engine removes the records that builds used least recently and least often, but none in use. A layer that an image
    shares counts as the image's.

    :param reserved_space: Space that the build cache keeps even when the disk is nearly full, in whole KiB. Defaults to a fifth
        of the volume. Requires Engine 28 or later
    :param max_used_space: Largest size of the build cache, in whole KiB. Defaults to half of the volume
    :param min_free_space: Free space of the file system below which the engine removes records, down to ``reserved_space``, in
        whole KiB. Defaults to a fifth of the volume. Requires Engine 28 or later
    :param sources: Rule for build contexts and Git checkouts. Defaults to removal after 3 days without use
    :param cache_mounts: Rule for ``RUN --mount=type=cache``. Defaults to removal after 14 days without use
    :raises ValueError: A size is not a whole number of KiB
    """

    reserved_space: Size | None = None
    max_used_space: Size | None = None
    min_free_space: Size | None = None
    sources: CacheRule = field(default_factory=lambda: CacheRule(unused_for=Duration.days(3)))
    cache_mounts: CacheRule = field(default_factory=lambda: CacheRule(unused_for=Duration.days(14)))

    def __post_init__(self) -> None:
        """Validate the sizes."""
        check_fields(self)
        for what in ("reserved_space", "max_used_space", "min_free_space"):
            size = getattr(self, what)
            if size is not None:
                _check.whole_kibibytes(what, size)

    def settings(self, *, storage: Size, release: int) -> dict[str, Any]:
        """Return the key ``builder`` of ``daemon.json``.

        :param storage: Size of the volume
        :param release: Release of the engine, such as 29, which decides the keys
        :raises ValueError: The sizes do not fit the volume or each other, or the release does not support one of them
        """
        budget = _Budget(self, storage=storage, release=release)
        policy: list[dict[str, Any]] = []
        for what, rule, kinds in (
            ("sources", self.sources, ("source.local", "source.git.checkout")),
            ("cache_mounts", self.cache_mounts, ("exec.cachemount",)),
        ):
            size = budget.threshold(what, rule)
            until = f"until={_go_duration(rule.unused_for)}"
            # A rule for each kind: the engine accepts only one value for a filter.
            policy += [{"filter": [f"type={kind}", until], budget.key: size} for kind in kinds]
        rest = {budget.key: _text(budget.used)}
        # Only one rule has the free space: with the containerd image store, the disk gets the space back after the last rule,
        # and a second rule removed as much again (measured).
        policy += [{**rest, **budget.floor}, {**rest, "all": True}]
        # Explicit: before Engine 28.2 it is off by default.
        return {"gc": {"enabled": True, "policy": policy}, "history": _HISTORY}


class _Budget:
    """The sizes of a build cache on a volume, in KiB."""

    def __init__(self, cache: BuildCache, *, storage: Size, release: int) -> None:
        volume = int(storage.to_kibibytes(rounding=SizeRoundingBehavior.FLOOR))
        has_three_sizes = release >= _THREE_SIZES_SINCE
        for what in ("reserved_space", "min_free_space"):
            size = getattr(cache, what)
            if size is not None and not has_three_sizes:
                got = f"{size.as_string()!r} for Engine {release}"
                raise ValueError(f"{what} must be left out before Engine {_THREE_SIZES_SINCE}, got {got}")

        def share(percent: int) -> int:
            return max(1, volume * percent // 100 // 1024) * 1024  # whole MiB, for readers of the file

        free = (_kibibytes(cache.min_free_space) or share(_MIN_FREE)) if has_three_sizes else 0
        if free >= volume:
            raise ValueError(f"min_free_space must be less than the volume of {_text(volume)}, got {_text(free)}")
        self.used = _kibibytes(cache.max_used_space) or min(share(_MAX_USED), volume - free)
        if self.used > volume - free:
            origin = "" if cache.min_free_space else " (the default)"
            beside = f" with min_free_space of {_text(free)}{origin}" if free else ""
            most = f"{_text(volume - free)} on a volume of {_text(volume)}{beside}"
            raise ValueError(f"max_used_space must be at most {most}, got {_text(self.used)}")
        self.reserved = _kibibytes(cache.reserved_space) or min(share(_RESERVED), self.used)
        if self.reserved > self.used:
            origin = "" if cache.max_used_space else " (the default)"
            most = f"max_used_space, {_text(self.used)}{origin}"
            raise ValueError(f"reserved_space must be at most {most}, got {_text(self.reserved)}")
        self.key = "maxUsedSpace" if has_three_sizes else "keepStorage"
        self.floor = {"reservedSpace": _text(self.reserved), "minFreeSpace": _text(free)} if has_three_sizes else {}

    def threshold(self, what: str, rule: CacheRule) -> str:
        """Return the size above which a rule applies."""
        size = _kibibytes(rule.when_larger_than) or self.reserved
        if size > self.used:
            most = f"max_used_space, {_text(self.used)}"
            raise ValueError(f"when_larger_than of {what} must be at most {most}, got {_text(size)}")
        return _text(size)


def _kibibytes(size: Size | None) -> int:
    return 0 if size is None else int(size.to_kibibytes())


def _text(kibibytes: int) -> str:
    """Return a size in a unit that everyone reads alike: an engine reads ``GB`` as GiB."""
    for unit, size in (("GiB", 1 << 20), ("MiB", 1 << 10)):
        if kibibytes % size == 0:
            return f"{kibibytes // size}{unit}"
    return f"{kibibytes}KiB"


def _go_duration(duration: Duration) -> str:
    """Return a duration in the format of Go, which has no unit for days."""
    seconds = int(duration.to_seconds())
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
