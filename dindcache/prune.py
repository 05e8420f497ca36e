"""What clears the daemon of what jobs left behind."""

from enum import Enum
from pathlib import Path

from cdk8s import ApiObject, ApiObjectMetadata, Chart, Cron, Duration, JsonPatch, Size
from cdk8s_plus_27 import (
    ConcurrencyPolicy,
    ConfigMap,
    ContainerProps,
    ContainerResources,
    ContainerSecurityContextProps,
    Cpu,
    CpuResources,
    CronJob,
    ImagePullPolicy,
    MemoryResources,
    RestartPolicy,
    Volume,
    VolumeMount,
    k8s,
)
from constructs import Construct

from dindcache import _check
from dindcache._names import is_taken, take
from dindcache.daemon import DindDaemon
from dindcache.files import DaemonFiles

_SCRIPTS = [Path(__file__).parent / "scripts" / name for name in ("prune.sh", "unused.sh")]


class Prune(Enum):
    """What a `PruneSchedule` removes."""

    UNUSED = "unused"
    """By its age and never by force: containers that do not run, networks and volumes without a name that no container has, and
    images that no job has tagged for a while. The build cache stays: the next build is cached."""

    EVERYTHING = "everything"
    """``docker system prune -af``: stopped containers, unused networks, all images that no container uses, and the build cache,
    whatever is to be kept and while jobs run. The next build is cold."""


class PruneSchedule(Construct):
    """A CronJob that prunes a daemon as one of its clients, never twice at once.

    Its name is the daemon's name and the id, such as ``docker-dind-clear-cache``. A run that could not start within six
    hours of its time is left out, one that takes over an hour is ended, one that fails is tried twice more. The last run
    that succeeded and the last three that failed are kept to be read: a line for each thing that was removed, and one for what
    is left. What the daemon is to keep (`Keep`) stays.

    :param daemon: what to prune
    :param schedule: when, such as ``Cron.weekly()``
    :param time_zone: of the schedule, such as ``Europe/Berlin``; by default the one of the cluster's controller, mostly UTC
    :param prune: what to remove; by default what jobs left behind, not the build cache
    :param unused_for: how long no job has tagged an image that is removed, in whole seconds; by default seven days
    :param image: the docker client's; by default the release of the daemon's default
    :raises ValueError: the id or the name is invalid (a CronJob's name has at most 52 characters) or taken, the schedule has
        other than five fields or one out of its range, the time zone is unknown, ``unused_for`` is no whole number of seconds,
        shorter than a job or given for everything, or the daemon cannot be named from this chart
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        daemon: DindDaemon,
        schedule: Cron,
        time_zone: str | None = None,
        prune: Prune = Prune.UNUSED,
        unused_for: Duration | None = None,
        image: str = "docker:29.9.3-cli",
    ) -> None:
        _check.dns_label("prune schedule's id", id)
        # The controller appends 11 characters to a CronJob's name for each Job, whose name is a label.
        name = _check.dns_subdomain("prune schedule's name", f"{daemon.name}-{id}", longest=52)
        chart = Chart.of(scope)
        if is_taken(chart, f"cron job {name}"):
            raise ValueError(f"prune schedule's name must be unique in a chart, got {name!r} twice")
        _check.schedule(schedule)
        if time_zone is not None:
            _check.time_zone(time_zone)
        unused_seconds = _check.whole_seconds("unused_for", unused_for or Duration.days(7))
        if unused_for and prune is Prune.EVERYTHING:
            raise ValueError(f"unused_for must be left to Prune.UNUSED, got {unused_seconds} s with Prune.EVERYTHING")
        job_seconds = daemon.keep.longest_job.to_seconds()
        if prune is Prune.UNUSED and unused_seconds < job_seconds:
            raise ValueError(f"unused_for must be at least the daemon's longest_job ({job_seconds} s), got {unused_seconds} s")
        daemon.environment_from(chart.namespace)  # refused before there is a half of it

        super().__init__(scope, id)
        take(chart, f"cron job {name}")
        command, mounts = ["docker", "system", "prune", "-af"], []
        if prune is Prune.UNUSED:
            command = ["sh", f"{DaemonFiles.SCRIPTS_PATH}/prune.sh", str(unused_seconds), *daemon.keep.arguments]
            mounts = [VolumeMount(path=DaemonFiles.SCRIPTS_PATH, volume=self._scripts(name, daemon), read_only=True)]
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
            # With ON_FAILURE, as in the article, the log goes with the pod when the last try has failed.
            restart_policy=RestartPolicy.NEVER if prune is Prune.UNUSED else RestartPolicy.ON_FAILURE,
            containers=[
                ContainerProps(
                    name=id,
                    image=image,
                    image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
                    command=command,
                    # For namespaces with a quota; the cluster tests run within it.
                    resources=ContainerResources(
                        cpu=CpuResources(request=Cpu.millis(10), limit=Cpu.units(1)),
                        memory=MemoryResources(request=Size.mebibytes(64), limit=Size.mebibytes(256)),
                    ),
                    volume_mounts=mounts,
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

    def _scripts(self, name: str, daemon: DindDaemon) -> Volume:
        metadata = k8s.ObjectMeta(name=name, labels={"app": daemon.name})
        data = {script.name: script.read_text() for script in _SCRIPTS}
        k8s.KubeConfigMap(self, "config-map", metadata=metadata, data=data)
        config_map = ConfigMap.from_config_map_name(self, "reference", name)
        return Volume.from_config_map(self, "scripts", config_map, name="scripts")
