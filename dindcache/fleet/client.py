"""The daemons of a fleet as a pod in one namespace uses them, and their order for a key."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from dindcache._typed import check_fields, typed
from dindcache.daemon import Client


@dataclass(frozen=True, kw_only=True)
class FleetClient:
    """Everything that pods in one namespace need to use a fleet.

    A key has the same order of members everywhere, by rendezvous hashing: ``fleet/choose.sh`` is the same in POSIX sh. A member
    that is added or removed changes the order of no others.

    :param clients: Client of each member's daemon by the member's name, without cordoned ones. At least one
    :param weights: Share of each member, a whole number
    :param failover_seconds: Time that a job waits for its first member before it uses the next one, in seconds
    :param full_at: Number of builds with which the first member of a job is full, so that the second one can be preferred.
        Defaults to none
    """

    clients: Mapping[str, Client]
    weights: Mapping[str, int]
    failover_seconds: int
    full_at: int | None = None

    def __post_init__(self) -> None:
        """Validate the values."""
        check_fields(self)

    @typed
    def order(self, key: str) -> list[str]:
        """Return the members in the order in which a key prefers them.

        :param key: Key, such as the path of a project
        :raises ValueError: The key is empty
        """
        if not key:
            raise ValueError(f"key must not be empty, got {key!r}")
        return sorted(self.clients, key=lambda member: min(_scores(member, self.weights[member], key)))

    @typed
    def choose(self, key: str) -> Client:
        """Return the client of the member that a key prefers.

        :param key: Key, such as the path of a project
        :raises ValueError: The key is empty
        """
        return self.clients[self.order(key)[0]]


def _scores(member: str, weight: int, key: str) -> list[str]:
    # A member with weight 2 takes part twice. The key comes last, since it can contain anything. A line break ends it, as it
    # ends a here-document.
    return [
        sha256(f"{member}#{number}\n{key}\n".encode(errors="surrogateescape")).hexdigest() for number in range(1, weight + 1)
    ]
