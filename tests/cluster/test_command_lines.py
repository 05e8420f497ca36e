"""The docker of a job and the client itself, with one engine: the same arguments, output, exit codes and ends by signals."""

import re
import shlex
import time

import pytest
import yaml
from cdk8s import Duration

from dindcache import DindDaemon, SelfIssued
from dindcache._scripts import read_script
from dindcache.gitlab import GitLabCi
from tests.framework.client import Client
from tests.framework.command_lines import FILES, LINES
from tests.framework.site import Site
from tests.framework.support import REGISTRY

NAMESPACE = "dindcache-command-lines"
JOB = {
    "CI_JOB_ID": "7",
    "CI_JOB_URL": "https://gitlab.example/group/app/-/jobs/7",
    "CI_PROJECT_ID": "3",
    "CI_PROJECT_PATH_SLUG": "group-app",
    "COMPOSE_PROJECT_NAME": "group-app-7",
    "DINDCACHE": "/tmp/dindcache",
}
# What differs from run to run: IDs, times, sizes of what was sent.
VARIES = re.compile(r"[0-9a-f]{12,64}|\d+(\.\d+)?(ms|s|[kM]?B)\b|\d{4}-\d\d-\d\dT\S+")


@pytest.fixture(scope="module")
def daemon(site: Site) -> DindDaemon:
    return site.daemon(tls=SelfIssued(), drain_timeout=Duration.seconds(5))


@pytest.fixture(scope="module")
def client(site: Site, daemon: DindDaemon) -> Client:
    """A client with the job's docker, the plugin that the official image has as ``docker-compose`` too, and the files."""
    client = site.client(daemon)
    files = "".join(f"cat >{name} <<'END'\n{text}END\n" for name, text in FILES.items())
    plugins = "/usr/local/libexec/docker/cli-plugins"
    before = yaml.safe_load(GitLabCi(daemon=daemon).template())[".dindcache"]["before_script"][0]
    export = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in JOB.items())
    client.sh(
        f"""ln -sf {plugins}/docker-compose /usr/local/bin/docker-compose
docker pull -q busybox
mkdir -p /app/config
cd /app
{files}{export}{before}
export -p >/job"""
    )
    return client


def outcome(client: Client, line: str, path: str) -> str:
    """Return what a line printed and its exit code, without what differs from run to run.

    :param path: Directory of the job that has ``docker``
    """
    script = f""". /job; cd /app; PATH="$DINDCACHE/{path}:$PATH"; export AT={time.time_ns()} TOKEN=token REGISTRY={REGISTRY}
[ "$(command -v docker)" = "$DINDCACHE/{path}/docker" ]
sh -c {shlex.quote(line)} 2>&1 || echo "exit code $?"; echo end"""
    output = client.sh(script)
    print(output)  # for a test that fails
    assert output.endswith("end\n")
    # Progress comes in any order.
    return "\n".join(sorted(VARIES.sub("VARIES", output).splitlines()))


@pytest.mark.parametrize("line", LINES)
def test_a_command_line_has_the_same_outcome(client, line):
    if "$AT" not in line:
        outcome(client, line, "client")  # so that each of the two finds the cache warm
    assert outcome(client, line, "bin") == outcome(client, line, "client")


@pytest.mark.parametrize(
    ("command", "name"),
    [("docker", "docker"), ("docker compose", "compose"), ("docker-compose", "compose"), ("docker buildx", "buildx")],
)
def test_each_global_flag_with_a_value_is_known(client, command, name):
    """The client's own help names them: a flag that is new there would hide the command behind it."""
    text = (
        client.sh(f"{command} --help").replace("Global Options:", "Options:").partition("\nOptions:\n")[2].partition("\n\n")[0]
    )
    flags = re.findall(r"^ +(?:-(\w), )?--([\w-]+)( \w+)?  ", text, re.MULTILINE)
    assert len(flags) > 1
    script = read_script("gitlab/docker-wrapper.sh").replace("\\\n", "")
    long = dict(re.findall(r'^dindcache_flags_of_(\w+)="?([^"\n]+)', script, re.MULTILINE))[name].split()
    short = dict(re.findall(r"^    (\w+)\) .*dindcache_short=(\w+)", script, re.MULTILINE)).get(name, "")
    for letter, word, value in flags:
        assert (word in long) is bool(value), word
        assert not letter or (letter in short) is bool(value), letter


def test_each_name_of_a_command_that_gets_a_flag_is_known(client):
    """The client's own help has the aliases of each."""
    script = read_script("gitlab/docker-wrapper.sh")
    for command in ("run", "create", "build", "pull", "push", "buildx build", "buildx bake", "network create", "volume create"):
        aliases = re.search(r"Aliases:\n +(.*)", client.sh(f"docker {command} --help"))
        for alias in aliases[1].split(", ") if aliases else [f"docker {command}"]:
            *_, level, word = alias.split()
            assert f'"{"buildx" if level == "builder" else level} {word}"' in script, alias
