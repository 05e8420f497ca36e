"""How a Runner hands a daemon to its jobs."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError
from tomlkit.items import InlineTable

from dindcache import _check
from dindcache.access import Access
from dindcache.daemon import CLIENT_PATH, DindDaemon


class GitLabRunner:
    """What a GitLab Runner with the Kubernetes executor needs to give each of its jobs a daemon: text, no object of a cluster.

    Jobs get the daemon's host, a client's certificate and the label that lets them through. Their pods are not privileged, and
    start no daemon of their own.

    :param daemon: which one
    :param namespace: where the Runner starts its jobs; one of the daemon's ``client_namespaces``, or its own
    :raises ValueError: the namespace gets no client Secret, or one whose name cannot be a volume's, as a Runner has it
    """

    def __init__(self, *, daemon: DindDaemon, namespace: str) -> None:
        self._environment = daemon.environment_from(_check.dns_label("runner's namespace", namespace))
        self._secret = daemon.client_secret_from(namespace)
        if self._secret:
            _check.dns_label("client Secret's name, which a runner gives to a volume,", self._secret.name)
        self._namespace = namespace

    def config(self) -> str:
        """The part of a ``config.toml`` that a Runner is registered with (``--template-config``)."""
        document = tomlkit.document()
        runner = tomlkit.table()
        runner["executor"] = "kubernetes"
        document["runners"] = tomlkit.aot()
        document["runners"].append(runner)
        self._set(runner)
        return tomlkit.dumps(document)

    def merged(self, config: str, *, name: str | None = None) -> str:
        """A ``config.toml`` with this in it, and the rest of it as it was, byte for byte; merged once more it is the same.

        :param config: the text of the file
        :param name: of the runner in it, where several have the Kubernetes executor
        :raises ValueError: the text is no TOML, has no such runner or several, or the runner's jobs are in another namespace or
            start a daemon of their own
        """
        try:
            document = tomlkit.parse(config)
        except ParseError as error:
            raise ValueError(f"runner configuration must be TOML, got {error}") from error
        runners = [runner for runner in document.get("runners", []) if runner.get("executor") == "kubernetes"]
        if name is not None:
            runners = [runner for runner in runners if runner.get("name") == name]
        if len(runners) != 1:
            names = [runner.get("name", "") for runner in runners]
            raise ValueError(f"runner configuration must have one runner of the Kubernetes executor to merge with, got {names}")
        self._set(runners[0])
        return tomlkit.dumps(document)

    def helm_values(self) -> str:
        """Values for the chart ``gitlab-runner``, to give to ``helm`` beside your own (``--values``)."""
        lines = "".join(f"    {line}\n" if line else "\n" for line in self.config().splitlines())
        return f"runners:\n  config: |\n{lines}"

    def _set(self, runner: MutableMapping[str, Any]) -> None:
        kubernetes = _table(runner, "kubernetes")
        if kubernetes.get("namespace", self._namespace) != self._namespace:
            raise ValueError(f"runner's namespace must be {self._namespace!r}, got {kubernetes['namespace']!r}")
        for service in kubernetes.get("services", []):
            if "dind" in service.get("name", ""):
                raise ValueError(f"runner must start no daemon of its own, got the service {service['name']!r}")
        environment = runner.setdefault("environment", tomlkit.array())
        wanted = [f"{key}={value}" for key, value in self._environment.items()]
        for word in [word for word in environment if word.partition("=")[0] in self._environment and word not in wanted]:
            environment.remove(word)
        missing = [word for word in wanted if word not in environment]
        if missing:
            environment.add_line(*missing)  # append would write them into a comment that ends the list
        _put(kubernetes, {"namespace": self._namespace, "privileged": False})
        _put(_table(kubernetes, "pod_labels"), Access.CLIENT_LABELS)
        if self._secret:
            secrets = _table(kubernetes, "volumes").setdefault("secret", tomlkit.aot())
            volume = next((volume for volume in secrets if volume.get("mount_path") == CLIENT_PATH), None)
            if volume is None:
                volume = tomlkit.table()
                secrets.append(volume)
            _put(volume, {"name": self._secret.name, "mount_path": CLIENT_PATH, "read_only": True})
            _put(_table(volume, "items"), self._secret.items)


def _table(parent: MutableMapping[str, Any], key: str) -> MutableMapping[str, Any]:
    if key not in parent and isinstance(parent, InlineTable):
        raise ValueError(f"runner configuration must not have an inline table where {key!r} goes, got one")
    table: MutableMapping[str, Any] = parent.setdefault(key, tomlkit.table())
    return table


def _put(table: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key not in table or table[key] != value:  # or it keeps its spacing and its comment
            table[key] = value
