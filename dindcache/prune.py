"""What clears the daemon of what jobs left behind."""

from enum import Enum

from cdk8s import ApiObject, ApiObjectMetadata, Chart, Cron, Duration, JsonPatch, Size
from cdk8s_plus_27 import (
    ConcurrencyPolicy,
    ContainerProps,
    ContainerResources,
    ContainerSecurityContextProps,
    Cpu,
    CpuResources,
    CronJob,
    ImagePullPolicy,
    MemoryResources,
    RestartPolicy,
)
from constructs import Construct

from dindcache import _check
from dindcache._names import is_taken, take
from dindcache.daemon import DindDaemon


class Prune(Enum):
    """What a `PruneSchedule` removes: the docker command's words."""

    IMAGES = ("image", "prune", "-af")
    """All images that no container uses. The build cache stays: the next build is cached."""

    EVERYTHING = ("system", "prune", "-af")
    """Stopped containers, unused networks, all images that no container uses, and the build cache: the next build is cold."""


class PruneSchedule(Construct):
    """A CronJob that prunes a daemon as one of its clients, never twice at once.

    Its name is the daemon's name and the id, such as ``docker-dind-clear-cache``. A run that could not start within six
    hours of its time is left out, one that takes over an hour is ended, one that fails is tried twice more. The last run
    that succeeded and the last three that failed are kept to be read.

    :param daemon: what to prune
    :param schedule: when, such as ``Cron.weekly()``
    :param time_zone: of the schedule, such as ``Europe/Berlin``; by default the one of the cluster's controller, mostly UTC
    :param prune: what to remove; by default images, not the build cache
    :param image: the docker client's; by default the release of the daemon's default
    :raises ValueError: the id or the name is invalid (a CronJob's name has at most 52 characters) or taken, the schedule has
        other than five fields or one out of its range, the time zone is unknown, or the daemon cannot be named from this chart
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        daemon: DindDaemon,
        schedule: Cron,
        time_zone: str | None = None,
        prune: Prune = Prune.IMAGES,
        image: str = "docker:29.9.3-cli",
    ) -> None:
        _check.dns_label("prune schedule's id", id)
        # The controller appends 11 characters to a CronJob's name for each Job, whose name is a label.
        name = _check.dns_subdomain("prune schedule's name", f"{daemon.name}-{id}", longest=52)
        if is_taken(Chart.of(scope), f"cron job {name}"):
            raise ValueError(f"prune schedule's name must be unique in a chart, got {name!r} twice")
        _check.schedule(schedule)
        if time_zone is not None:
            _check.time_zone(time_zone)
        daemon.client_secret_from(Chart.of(scope).namespace)  # refused before there is a half of it
        daemon.host_from(Chart.of(scope).namespace)

        super().__init__(scope, id)
        take(Chart.of(self), f"cron job {name}")
        self.cron_job = CronJob(
            self,
            "cron-job",
            metadata=ApiObjectMetadata(name=name, labels={"app": daemon.name}),
            schedule=schedule,
            time_zone=time_zone,
            concurrency_policy=ConcurrencyPolicy.FORBID,
            starting_deadline=Duration.hours(6),
            active_deadline=Duration.hours(1),
            backoff_limit=2,
            successful_jobs_retained=1,
            failed_jobs_retained=3,
            restart_policy=RestartPolicy.ON_FAILURE,
            containers=[
                ContainerProps(
                    name=id,
                    image=image,
                    image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
                    command=["docker", *prune.value],
                    # For namespaces with a quota; the cluster tests run within it.
                    resources=ContainerResources(
                        cpu=CpuResources(request=Cpu.millis(10), limit=Cpu.units(1)),
                        memory=MemoryResources(request=Size.mebibytes(64), limit=Size.mebibytes(256)),
                    ),
                    # The image's own user is root, which a pod that is no root must not be.
                    security_context=ContainerSecurityContextProps(user=10000, group=10000),
                )
            ],
        )
        pod = "/spec/jobTemplate/spec/template/spec"
        ApiObject.of(self.cron_job).add_json_patch(
            # On the Job, never on its pod: the daemon's Service selects pods by this label.
            JsonPatch.add("/spec/jobTemplate/metadata", {"labels": {"app": daemon.name}}),
            # What the Pod Security level "restricted" asks for besides.
            JsonPatch.add(f"{pod}/securityContext/seccompProfile", {"type": "RuntimeDefault"}),
            JsonPatch.add(f"{pod}/containers/0/securityContext/capabilities", {"drop": ["ALL"]}),
        )
        daemon.connect(self.cron_job)
