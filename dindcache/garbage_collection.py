"""How much of its disk the engine's builder takes, and what it drops first."""

from dataclasses import dataclass, field
from typing import Any

from cdk8s import Duration, Size, SizeRoundingBehavior

from dindcache import _check

# Percent of the volume; the rest is for images, containers and volumes (docs/engine.md).
_RESERVED, _MAX_USED, _MIN_FREE = 20, 50, 20
# Engines before it know keepStorage alone. What an engine does not know it ignores, and a rule without a size drops everything.
_THREE_SIZES_SINCE = 28
# Where Go's time.Duration ends, in seconds.
_LONGEST = (1 << 63) // 10**9


@dataclass(frozen=True, kw_only=True)
class Unused:
    """What goes before the rest, because it is made anew easily: of one kind, and no build has used it for a while.

    :param longer_than: since a build used it last, in whole seconds
    :param above: it goes while the whole build cache is larger than this, the engine knows no size of one kind; by default what
        is reserved
    :raises ValueError: the time is no Duration, zero or too long for the engine, or the size is zero or not whole KiB
    """

    longer_than: Duration
    above: Size | None = None

    def __post_init__(self) -> None:
        """Refuse what the engine would not start with."""
        seconds = _check.whole_seconds("longer_than", self.longer_than)
        if not 0 < seconds <= _LONGEST:
            raise ValueError(f"longer_than must be from 1 to {_LONGEST} s, got {seconds} s")
        if self.above is not None:
            _check.whole_kibibytes("above", self.above)


@dataclass(frozen=True, kw_only=True)
class GarbageCollection:
    """The room of the build cache on the daemon's volume. The engine looks at it after builds, at most once a minute.

    It drops what builds used longest ago and least often, and never what one uses at the moment. What an image shares with the
    cache counts as the image's.

    :param reserved_space: what stays even when the disk is nearly full; by default a fifth of the volume. Engine 28 and later
    :param max_used_space: what it may take; by default half of the volume
    :param min_free_space: of the file system, which the engine measures: below that it drops, down to what is reserved; by
        default a fifth of the volume. Engine 28 and later
    :param sources: the contexts and Git checkouts of builds; by default those that were unused for 3 days
    :param cache_mounts: of ``RUN --mount=type=cache``; by default those that were unused for 14 days
    :raises ValueError: a size is zero or not whole KiB
    """

    reserved_space: Size | None = None
    max_used_space: Size | None = None
    min_free_space: Size | None = None
    sources: Unused = field(default_factory=lambda: Unused(longer_than=Duration.days(3)))
    cache_mounts: Unused = field(default_factory=lambda: Unused(longer_than=Duration.days(14)))

    def __post_init__(self) -> None:
        """Refuse sizes that the engine would take for no limit."""
        for what in ("reserved_space", "max_used_space", "min_free_space"):
            size = getattr(self, what)
            if size is not None:
                _check.whole_kibibytes(what, size)

    def settings(self, *, storage: Size, release: int) -> dict[str, Any]:
        """The ``builder`` of ``daemon.json``.

        :param storage: of the volume
        :param release: the engine's, such as 29, for the keys that it knows
        :raises ValueError: the sizes do not fit the volume or each other, or the release does not know one
        """
        volume = int(storage.to_kibibytes(rounding=SizeRoundingBehavior.FLOOR))
        has_three_sizes = release >= _THREE_SIZES_SINCE
        for what in ("reserved_space", "min_free_space"):
            size = getattr(self, what)
            if size is not None and not has_three_sizes:
                got = f"{size.as_string()!r} for Engine {release}"
                raise ValueError(f"{what} must be left out before Engine {_THREE_SIZES_SINCE}, got {got}")

        def share(percent: int) -> int:
            return max(1, volume * percent // 100 // 1024) * 1024  # whole MiB, for who reads the file

        free = 0
        if has_three_sizes:
            free = _kibibytes(self.min_free_space) or share(_MIN_FREE)
        used = _kibibytes(self.max_used_space) or max(0, min(share(_MAX_USED), volume - free))
        reserved = _kibibytes(self.reserved_space) or min(share(_RESERVED), used)
        if not 0 < used <= volume - free:
            got = f"{_text(used)} and {_text(free)}"
            raise ValueError(f"max_used_space and min_free_space must fit the volume of {_text(volume)}, got {got}")
        if reserved > used:
            raise ValueError(f"reserved_space must be at most max_used_space, got {_text(reserved)} and {_text(used)}")
        most = "maxUsedSpace" if has_three_sizes else "keepStorage"
        policy: list[dict[str, Any]] = []
        for what, unused, kinds in (
            ("sources", self.sources, ("source.local", "source.git.checkout")),
            ("cache_mounts", self.cache_mounts, ("exec.cachemount",)),
        ):
            above = _kibibytes(unused.above) or reserved
            if above > used:
                raise ValueError(f"above of {what} must be at most max_used_space, got {_text(above)} and {_text(used)}")
            until = f"until={_go_duration(unused.longer_than)}"
            # A rule for each kind: the engine takes one value of a key.
            policy += [{"filter": [f"type={kind}", until], most: _text(above)} for kind in kinds]
        rest = {most: _text(used)}
        # The free space in one rule alone: with the containerd image store the disk has the room back only after the last rule,
        # and a second one dropped as much once more (measured).
        floor = {"reservedSpace": _text(reserved), "minFreeSpace": _text(free)} if has_three_sizes else {}
        policy += [{**rest, **floor}, {**rest, "all": True}]
        # Said out loud: before Engine 28.2 it is off by itself.
        return {"gc": {"enabled": True, "policy": policy}}


def _kibibytes(size: Size | None) -> int:
    return 0 if size is None else int(size.to_kibibytes())


def _text(kibibytes: int) -> str:
    """A size as each engine reads it: its ``GB`` and ``GiB`` are the same, so the one that is right."""
    for unit, size in (("GiB", 1 << 20), ("MiB", 1 << 10)):
        if kibibytes % size == 0:
            return f"{kibibytes // size}{unit}"
    return f"{kibibytes}KiB"


def _go_duration(duration: Duration) -> str:
    """As Go parses it, which knows no days."""
    seconds = int(duration.to_seconds())
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
