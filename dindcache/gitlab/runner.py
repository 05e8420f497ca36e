"""The configuration of a Runner that gives a daemon to its jobs."""

import re
from collections.abc import Mapping, MutableMapping
from posixpath import normpath
from typing import Any

import tomlkit
from cdk8s import Yaml
from tomlkit.exceptions import ParseError
from tomlkit.items import InlineTable

from dindcache import _check
from dindcache._scripts import read_script
from dindcache._typed import typed
from dindcache.daemon import DindDaemon
from dindcache.fleet import DindFleet, FleetClient

# The types of the keys that are merged with or read.
_RUNNER = {
    "name": str,
    "executor": str,
    "shell": str,
    "environment": [str],
    "pre_build_script": str,
    "kubernetes": {
        "namespace": str,
        "pod_labels": {},
        "services": [{"name": str, "alias": str}],
        "volumes": {
            kind: [{"name": str, "mount_path": str}] for kind in ("config_map", "csi", "empty_dir", "host_path", "nfs", "pvc")
        }
        | {"secret": [{"name": str, "mount_path": str, "items": {}}]},
        "container_lifecycle": {"pre_stop": {"exec": {"command": [str]}}},
    },
}
# What the chart gitlab-runner has for `runners.config` by default, and loses where other values have one.
_CHART = """[[runners]]
  [runners.kubernetes]
    image = "alpine"
"""
# The first is what a job's log shows.
_BEGIN, _END = "# dindcache: the daemon of this Runner\n", "# dindcache: end\n"
# The Runner deletes the pod of a job that times out, or is cancelled by force, without its after_script. The hook then removes
# what the job left. It has nothing to do after an after_script, and in containers without the job's client.
_HOOK = 'if [ -e "$DINDCACHE/daemon" ] && [ -x "$DINDCACHE/client/docker" ]; then sh "$DINDCACHE/clean.sh"; fi; "$@"'
_CLEAN = ["sh", "-c", _HOOK, "dindcache"]


