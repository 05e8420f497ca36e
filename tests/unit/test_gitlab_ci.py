"""The jobs that a pipeline includes."""

import re
import subprocess

import pytest
import yaml
from cdk8s import Duration, Size

from dindcache import ClaimedVolume, DindDaemon, DindFleet
from dindcache._scripts import read_script
from dindcache.gitlab import GitLabCi


@pytest.fixture
def daemon(chart):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    image = "registry.example/docker:28.5-dind"
    return DindDaemon(chart, "docker-dind", volume=volume, image=image, drain_timeout=Duration.minutes(10))


def test_gitlab_accepts_it(daemon, tmp_path):
    ci = GitLabCi(daemon=daemon)
    for i, text in enumerate([ci.template(), *ci.component().split("\n---\n")]):
        (tmp_path / f"{i}.yml").write_text(text)
    command = ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", *tmp_path.iterdir()]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_component_hands_each_input_to_the_build(daemon):
    header, jobs = yaml.safe_load_all(GitLabCi(daemon=daemon).component())
    variables = jobs["$[[ inputs.job ]]"]["variables"]
    given = {value.removeprefix("$[[ inputs.").removesuffix(" ]]") for value in variables.values()}
    assert given == header["spec"]["inputs"].keys() - {"job", "stage"}
    assert all(f"{{{name}-" in read_script("gitlab/build.sh") for name in variables)


def test_a_job_waits_as_long_as_a_daemon_rejects_clients(daemon):
    def wait(ci: GitLabCi) -> str:
        (match,) = re.findall(r"DINDCACHE_WAIT:-(\d+)", ci.template())
        return str(match)

    assert wait(GitLabCi(daemon=daemon)) == str(300 + 60 + 180)
    assert wait(GitLabCi(daemon=daemon, wait=Duration.minutes(1))) == "60"


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"image": ""}, "image must be an image such as .* got ''"),
        ({"image": "docker cli"}, "image must be an image such as .* got 'docker cli'"),
        ({"wait": Duration.seconds(0)}, "wait must be a whole number of seconds, from 1 .* got 0 s"),
        ({"wait": Duration.millis(1500)}, "wait must be a whole number of seconds, .* got 1.5 s"),
    ],
)
def test_bad_input_is_rejected(daemon, props, message):
    with pytest.raises(ValueError, match=message):
        GitLabCi(daemon=daemon, **props)


def test_the_image_is_of_the_daemons_registry_and_release(daemon):
    def image(ci: GitLabCi) -> str:
        name: str = yaml.safe_load(ci.template())[".dindcache"]["image"]
        return name

    assert image(GitLabCi(daemon=daemon)) == "registry.example/docker:28.5-cli"
    assert image(GitLabCi(daemon=daemon, image="registry.example/ci:1")) == "registry.example/ci:1"


@pytest.mark.parametrize("most", [None, 3])
def test_the_limit_of_a_fleet(chart, daemon, most):
    volumes = {"a": ClaimedVolume(chart, "a", storage=Size.gibibytes(1))}
    fleet = DindFleet(chart, "fleet", volumes=volumes, max_builds=most)
    assert ('export DINDCACHE_MAX_BUILDS="3"\n' in GitLabCi(daemon=fleet).template()) is (most is not None)
    assert "export DINDCACHE_MAX_BUILDS" not in GitLabCi(daemon=daemon).template()
