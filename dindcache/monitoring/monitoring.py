"""The options of a daemon's metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cdk8s import Duration

from dindcache import _check
from dindcache._typed import check_fields

# The first release whose images have a client that reads records of builds.
_OLDEST_RELEASE = 28
# An alert says that metrics are stale after five minutes.
_LONGEST_INTERVAL = 60
# A project has up to nine series.
_MOST_PROJECTS = 500


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """Metrics of a daemon for Prometheus, on port 9324 of its pod (``docs/reference/metrics.md``).

    Two more containers of the pod read the engine and serve the metrics. Whatever happens to them, builds go on.

    :param scraper_labels: Labels of the pods that the NetworkPolicy admits to the port. Defaults to those of Prometheus from
        its operator and from its Helm charts, ``{"app.kubernetes.io/name": "prometheus"}``
    :param scraper_namespaces: Namespaces of these pods. Defaults to all
    :param interval: Time between two looks at the engine, in whole seconds, at most a minute. Defaults to 15 seconds
    :param max_projects: Number of projects with metrics of their own, at most 500. The others are counted as ``other``.
        Defaults to 50
    :param tls_secret: Name of a Secret in the daemon's namespace with ``tls.crt`` and ``tls.key``, with which the port serves
        HTTPS. Defaults to none: plain HTTP
    :param annotations: Whether the pod has the annotations ``prometheus.io/…``, for a Prometheus without its operator. Defaults
        to False
    :param image: Image of node_exporter, which serves the metrics. Defaults to an exact release
    :raises ValueError: A name, a label or the image is invalid, or a number is out of its range
    """

    scraper_labels: Mapping[str, str] = field(default_factory=lambda: {"app.kubernetes.io/name": "prometheus"})
    scraper_namespaces: Sequence[str] = ()
    interval: Duration = field(default_factory=lambda: Duration.seconds(15))
    max_projects: int = 50
    tls_secret: str | None = None
    annotations: bool = False
    image: str = "prom/node-exporter:v1.12.1"

    PORT = 9324
    """Port of the metrics."""

    def __post_init__(self) -> None:
        """Validate the options."""
        check_fields(self)
        _check.labels("scraper_labels", self.scraper_labels)
        if not self.scraper_labels:
            raise ValueError(f"scraper_labels must have a label, or every pod reaches the metrics, got {self.scraper_labels!r}")
        for namespace in self.scraper_namespaces:
            _check.dns_label("scraper_namespaces", namespace)
        seconds = _check.whole_seconds("interval", self.interval)
        if seconds > _LONGEST_INTERVAL:
            raise ValueError(f"interval must be at most {_LONGEST_INTERVAL} s, or its alerts come late, got {seconds} s")
        if not 1 <= self.max_projects <= _MOST_PROJECTS:
            raise ValueError(f"max_projects must be from 1 to {_MOST_PROJECTS}, got {self.max_projects}")
        if self.tls_secret is not None:
            _check.dns_subdomain("tls_secret", self.tls_secret)
        _check.image("image", self.image)

    def check_release(self, release: int, image: str) -> None:
        """Check that the client in the engine's image reads records of builds.

        :raises ValueError: It does not
        """
        if release < _OLDEST_RELEASE:
            raise ValueError(
                f"monitoring must be left out before Engine {_OLDEST_RELEASE}: older clients read no history of builds,"
                f" got {image!r}"
            )

    @property
    def pod_annotations(self) -> dict[str, str]:
        """Annotations of the daemon's pod."""
        values = {
            "scrape": "true",
            "port": str(self.PORT),
            "path": "/metrics",
            "scheme": "https" if self.tls_secret else "http",
        }
        return {f"prometheus.io/{key}": value for key, value in values.items()} if self.annotations else {}
