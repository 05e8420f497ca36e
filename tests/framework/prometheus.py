"""A Prometheus that scrapes the pods of a PodMonitor. Its image has no discovery of Kubernetes, so this reads the objects."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import yaml
from cdk8s import Yaml

from dindcache.prometheus.dashboard import dashboard_json
from tests.framework.cluster import Cluster

_TARGETS = "/tmp/targets.json"
_TLS_PATH = "/etc/prometheus-tls"


def dashboard_panels() -> Iterator[Any]:
    """Return the panels of the dashboard, which a row can contain."""
    for panel in json.loads(dashboard_json())["panels"]:
        yield from panel.get("panels", []) if panel["type"] == "row" else [panel]


class Prometheus:
    """A Prometheus in a namespace, with rules.

    :param namespace: Namespace of its pod and of the PodMonitor
    :param monitor: PodMonitor, as synthesized
    :param labels: Labels of its pod
    :param files: Files in its directory of configuration besides its own, by their names
    :param interval: Time between two scrapes, as Prometheus writes it, instead of that of the PodMonitor
    :param name: Name of its objects
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        *,
        monitor: Any,
        labels: Mapping[str, str],
        files: Mapping[str, Any] | None = None,
        interval: str = "2s",
        name: str = "prometheus",
    ) -> None:
        self.cluster, self.namespace, self._name, self._monitor = cluster, namespace, name, monitor["spec"]
        (self._endpoint,) = self._monitor["podMetricsEndpoints"]
        self._exec = ["exec", f"--namespace={namespace}", f"deployment/{name}", "--"]
        config = {"prometheus.yml": self._config(interval), **(files or {})}
        cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*self._manifests(config, labels)))
        cluster.rollout(namespace, name)
        self.discover()

    def _config(self, interval: str) -> Any:
        """Return its configuration, with what Prometheus' operator would take from the PodMonitor."""
        scraped: dict[str, Any] = {"job_name": "pods", "scheme": self._endpoint.get("scheme", "http")}
        if tls := self._endpoint.get("tlsConfig"):
            scraped["tls_config"] = {
                "ca_file": f"{_TLS_PATH}/{tls['ca']['secret']['key']}",
                "server_name": tls["serverName"],
            }
        return {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": ["/etc/prometheus/rules.yaml"],
            "scrape_configs": [{**scraped, "file_sd_configs": [{"files": [_TARGETS], "refresh_interval": "1s"}]}],
        }

    def _manifests(self, files: Mapping[str, Any], labels: Mapping[str, str]) -> list[Any]:
        metadata = {"name": self._name, "namespace": self.namespace}
        data = {name: yaml.safe_dump(content) for name, content in files.items()}
        container: dict[str, Any] = {
            "name": self._name,
            "image": "prom/prometheus",
            "imagePullPolicy": "IfNotPresent",
            "args": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/data"],
            "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/prometheus"}],
        }
        pod = {"containers": [container], "volumes": [{"name": "config", "configMap": {"name": self._name}}]}
        if tls := self._endpoint.get("tlsConfig"):
            container["volumeMounts"].append({"name": "tls", "mountPath": _TLS_PATH})
            pod["volumes"].append({"name": "tls", "secret": {"secretName": tls["ca"]["secret"]["name"]}})
        template = {"metadata": {"labels": {"name": self._name, **labels}}, "spec": pod}
        spec = {"selector": {"matchLabels": {"name": self._name}}, "template": template}
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
        ]

    def discover(self) -> None:
        """Find the pods of the PodMonitor, as Prometheus' operator would make Prometheus do."""
        selector = ",".join(f"{key}={value}" for key, value in self._monitor["selector"]["matchLabels"].items())
        targets = []
        for pod in self.cluster.get("pods", f"--namespace={self.namespace}", f"--selector={selector}")["items"]:
            ports = {port.get("name"): port["containerPort"] for c in pod["spec"]["containers"] for port in c.get("ports", [])}
            if self._endpoint["port"] not in ports:
                continue  # the certificate Job's
            labels = {"namespace": self.namespace, "pod": pod["metadata"]["name"]}
            for label in self._monitor["podTargetLabels"]:
                labels[re.sub("[^a-zA-Z0-9_]", "_", label)] = pod["metadata"]["labels"].get(label, "")
            targets.append({"targets": [f"{pod['status']['podIP']}:{ports[self._endpoint['port']]}"], "labels": labels})
        self.sh(f"echo '{json.dumps(targets)}' >{_TARGETS}.new; mv {_TARGETS}.new {_TARGETS}")

    def sh(self, script: str) -> str:
        """Run a script in its pod, and return its output."""
        return self.cluster.kubectl(*self._exec, "sh", "-ec", script)

    def of_dashboard(self, expression: str, window: str) -> str:
        """Return an expression of the dashboard with values for its variables: the daemons of the namespace, and a range."""
        return expression.replace("$__range", window).replace("$namespace", self.namespace).replace("$app", ".*")

    def query(self, expression: str) -> list[Any]:
        """Return the series of an expression, now."""
        return self._answer(f"query?query={quote(expression)}", expression)

    def range(self, expression: str, *, begin: float, end: float, step: int) -> list[Any]:
        """Return the series of an expression between two times, with one sample in so many seconds."""
        return self._answer(f"query_range?query={quote(expression)}&start={begin}&end={end}&step={step}", expression)

    def _answer(self, path: str, expression: str) -> list[Any]:
        done = self.cluster.run(*self._exec, "wget", "-q", "-O", "-", f"http://127.0.0.1:9090/api/v1/{path}")
        assert done.returncode == 0, f"{expression}: {done.stderr}"
        result: list[Any] = json.loads(done.stdout)["data"]["result"]
        return result

    def values(self, expression: str, *labels: str) -> dict[str, float]:
        """Return the values of an expression by the values of some of its labels."""
        return {
            " ".join(one["metric"].get(label, "") for label in labels): float(one["value"][1]) for one in self.query(expression)
        }

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return set(self.values('ALERTS{alertstate="firing"}', "alertname"))
