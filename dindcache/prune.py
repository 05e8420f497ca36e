"""The CronJob that removes unused objects from a daemon."""

from enum import Enum

from cdk8s import ApiObject, ApiObjectMetadata, Cron, Duration, JsonPatch, Size
from cdk8s_plus_27 import (
    ConcurrencyPolicy,
    ContainerProps,
    ContainerResources,
    ContainerSecurityContextProps,
    Cpu,
    CpuResources,
    CronJob,
    EnvValue,
    ImagePullPolicy,
    MemoryResources,
    RestartPolicy,
    VolumeMount,
)
from constructs import Construct
from typing_extensions import TypedDict

from dindcache import _check
from dindcache._names import ObjectName, chart_of, reserve
from dindcache._patch import patch_pod
from dindcache._scripts import SCRIPTS_PATH, FilesConfigMap, read_scripts, script_command
from dindcache._typed import typed
from dindcache.daemon import DindDaemon
from dindcache.images import pinned
from dindcache.pod import UNPRIVILEGED_USER, PodOptions


class Prune(Enum):
    """The objects that a `PruneSchedule` removes."""

    UNUSED = "unused"
    """Leftovers of jobs, and images and volumes that nothing has used for a while. The build cache stays, so the next build is
    cached."""

    EVERYTHING = "everything"
    """``docker system prune -af``: stopped containers, unused networks, all images without a container, and the build cache,
    regardless of `Retention` and of running jobs. The next build is cold."""


class PruneProps(TypedDict, total=False):
    """The props of a `PruneSchedule` except its daemon and its schedule."""

    time_zone: str | None
    prune: Prune
    unused_for: Duration | None
    image: str | None
    pod: PodOptions | None


class PruneSchedule(Construct):
    """A CronJob that prunes a daemon as one of its clients, one run at a time.

    It is named after the daemon and the id, such as ``docker-dind-clear-cache``. A run that cannot start within six hours is
    skipped, one that exceeds an hour is terminated, and a failed run is retried twice. The last successful run and the last
    three failed runs are kept, with a log line for each removed object and one for the remaining ones. The objects
    in the daemon's `Retention` stay, except with ``Prune.EVERYTHING``.

    :param daemon: Daemon to prune
    :param schedule: Schedule of the runs, such as ``Cron.daily()``
    :param time_zone: Time zone of the schedule, such as ``Europe/Berlin``. Defaults to that of the cluster's controller, mostly
        UTC
    :param prune: Objects to remove. Defaults to unused ones, but not the build cache
    :param unused_for: Time without use after which an image or a volume is removed, in whole seconds. Defaults to seven days,
        or to ``max_job_duration`` of the daemon's ``retention`` if that is longer
    :param image: Image of the docker client. Defaults to that of the daemon's registry and release
    :param pod: Options of the pods that differ from the daemon's. Defaults to the daemon's
    :raises ValueError: The name of the CronJob is invalid (at most 52 characters) or taken, the schedule does not have five
        valid fields, the time zone is unknown, ``unused_for`` is not a whole number of seconds, is shorter than a job or is
        given with ``Prune.EVERYTHING``, or the namespace gets no client Secret of the daemon
    """

    @typed
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
        image: str | None = None,
        pod: PodOptions | None = None,
    ) -> None:
        _check.dns_label("id", id)
        # The controller appends 11 characters to name each Job, and the name of a Job is a DNS label.
        name = _check.dns_subdomain("name", f"{daemon.name}-{id}", longest=52)
        _check.schedule("schedule", schedule)
        if time_zone is not None:
            _check.time_zone("time_zone", time_zone)
        unused_seconds = _unused_seconds(daemon, prune, unused_for)
        image = pinned(scope, _check.image("image", daemon.client_image if image is None else image))
        client = daemon.client(chart_of(scope).namespace)
        reserve(scope, id, ObjectName("CronJob", name), ObjectName("ConfigMap", name))

        super().__init__(scope, id)
        options = daemon.pod.override(pod)
        command, environment, mounts = ["docker", "system", "prune", "-af"], {}, []
        if prune is Prune.UNUSED:
            scripts = read_scripts("common.sh", *(f"cleanup/{name}.sh" for name in ("prune", "last-used", "remove-unused")))
            files = FilesConfigMap(self, "files", name=name, app=daemon.name, data=scripts)
            command, mounts = script_command("prune.sh"), [VolumeMount(path=SCRIPTS_PATH, volume=files.volume, read_only=True)]
            environment = {**daemon.retention.environment, "UNUSED_SECONDS": str(unused_seconds)}
        self.cron_job = CronJob(
            self,
            "cron-job",
            metadata=ApiObjectMetadata(name=name, labels={"app": daemon.name}),
            pod_metadata=ApiObjectMetadata(labels=options.labels, annotations=options.annotations),
            schedule=schedule,
            time_zone=time_zone,
            concurrency_policy=ConcurrencyPolicy.FORBID,
            starting_deadline=Duration.hours(6),
            active_deadline=Duration.hours(1),
            backoff_limit=2,
            successful_jobs_retained=1,
            failed_jobs_retained=3,
            # With ON_FAILURE, as in the article, the log disappears with the pod after the last failed try.
            restart_policy=RestartPolicy.NEVER if prune is Prune.UNUSED else RestartPolicy.ON_FAILURE,
            containers=[
                ContainerProps(
                    name=id,
                    image=image,
                    image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
                    command=command,
                    env_variables={key: EnvValue.from_value(value) for key, value in environment.items()},
                    # For namespaces with a quota; the cluster tests run within these limits.
                    resources=ContainerResources(
                        cpu=CpuResources(request=Cpu.millis(10), limit=Cpu.units(1)),
                        memory=MemoryResources(request=Size.mebibytes(64), limit=Size.mebibytes(256)),
                    ),
                    volume_mounts=mounts,
                    # The image's own user is root, which runAsNonRoot rejects.
                    security_context=ContainerSecurityContextProps(user=UNPRIVILEGED_USER, group=UNPRIVILEGED_USER),
                )
            ],
        )
        # On the Job, never on its pod: the daemon's Service selects pods by this label.
        job_labels = JsonPatch.add("/spec/jobTemplate/metadata", {"labels": {"app": daemon.name}})
        ApiObject.of(self.cron_job).add_json_patch(job_labels)
        # The Pod Security level "restricted" also requires these.
        pod_fields = {"securityContext/seccompProfile": {"type": "RuntimeDefault"}, **options.spec()}
        patch_pod(self.cron_job, pod_fields, containers={id: {"securityContext/capabilities": {"drop": ["ALL"]}}})
        client.connect(self.cron_job)


def _unused_seconds(daemon: DindDaemon, prune: Prune, unused_for: Duration | None) -> int:
    if prune is Prune.EVERYTHING and unused_for is not None:
        raise ValueError(f"unused_for must be left out with Prune.EVERYTHING, got {unused_for.to_seconds(integral=False):g} s")
    seconds = _check.whole_seconds("unused_for", Duration.days(7) if unused_for is None else unused_for)
    job_seconds = int(daemon.retention.max_job_duration.to_seconds())
    if unused_for is not None and seconds < job_seconds:
        raise ValueError(f"unused_for must be at least max_job_duration of the daemon, {job_seconds} s, got {seconds} s")
    return max(seconds, job_seconds)
