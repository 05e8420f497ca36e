"""The jobs that a pipeline includes to build with a daemon."""

from typing import Any

from cdk8s import Duration, Yaml

from dindcache import _check
from dindcache._scripts import read_script, read_scripts
from dindcache._typed import typed
from dindcache.daemon import DindDaemon
from dindcache.fleet import DindFleet
from dindcache.images import pinned

_SCRIPTS = ("common.sh", *(f"gitlab/{name}.sh" for name in ("wait", "docker-wrapper", "queue", "build", "clean")))
# The time in which the next engine starts, and pulls its image on an upgrade.
_START_SECONDS = 180
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
# build.sh reads each as DINDCACHE_BUILD_<NAME>. It checks the values; GitLab checks the text, which can contain variables.
_INPUTS = {
    "image": {"description": "repository to push to, without a tag", "default": "$CI_REGISTRY_IMAGE", "regex": r"^\S+$"},
    "tags": {
        "description": "further tags, with spaces between; the first is the commit's and the job's",
        "default": "",
        "regex": r"^([\w$][-\w$.{}]*( |$))*$",
    },
    "context": {"description": "directory or URL of the sources", "default": ".", "regex": r"^\S"},
    "file": {"description": "Dockerfile; by default the one in the context", "default": ""},
    "target": {"description": "stage of the Dockerfile; by default the last", "default": ""},
    "args": {
        "description": "names of the job's variables to give as build arguments, with spaces between; not for secrets",
        "default": "",
        "regex": f"^({_VARIABLE}( |$))*$",
    },
    "flags": {
        "description": "further flags of docker build, such as --platform linux/arm64 --secret id=token,env=TOKEN",
        "default": "",
    },
    "result": {
        "description": "variable in which later jobs find the image",
        "default": "DINDCACHE_IMAGE",
        "regex": r"^[A-Za-z_$][\w${}]*$",
    },
}


class GitLabCi:
    """Two hidden jobs that a pipeline extends: ``.dindcache`` for a script of its own, ``.dindcache-build`` to push an image.

    Both wait for the daemon, or report what is wrong. Their ``docker`` labels the containers, networks and volumes that it
    creates, which are removed when the job ends. It gives cache mounts a namespace of the project, and repeats a build, pull,
    push or login that a restart of the daemon interrupted. If that command cannot be repeated, the job ends with 75, and GitLab
    retries the job once. Needs GitLab 17.0.

    :param daemon: Daemon or fleet of the jobs. The Runner chooses the member of a fleet
    :param image: Image of the jobs, with ``docker`` and a shell. Defaults to the daemon's registry and release
    :param wait: Time that a job waits for a daemon that refuses or does not answer, in whole seconds. Defaults to the time in
        which an ending daemon accepts no new clients, and three minutes for the next one. A name that does not resolve and a
        certificate that does not fit are waited for 30 s
    :raises ValueError: The image is invalid, or the time is not a whole number of seconds or zero
    """

    @typed
    def __init__(self, *, daemon: DindDaemon | DindFleet, image: str | None = None, wait: Duration | None = None) -> None:
        self._image = pinned(daemon, _check.image("image", daemon.client_image if image is None else image))
        default = Duration.seconds(daemon.timing.unavailable + _START_SECONDS)
        self._wait = str(_check.whole_seconds("wait", default if wait is None else wait))
        self._max_builds = daemon.max_builds if isinstance(daemon, DindFleet) else None

    def template(self) -> str:
        """Return the text of a file to ``include``."""
        return Yaml.stringify(self._jobs())

    def component(self) -> str:
        """Return the same as a CI/CD component, ``templates/docker-build.yml``, with ``.dindcache-build`` as a job."""
        inputs = {
            "job": {"description": "name of the job", "default": "docker-build", "regex": r"^[^.\s]"},
            "stage": {"description": "of the pipeline", "default": "build", "regex": r"^\S"},
            **_INPUTS,
        }
        job = {
            "extends": ".dindcache-build",
            "stage": "$[[ inputs.stage ]]",
            "variables": {f"DINDCACHE_BUILD_{name.upper()}": f"$[[ inputs.{name} ]]" for name in _INPUTS},
        }
        return Yaml.stringify({"spec": {"inputs": inputs}}, {**self._jobs(), "$[[ inputs.job ]]": job})

    def _jobs(self) -> dict[str, Any]:
        wait = f'export DINDCACHE_WAIT="${{DINDCACHE_WAIT:-{self._wait}}}"\n'
        if self._max_builds is not None:
            wait += f'export DINDCACHE_MAX_BUILDS="{self._max_builds}"\n'
        scripts = "".join(_written(name, text) for name, text in read_scripts(*_SCRIPTS).items())
        docker = {
            "image": self._image,
            "variables": {
                "COMPOSE_PROJECT_NAME": "$CI_PROJECT_PATH_SLUG-$CI_JOB_ID",
                "DINDCACHE": "/tmp/dindcache-$CI_JOB_ID",  # noqa: S108 - mkdir refuses what is there
            },
            "before_script": [read_script("gitlab/before-script.sh").replace("# SCRIPTS\n", wait + scripts)],
            "after_script": [read_script("gitlab/after-script.sh")],
            "retry": {"max": 1, "exit_codes": [75]},
        }
        build = {
            "extends": ".dindcache",
            "script": [read_script("gitlab/build-script.sh")],
            "artifacts": {"reports": {"dotenv": "dindcache-build.env"}},
        }
        return {".dindcache": docker, ".dindcache-build": build}


def _written(name: str, text: str) -> str:
    return f"cat >\"$DINDCACHE/{name}\" <<'END_OF_{name}'\n{text}END_OF_{name}\n"
