"""The jobs that a pipeline includes to build with a daemon."""

from typing import Any

from cdk8s import Duration, Yaml

from dindcache import _check
from dindcache._scripts import read_script, read_scripts
from dindcache._typed import typed
from dindcache.daemon import DindDaemon

_SCRIPTS = ("common.sh", *(f"gitlab/{name}.sh" for name in ("wait", "docker-wrapper", "build", "clean")))
# The time in which the next engine starts, and pulls its image on an upgrade.
_START_SECONDS = 180
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
# build.sh reads each as DOCKER_BUILD_<NAME>. It checks the values; GitLab checks the text, which can contain variables.
_INPUTS = {
    "image": {"description": "repository to push to, without a tag", "default": "$CI_REGISTRY_IMAGE", "regex": r"^\S+$"},
    "tags": {
        "description": "further tags, with spaces between; the first is the commit's and the job's",
        "default": "",
        "regex": r"^([\w$][-\w$.{}]*( |$))*$",
    },
    "context": {"description": "directory of the sources", "default": ".", "regex": r"^\S"},
    "file": {"description": "Dockerfile; by default the one in the context", "default": ""},
    "target": {"description": "stage of the Dockerfile; by default the last", "default": ""},
    "args": {
        "description": "names of the job's variables to give as build arguments, with spaces between",
        "default": "",
        "regex": f"^({_VARIABLE}( |$))*$",
    },
    "result": {
        "description": "variable in which later jobs find the image",
        "default": "DOCKER_IMAGE",
        "regex": f"^{_VARIABLE}$",
    },
}


class GitLabCi:
    """Two hidden jobs that a pipeline extends: ``.docker`` for its own script, ``.docker-build`` to build and push an image.

    Both wait for the daemon, or report what is wrong. Their ``docker`` labels the containers, networks and volumes that it
    creates, which are removed when the job ends, gives cache mounts a namespace of the project, and repeats what a restart of
    the daemon interrupted. A command that cannot be repeated ends the job with 75, and GitLab retries the job once. Needs
    GitLab 17.0.

    :param daemon: Daemon of the jobs
    :param image: Image of the jobs, with ``docker`` and a shell. Defaults to the daemon's registry and release
    :param wait: Time that a job waits for a daemon that refuses or does not answer, in whole seconds. Defaults to the time in
        which an ending daemon accepts no new clients, and three minutes for the next one. A name that does not resolve and a
        certificate that does not fit are waited for 30 s
    :raises ValueError: The image is invalid, or the time is not a whole number of seconds or zero
    """

    @typed
    def __init__(self, *, daemon: DindDaemon, image: str | None = None, wait: Duration | None = None) -> None:
        self._image = _check.image("image", daemon.client_image if image is None else image)
        default = Duration.seconds(daemon.timing.unavailable + _START_SECONDS)
        self._wait = str(_check.whole_seconds("wait", default if wait is None else wait))

    def template(self) -> str:
        """Return the text of a file to ``include``."""
        return Yaml.stringify(self._jobs())

    def component(self) -> str:
        """Return the same as a CI/CD component, ``templates/docker-build.yml``, with ``.docker-build`` as a job."""
        inputs = {
            "job": {"description": "name of the job", "default": "docker-build", "regex": r"^[^.\s]"},
            "stage": {"description": "of the pipeline", "default": "build", "regex": r"^\S"},
            **_INPUTS,
        }
        job = {
            "extends": ".docker-build",
            "stage": "$[[ inputs.stage ]]",
            "variables": {f"DOCKER_BUILD_{name.upper()}": f"$[[ inputs.{name} ]]" for name in _INPUTS},
        }
        return Yaml.stringify({"spec": {"inputs": inputs}}, {**self._jobs(), "$[[ inputs.job ]]": job})

    def _jobs(self) -> dict[str, Any]:
        docker = {
            "image": self._image,
            "variables": {
                "COMPOSE_PROJECT_NAME": "$CI_PROJECT_PATH_SLUG-$CI_JOB_ID",
                "DINDCACHE": "/tmp/dindcache-$CI_JOB_ID",  # noqa: S108 - mkdir refuses what is there
                "DINDCACHE_WAIT": self._wait,
            },
            "before_script": [
                'mkdir -m 700 "$DINDCACHE"',
                *(_written(name, text) for name, text in read_scripts(*_SCRIPTS).items()),
                read_script("gitlab/before-script.sh"),
            ],
            "after_script": [read_script("gitlab/after-script.sh")],
            "retry": {"max": 1, "exit_codes": [75]},
        }
        build = {
            "extends": ".docker",
            "script": ['sh "$DINDCACHE/build.sh"'],
            "artifacts": {"reports": {"dotenv": "docker-build.env"}},
        }
        return {".docker": docker, ".docker-build": build}


def _written(name: str, text: str) -> str:
    return f"cat >\"$DINDCACHE/{name}\" <<'END_OF_{name}'\n{text}END_OF_{name}\n"