class GitLabRunner:
    """The configuration of a GitLab Runner with the Kubernetes executor that gives each of its jobs a daemon.

    It is text, and no object of a cluster. Jobs get the daemon's host, a client certificate and the label that the
    NetworkPolicy admits. Their pods are not privileged, and start no daemon of their own. A ``pre_build_script`` leads jobs
    that were written for a ``docker:dind`` service to the daemon, and past a proxy. A ``pre_stop`` hook removes what a job of
    the template left on the daemon when it timed out.

    Of a fleet, a job gets the member that its key prefers: the path of its project, or the variable ``DINDCACHE_KEY``.

    :param daemon: Daemon or fleet of the jobs
    :param namespace: Namespace in which the Runner starts its jobs: one of the daemon's ``client_namespaces``, or its own
    :raises ValueError: The namespace gets no client Secret, or the name of the Secret cannot be that of a volume, as a Runner
        needs it
    """

    @typed
    def __init__(self, *, daemon: DindDaemon | DindFleet, namespace: str) -> None:
        client = daemon.client(_check.dns_label("namespace", namespace))
        self._choice = _choice(daemon.name, client) if isinstance(client, FleetClient) else ""
        # Of the clients of a fleet, only the host differs.
        self._client = next(iter(client.clients.values())) if isinstance(client, FleetClient) else client
        if self._client.secret:
            _check.dns_label("name of the client Secret", self._client.secret.name)
        self._namespace = namespace

    def config(self) -> str:
        """Return the part of a ``config.toml`` that a Runner is registered with (``--template-config``)."""
        return self.merged('[[runners]]\nexecutor = "kubernetes"\n')

    @typed
    def merged(self, config: str, *, name: str | None = None) -> str:
        """Return ``config`` with these settings merged in: the rest is preserved byte for byte, and merging is idempotent.

        Any volume at the directory of the client certificate gives way to the client Secret. A namespace that is a Helm
        expression is replaced.

        :param config: Text of a ``config.toml``, or of ``runners.config`` in the values of the chart ``gitlab-runner``
        :param name: Name of the runner in it. Defaults to the only one with the Kubernetes executor, or with none, as in the
            chart
        :raises ValueError: The text is not the TOML of a Runner, has no such runner or several, or the runner's jobs are in
            another namespace, start a daemon of their own, or have a volume, a hook or a shell that does not fit
        """
        try:
            document = tomlkit.parse(config)
        except ParseError as error:
            raise ValueError(f"config must be TOML, got {error}") from error
        _check_shape("runners", document.get("runners", []), [_RUNNER])
        runners = [runner for runner in document.get("runners", []) if runner.get("executor", "kubernetes") == "kubernetes"]
        if name is not None:
            runners = [runner for runner in runners if runner.get("name") == name]
        if len(runners) != 1:
            names = [runner.get("name", "") for runner in runners]
            raise ValueError(f"config must have one runner with the Kubernetes executor to merge with, got {names}")
        self._set(runners[0])
        return tomlkit.dumps(document)

    def helm_values(self) -> str:
        """Return values of the chart ``gitlab-runner``, for ``helm --values`` in addition to your own.

        They include the namespace in which the chart gives the Runner its rights, and what the chart has by default.
        """
        return Yaml.stringify({"runners": {"jobNamespace": self._namespace, "config": self.merged(_CHART)}})

    def _set(self, runner: MutableMapping[str, Any]) -> None:
        if runner.get("shell", "bash") not in {"bash", "sh"}:
            raise ValueError(f"shell in config must be 'bash' or 'sh', got {runner['shell']!r}")
        kubernetes = _table(runner, "kubernetes")
        namespace = kubernetes.get("namespace", self._namespace)
        if namespace != self._namespace and "{{" not in namespace:
            raise ValueError(f"namespace in config must be {self._namespace!r}, got {namespace!r}")
        for service in kubernetes.get("services", []):
            if _is_daemon(service):
                raise ValueError(
                    f"services in config must start no daemon of their own, got {service.get('name')!r}: remove it"
                )
        self._set_environment(runner)
        self._set_script(runner)
        _put(kubernetes, {"namespace": self._namespace, "privileged": False})
        _put(_table(kubernetes, "pod_labels"), self._client.labels)
        self._set_volume(kubernetes)
        _set_hook(kubernetes)

    def _set_environment(self, runner: MutableMapping[str, Any]) -> None:
        variables = self._client.environment
        given = {key: value for key, value in variables.items() if not (self._choice and key == "DOCKER_HOST")}
        environment = runner.setdefault("environment", tomlkit.array().multiline(multiline=True))
        wanted = [f"{key}={value}" for key, value in given.items()]
        for word in [word for word in environment if word.partition("=")[0] in variables and word not in wanted]:
            environment.remove(word)
        missing = [word for word in wanted if word not in environment]
        if missing and len(environment):
            environment.add_line(*missing)  # extend would write them into a comment that ends the list
        elif missing:
            environment.extend(missing)

    def _set_script(self, runner: MutableMapping[str, Any]) -> None:
        """Put our lines before those that the runner may have."""
        certificate = self._client.mount_path if self._client.secret else ""
        host = "" if self._choice else f"dindcache_host={self._client.host} "
        inputs = f"{host}dindcache_certificate={certificate}\n{self._choice}"
        own = re.sub(f"{_BEGIN}.*?{_END}", "", runner.get("pre_build_script", ""), flags=re.DOTALL)
        text = f"{_BEGIN}{inputs}{read_script('gitlab/pre-build-script.sh')}{_END}{own}"
        literal = "'''" not in text  # TOML ignores the line break at its begin
        _put(
            runner, {"pre_build_script": tomlkit.value(f"'''\n{text}'''") if literal else tomlkit.string(text, multiline=True)}
        )

    def _set_volume(self, kubernetes: MutableMapping[str, Any]) -> None:
        secret, path = self._client.secret, self._client.mount_path
        if not secret:
            return
        volumes = _table(kubernetes, "volumes")
        here = []
        for kind, listed in volumes.items():
            for index, volume in enumerate(listed):
                if normpath(volume.get("mount_path", "")) == path:
                    here.append((kind, index))
                elif volume.get("name") == secret.name:
                    raise ValueError(
                        f"volumes.{kind} in config must not have a second volume of the name {secret.name!r}, "
                        f"got it at {volume.get('mount_path')!r}: remove it, the Secret is mounted at {path!r}"
                    )
        ours = next((place for place in here if place[0] == "secret"), None)
        # Two mounts at one path: the API server rejects the pod, and every job of the Runner fails. The last one goes first, so
        # that the places of the others stay.
        for kind, index in reversed(here):
            if (kind, index) != ours:
                del volumes[kind][index]
                if not volumes[kind]:
                    del volumes[kind]
        secrets = volumes.setdefault("secret", tomlkit.aot())
        if ours is None:
            secrets.append(tomlkit.table())
        volume = secrets[-1 if ours is None else ours[1]]
        _put(volume, {"name": secret.name, "mount_path": path, "read_only": True})
        _put(_table(volume, "items"), secret.items)


def _choice(name: str, fleet: FleetClient) -> str:
    """Return the lines that choose the daemon of a job."""
    members = "\n".join(f"{member} {fleet.weights[member]} {client.host}" for member, client in fleet.clients.items())
    inputs = f"dindcache_fleet={name}\ndindcache_members='{members}'\ndindcache_failover={fleet.failover_seconds}\n"
    inputs += f"dindcache_full_at={fleet.full_at or ''}\n"
    return inputs + read_script("gitlab/choose-member.sh").replace("# CHOOSE\n", read_script("fleet/choose.sh"))


def _is_daemon(service: Mapping[str, str]) -> bool:
    """Return whether a service is a Docker daemon: the image docker is one unless its tag says cli."""
    repository, _, tag = service.get("name", "").rpartition("/")[2].partition(":")
    return "dind" in f"{repository}:{tag}" or (repository == "docker" and "cli" not in tag) or service.get("alias") == "docker"


def _set_hook(kubernetes: MutableMapping[str, Any]) -> None:
    """Make the hook remove what a job left, before the command that it may have."""
    hook = _table(_table(kubernetes, "container_lifecycle"), "pre_stop")
    others = sorted(hook.keys() - {"exec"})
    if others:
        raise ValueError(f"container_lifecycle.pre_stop in config must be an exec hook or none, got {others[0]!r}")
    action = _table(hook, "exec")
    command = list(action.get("command", []))
    own = command[len(_CLEAN) :] if command[: len(_CLEAN)] == _CLEAN else command
    _put(action, {"command": [*_CLEAN, *own]})


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
