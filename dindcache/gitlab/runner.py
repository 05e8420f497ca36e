"""The configuration of a Runner that gives a daemon to its jobs."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError
from tomlkit.items import InlineTable

from dindcache import _check
from dindcache._typed import typed
from dindcache.daemon import DindDaemon

# The types of the keys that are merged with or read.
_RUNNER = {
    "name": str,
    "executor": str,
    "environment": [str],
    "kubernetes": {
        "namespace": str,
        "pod_labels": {},
        "services": [{"name": str}],
        "volumes": {"secret": [{"mount_path": str, "items": {}}]},
    },
}


class GitLabRunner:
    """The configuration of a GitLab Runner with the Kubernetes executor that gives each of its jobs a daemon.

    It is text, and no object of a cluster. Jobs get the daemon's host, a client certificate and the label that the
    NetworkPolicy admits. Their pods are not privileged, and start no daemon of their own.

    :param daemon: Daemon of the jobs
    :param namespace: Namespace in which the Runner starts its jobs: one of the daemon's ``client_namespaces``, or its own
    :raises ValueError: The namespace gets no client Secret, or the name of the Secret cannot be that of a volume, as a Runner
        needs it
    """

    @typed
    def __init__(self, *, daemon: DindDaemon, namespace: str) -> None:
        self._client = daemon.client(_check.dns_label("namespace", namespace))
        if self._client.secret:
            _check.dns_label("name of the client Secret", self._client.secret.name)
        self._namespace = namespace

    def config(self) -> str:
        """Return the part of a ``config.toml`` that a Runner is registered with (``--template-config``)."""
        document = tomlkit.document()
        runner = tomlkit.table()
        runner["executor"] = "kubernetes"
        document["runners"] = tomlkit.aot()
        document["runners"].append(runner)
        self._set(runner)
        return tomlkit.dumps(document)

    @typed
    def merged(self, config: str, *, name: str | None = None) -> str:
        """Return ``config`` with these settings merged in: the rest is preserved byte for byte, and merging is idempotent.

        :param config: Text of a ``config.toml``
        :param name: Name of the runner in it. Defaults to the only one with the Kubernetes executor
        :raises ValueError: The text is not the TOML of a Runner, has no such runner or several, or the runner's jobs are in
            another namespace or start a daemon of their own
        """
        try:
            document = tomlkit.parse(config)
        except ParseError as error:
            raise ValueError(f"config must be TOML, got {error}") from error
        _check_shape("runners", document.get("runners", []), [_RUNNER])
        runners = [runner for runner in document.get("runners", []) if runner.get("executor") == "kubernetes"]
        if name is not None:
            runners = [runner for runner in runners if runner.get("name") == name]
        if len(runners) != 1:
            names = [runner.get("name", "") for runner in runners]
            raise ValueError(f"config must have one runner with the Kubernetes executor to merge with, got {names}")
        self._set(runners[0])
        return tomlkit.dumps(document)

    def helm_values(self) -> str:
        """Return values of the chart ``gitlab-runner``, for ``helm --values`` in addition to your own."""
        lines = "".join(f"    {line}\n" if line else "\n" for line in self.config().splitlines())
        return f"runners:\n  config: |\n{lines}"

    def _set(self, runner: MutableMapping[str, Any]) -> None:
        kubernetes = _table(runner, "kubernetes")
        if kubernetes.get("namespace", self._namespace) != self._namespace:
            raise ValueError(f"namespace in config must be {self._namespace!r}, got {kubernetes['namespace']!r}")
        for service in kubernetes.get("services", []):
            if "dind" in service.get("name", ""):
                raise ValueError(f"services in config must start no daemon of their own, got {service['name']!r}")
        variables, secret = self._client.environment, self._client.secret
        environment = runner.setdefault("environment", tomlkit.array())
        wanted = [f"{key}={value}" for key, value in variables.items()]
        for word in [word for word in environment if word.partition("=")[0] in variables and word not in wanted]:
            environment.remove(word)
        missing = [word for word in wanted if word not in environment]
        if missing:
            environment.add_line(*missing)  # append would write them into a comment that ends the list
        _put(kubernetes, {"namespace": self._namespace, "privileged": False})
        _put(_table(kubernetes, "pod_labels"), self._client.labels)
        if secret:
            secrets = _table(kubernetes, "volumes").setdefault("secret", tomlkit.aot())
            volume = next((volume for volume in secrets if volume.get("mount_path") == self._client.mount_path), None)
            if volume is None:
                volume = tomlkit.table()
                secrets.append(volume)
            _put(volume, {"name": secret.name, "mount_path": self._client.mount_path, "read_only": True})
            _put(_table(volume, "items"), secret.items)


def _check_shape(path: str, value: Any, shape: Any) -> None:
    """Check the types of what is merged with: a list of one shape, a table of keys and their shapes, or a type."""
    is_list, is_table = isinstance(shape, list), isinstance(shape, dict)
    if not isinstance(value, list if is_list else dict if is_table else shape):
        raise ValueError(f"{path} in config must be {_phrase(shape)}, got {value!r}")
    if is_list:
        for item in value:
            _check_shape(path, item, shape[0])
    elif is_table:
        for key, inner in shape.items():
            if key in value:
                _check_shape(f"{path}.{key}", value[key], inner)


def _phrase(shape: Any) -> str:
    if isinstance(shape, list):
        return "a list of strings" if shape == [str] else "a list of tables, such as [[runners]]"
    return "a table" if isinstance(shape, dict) else "a string"


def _table(parent: MutableMapping[str, Any], key: str) -> MutableMapping[str, Any]:
    if key not in parent and isinstance(parent, InlineTable):
        raise ValueError(f"config must have a table [runners.{key}], not an inline one, got {parent.as_string()!r}")
    table: MutableMapping[str, Any] = parent.setdefault(key, tomlkit.table())
    return table


def _put(table: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key not in table or table[key] != value:  # or it keeps its spacing and its comment
            table[key] = value
