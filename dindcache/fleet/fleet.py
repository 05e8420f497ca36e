"""A fleet: one daemon per volume, each with the layers of its own projects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cdk8s import ApiObject, Cron, Duration, JsonPatch
from cdk8s_plus_27 import Pods, Workload
from constructs import Construct
from typing_extensions import Unpack

from dindcache import _check
from dindcache._names import all_or_none, chart_of, reserve, short_name
from dindcache._typed import typed
from dindcache.daemon import DindDaemon
from dindcache.daemon.props import DaemonProps
from dindcache.daemon.timing import Timing
from dindcache.fleet.client import FleetClient
from dindcache.images import DEFAULT_IMAGE, client_image, pinned
from dindcache.pod import PodOptions
from dindcache.prune import PruneProps, PruneSchedule
from dindcache.tls.certificates import Certificates, DaemonIdentity, Tls
from dindcache.tls.self_issued import SelfIssued
from dindcache.volume import DataVolume

FLEET_LABEL = "dindcache/fleet"
"""Label of the daemons of a fleet, and of their pods."""
# The name of a prune's CronJob has at most 52 characters, so that an id such as "clear-cache" fits behind it.
_LONGEST_NAME = 40
# Each unit of a weight is a hash for each job.
_LARGEST_WEIGHT = 100
_LARGEST_LIMIT = 1000


class DindFleet(Construct):
    """Several daemons, one per volume, of which a project always uses the same one while that is up.

    All have the same props, and certificates from one CA: a client Secret of the fleet is one of each daemon. In the fleet
    ``docker-dind``, the daemon of the member ``node2`` is named ``docker-dind-node2``. A name with a dot or more than
    40 characters is cut, and ends with a checksum.

    :param volumes: Volume of each daemon by the name of the member, such as the hostname of its node. The name decides which
        projects the member gets. At least one
    :param name: Name of the fleet, with which the names of its daemons begin. Defaults to the id
    :param tls: Authentication of the daemons and their clients. Defaults to a CA of the fleet's own
    :param weights: Share of a member in the projects, from 1 to 100, by its name. Defaults to 1
    :param cordoned: Members that new jobs skip. Their daemons drain and stay down; their volumes stay. Defaults to none
    :param failover_after: Time that a job waits for its first member before it uses the next one, in whole seconds. It should
        be longer than a restart of a daemon. Defaults to a minute
    :param max_builds: Number of builds that jobs of the CI template run at once on one daemon. Further builds wait in the order
        of their arrival. Defaults to no limit
    :param second_choice: Whether a job whose first member runs ``max_builds`` builds uses the second one if that has fewer. A
        project then has layers on two members. Defaults to False
    :param overrides: Props of the daemon that differ, by the name of the member. Defaults to none
    :param daemon_props: Further props, as each `DindDaemon` has them, such as ``registry_mirrors``
    :raises ValueError: A value is invalid, every member is cordoned, two volumes are on one node, or another construct of the
        app creates an object of this name
    """

    @typed
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        volumes: Mapping[str, DataVolume],
        name: str | None = None,
        tls: Tls | None = None,
        weights: Mapping[str, int] | None = None,
        cordoned: Sequence[str] = (),
        failover_after: Duration | None = None,
        max_builds: int | None = None,
        second_choice: bool = False,
        overrides: Mapping[str, DaemonProps] | None = None,
        **daemon_props: Unpack[DaemonProps],
    ) -> None:
        chart, name = chart_of(scope), id if name is None else name
        tls = SelfIssued() if tls is None else tls
        weights, overrides = weights or {}, overrides or {}
        failover_after = Duration.minutes(1) if failover_after is None else failover_after

        _check_members(name, volumes, weights, cordoned, overrides)
        _check_limit(max_builds, second_choice=second_choice)
        _check.whole_seconds("failover_after", failover_after)
        props: dict[str, DaemonProps] = {member: {**daemon_props, **overrides.get(member, DaemonProps())} for member in volumes}
        timings = [
            Timing.of(drain_timeout=own.get("drain_timeout"), reload_timeout=own.get("reload_timeout"))
            for own in props.values()
        ]
        names = {member: short_name(f"{name}-{member}", _LONGEST_NAME) for member in volumes}
        image = daemon_props.get("image", DEFAULT_IMAGE)
        identity = DaemonIdentity(
            name=name,
            namespace=chart.namespace,
            labels={FLEET_LABEL: name},
            image=pinned(scope, image),
            hostnames={names[member]: volume.hostname for member, volume in volumes.items()},
            rollout_seconds=max(timing.rollout for timing in timings),
            pod=daemon_props.get("pod") or PodOptions(),
        )
        with all_or_none(scope, id):
            reserve(scope, id, *tls.objects(identity))
            super().__init__(scope, id)
            self.name, self.namespace = name, chart.namespace
            issued = _Issued(issued=tls.certificates(self, identity), client_namespaces=tuple(tls.client_namespaces))
            self._daemons = {
                member: DindDaemon(self, f"daemon-{member}", volume=volume, name=names[member], tls=issued, **props[member])
                for member, volume in volumes.items()
            }
        self.timing = max(timings, key=lambda timing: timing.unavailable)
        self.cordoned = tuple(cordoned)
        self.weights = {member: weights.get(member, 1) for member in volumes}
        self.max_builds, self.second_choice = max_builds, second_choice
        self.failover_after = failover_after
        self.client_image = pinned(scope, client_image(image))
        self._label_and_spread()
        for member in cordoned:
            # An ending daemon waits for the jobs that use it.
            ApiObject.of(self._daemons[member].deployment).add_json_patch(JsonPatch.replace("/spec/replicas", 0))

    @property
    def daemons(self) -> dict[str, DindDaemon]:
        """The daemons by the names of the members."""
        return dict(self._daemons)

    @typed
    def client(self, namespace: str | None = None) -> FleetClient:
        """Return everything that pods need to use this fleet.

        :param namespace: Namespace of the pods. Defaults to the fleet's own
        :raises ValueError: The namespace gets no client Secret, or is given although the fleet's chart has no namespace
        """
        clients = {member: self._daemons[member].client(namespace) for member in self._daemons if member not in self.cordoned}
        return FleetClient(
            clients=clients,
            weights=self.weights,
            failover_seconds=int(self.failover_after.to_seconds()),
            full_at=self.max_builds if self.second_choice else None,
        )

    @typed
    def connect(self, workload: Workload, *, key: str) -> None:
        """Make a workload a client of the daemon that a key prefers.

        The daemon is chosen at synthesis, so the workload waits while that daemon is down.

        :param workload: Deployment, Job, CronJob or other workload of cdk8s-plus, in any chart, with all its containers
        :param key: Key, such as the path of the project that the workload belongs to
        :raises ValueError: As `DindDaemon.connect`, or the key is empty
        """
        self._daemons[self.client().order(key)[0]].connect(workload)

    @typed
    def schedule_prune(self, id: str, *, schedule: Cron, **prune_props: Unpack[PruneProps]) -> dict[str, PruneSchedule]:
        """Create a `PruneSchedule` for each daemon that is not cordoned, with the runs spread over the rest of the hour.

        The minute of a member depends on its name only. A minute such as ``*/20`` is left as it is.

        :param id: Id of each schedule, with which the names of the CronJobs end
        :param schedule: Schedule of the earliest run, such as ``Cron.daily()``
        :param prune_props: Further props, as each `PruneSchedule` has them, such as ``unused_for``
        :raises ValueError: As for `PruneSchedule`
        """
        return {
            member: PruneSchedule(daemon, id, daemon=daemon, schedule=_later(schedule, daemon.name), **prune_props)
            for member, daemon in self._daemons.items()
            if member not in self.cordoned
        }

    def _label_and_spread(self) -> None:
        labels = {FLEET_LABEL: self.name}
        members = Pods.select(self, "members", labels=labels)
        for daemon in self._daemons.values():
            daemon.deployment.metadata.add_label(FLEET_LABEL, self.name)
            daemon.deployment.pod_metadata.add_label(FLEET_LABEL, self.name)
            if daemon.volume.hostname is None:
                # Two daemons on one node share its CPU and fail together. The volume can leave no other node, however.
                daemon.deployment.scheduling.separate(members, weight=100)


@dataclass(frozen=True, kw_only=True)
class _Issued:
    """The certificates that a fleet has created, as the `Tls` of each daemon."""

    issued: Certificates | None
    client_namespaces: Sequence[str]

    def objects(self, daemon: DaemonIdentity) -> Sequence[Any]:  # noqa: ARG002 - the fleet has reserved them
        return ()

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates | None:  # noqa: ARG002 - they exist
        return self.issued


def _check_members(
    name: str,
    volumes: Mapping[str, DataVolume],
    weights: Mapping[str, int],
    cordoned: Sequence[str],
    overrides: Mapping[str, DaemonProps],
) -> None:
    _check.service_name("name", name)
    longest = _LONGEST_NAME - len("-12345678") - len("-x")
    if len(name) > longest:
        raise ValueError(f"name must have at most {longest} characters, so that a member's fits behind it, got {name!r}")
    nodes: dict[str, str] = {}
    for member, volume in volumes.items():
        _check.dns_subdomain("key of volumes", member)
        if volume.hostname is not None and nodes.setdefault(volume.hostname, member) != member:
            raise ValueError(
                f"volumes must be on different nodes, got {volume.hostname!r} for {nodes[volume.hostname]!r} and {member!r}"
            )
    for prop, members in {"weights": weights, "cordoned": cordoned, "overrides": overrides}.items():
        for member in members:
            if member not in volumes:
                raise ValueError(f"{prop} must be of members, which are {list(volumes)}, got {member!r}")
    if not set(volumes) - set(cordoned):
        raise ValueError(f"volumes must have a member that is not cordoned, got {list(volumes)}")
    for member, weight in weights.items():
        if not 1 <= weight <= _LARGEST_WEIGHT:
            raise ValueError(f"weights of {member!r} must be from 1 to {_LARGEST_WEIGHT}, got {weight}")


def _check_limit(max_builds: int | None, *, second_choice: bool) -> None:
    if max_builds is not None and not 1 <= max_builds <= _LARGEST_LIMIT:
        raise ValueError(f"max_builds must be from 1 to {_LARGEST_LIMIT}, got {max_builds}")
    if second_choice and max_builds is None:
        raise ValueError(f"second_choice needs max_builds, which says when a member is full, got {max_builds}")


def _later(schedule: Cron, name: str) -> Cron:
    """Return a schedule with a minute in the rest of the hour that depends on a name."""
    minute, hour, day, month, week_day = schedule.expression_string.split()
    if not minute.isdigit() or int(minute) > 59:
        return schedule
    left = 60 - int(minute)
    later = int(minute) + int(sha256(name.encode()).hexdigest(), 16) % left
    return Cron(minute=str(later), hour=hour, day=day, month=month, week_day=week_day)
