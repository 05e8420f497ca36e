"""The metrics of a daemon: the one table that the exporter's text and the reference page come from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric, by the conventions of Prometheus.

    :param name: Name without the prefix ``dindcache_``
    :param kind: Type: counter, gauge or histogram
    :param help: Meaning, on one line
    :param labels: Names of its labels
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric("builds_total", "counter", "Builds that ended, as completed, failed or canceled.", ("project", "status")),
    Metric("build_seconds_total", "counter", "Time of the builds that ended.", ("project",)),
    Metric("build_duration_seconds", "histogram", "Time of each build that ended, of all projects.", ("le",)),
    Metric(
        "build_steps_total",
        "counter",
        "Steps of the builds that ended, by whether they were cached. FROM and steps that were not reached are none.",
        ("project", "cached"),
    ),
    Metric("build_step_seconds_total", "counter", "Time of the steps that were not cached.", ("project",)),
    Metric("builds_without_space_total", "counter", "Builds that failed for lack of space."),
    Metric("builds_running", "gauge", "Builds that run now, at most 50."),
    Metric("builds_waiting", "gauge", "Builds that wait for their turn, with a limit of builds (max_builds)."),
    Metric(
        "project_info", "gauge", "Repository of a project, if the job's image has git. Always 1.", ("project", "repository")
    ),
    Metric(
        "build_cache_bytes",
        "gauge",
        "Size of the build cache, by its kind and by whether an image shares it.",
        ("kind", "shared"),
    ),
    Metric("cache_mount_bytes", "gauge", "Size of the cache mounts of a project.", ("project",)),
    Metric("images", "gauge", "Images."),
    Metric("image_bytes", "gauge", "Size of all images, with each layer once."),
    Metric("containers", "gauge", "Containers, running or not. A step of a build is none."),
    Metric("container_bytes", "gauge", "Size of what containers wrote outside of volumes."),
    Metric("volumes", "gauge", "Volumes."),
    Metric("volume_bytes", "gauge", "Size of all volumes."),
    Metric("disk_size_bytes", "gauge", "Size of the file system of the data root."),
    Metric("disk_free_bytes", "gauge", "Free space of the file system of the data root, without what is reserved for root."),
    Metric("disk_inodes", "gauge", "Inodes of the file system of the data root."),
    Metric("disk_inodes_free", "gauge", "Free inodes of the file system of the data root."),
    Metric(
        "reclaims_total",
        "counter",
        "Times that the disk guard reclaimed space, by whether that was enough or short.",
        ("result",),
    ),
    Metric("removed_objects_total", "counter", "Objects that the disk guard or a prune removed.", ("by", "kind")),
    Metric("removed_cache_bytes_total", "counter", "Build cache that the disk guard removed.", ("by",)),
    Metric("prune_last_run_timestamp_seconds", "gauge", "End of the last prune."),
    Metric("prune_last_run_failed", "gauge", "Whether the last prune failed."),
    Metric("certificate_not_before_timestamp_seconds", "gauge", "Begin of the validity of the daemon's certificate."),
    Metric("certificate_not_after_timestamp_seconds", "gauge", "Expiry of the daemon's certificate."),
    Metric(
        "engine_starts_total",
        "counter",
        "Starts of the engine: with its pod, for a renewed certificate, or unexpected (a crash, or failed probes).",
        ("reason",),
    ),
    Metric("drains_total", "counter", "Drains that ended, by their reason: shutdown or certificate.", ("reason",)),
    Metric("drain_seconds_total", "counter", "Time of the drains that ended.", ("reason",)),
    Metric("draining_seconds", "gauge", "Time since the begin of a drain, or 0."),
    Metric("draining_rejects", "gauge", "Whether a drain rejects new clients."),
    Metric("lock_waits_total", "counter", "Times that a pod waited for the data root."),
    Metric("lock_wait_seconds_total", "counter", "Time that pods waited for the data root."),
    Metric("engine_up", "gauge", "Whether the engine answers."),
    Metric("engine_info", "gauge", "Version and image store of the engine. Always 1.", ("version", "image_store")),
    Metric("collected_timestamp_seconds", "gauge", "Time of the last look at the engine."),
)
"""Every metric, in the order in which they are written."""


def metrics_text() -> str:
    """Return the table as ``collect.sh`` reads it: a line for each metric with its name, its type and its meaning."""
    return "".join(f"dindcache_{metric.name} {metric.kind} {metric.help}\n" for metric in METRICS)
