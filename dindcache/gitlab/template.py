"""What a pipeline includes to build with a daemon."""

from pathlib import Path
from typing import Any

from cdk8s import Duration, Yaml

from dindcache import _check
from dindcache.daemon import DindDaemon

_SCRIPTS = Path(__file__).parent.parent / "scripts" / "gitlab"
# For the next engine to start, its image pulled on an upgrade.
_START_SECONDS = 180
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
# What build.sh reads as DOCKER_BUILD_<NAME>. It checks the values, GitLab what is written: there may be variables in it.
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


class GitLabTemplate:
    """Two hidden jobs to extend: ``.docker`` for a script of one's own, ``.docker-build`` to build an image and push it.

    Both wait for the daemon, or say what is wrong. Their ``docker`` labels the containers, networks and volumes that it makes,
    which are removed when the job ends, gives cache mounts a namespace of the project, and does again what a restart of
    the daemon broke. What cannot be done twice ends the job with 75, on which GitLab tries it once more. Needs GitLab 17.0.

    :param daemon: which one
    :param image: of the jobs, with ``docker`` and a shell; by default the release of the daemon's default
    :param wait: for a daemon that refuses or does not answer, in whole seconds; by default the time in which one that ends
        takes no new clients, and three minutes for the next. A name that is not found and a certificate that does not fit
        are waited for 30 s
    :raises ValueError: the image is no word, or the wait is no whole number of seconds or none at all
    """

    def __init__(self, *, daemon: DindDaemon, image: str = "docker:29.9.3-cli", wait: Duration | None = None) -> None:
        if [image] != image.split():
            raise ValueError(f"image must be one such as 'docker:29.9.3-cli', got {image!r}")
        seconds = daemon.closed_seconds + _START_SECONDS if wait is None else _check.some_seconds("wait", wait)
        self._image = image
        self._wait = str(seconds)

    def template(self) -> str:
        """The file to ``include``."""
        return Yaml.stringify(self._jobs())

    def component(self) -> str:
        """The same as a CI/CD component, with ``.docker-build`` as a job: ``templates/docker-build.yml`` of its project."""
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
                *(_written(name) for name in ("wait.sh", "docker.sh", "build.sh", "clean.sh")),
                _read("begin.sh"),
            ],
            "after_script": [_read("end.sh")],
            "retry": {"max": 1, "exit_codes": [75]},
        }
        build = {
            "extends": ".docker",
            "script": ['sh "$DINDCACHE/build.sh"'],
            "artifacts": {"reports": {"dotenv": "docker-build.env"}},
        }
        return {".docker": docker, ".docker-build": build}


def _read(name: str) -> str:
    return (_SCRIPTS / name).read_text()


def _written(name: str) -> str:
    return f"cat >\"$DINDCACHE/{name}\" <<'END_OF_{name}'\n{_read(name)}END_OF_{name}\n"
