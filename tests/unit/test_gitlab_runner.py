"""The configuration of a Runner: what is merged in, and what stays."""

import difflib
from typing import Any

import pytest
import tomli
import yaml
from cdk8s import Size

from dindcache import CertManager, ClaimedVolume, DindDaemon, GivenSecrets, NoTls, SelfIssued
from dindcache.gitlab import GitLabRunner

OTHERS = """concurrent = 10   # jobs
check_interval=0

[[runners]]
  name = "shell"
  executor = "shell"   # leave me

[[runners]]
  name = "k8s"
  url = "https://gitlab.example"
  token = "glrt-xxx"
  executor = "kubernetes"
  environment = [ "A=1",  # one
    "DOCKER_HOST=tcp://docker:2375" ]
  [runners.cache]
    Type   =   "s3"
  [runners.kubernetes]
    image = "alpine"
    privileged = true     # was needed

    [runners.kubernetes.pod_labels]
      team="ci"
    [[runners.kubernetes.volumes.pvc]]
      name = "cache"
      mount_path = "/cache"
    [[runners.kubernetes.volumes.secret]]
      name = "maven"
      mount_path = "/root/.m2"

# the last one
[[runners]]
  name = "other"
  executor = "docker"
"""


@pytest.fixture
def runner(chart):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(client_namespaces=["gitlab"]))
    return GitLabRunner(daemon=daemon, namespace="gitlab")


def only(config: str, name: str | None = None) -> Any:
    (runner,) = (runner for runner in tomli.loads(config)["runners"] if name in {None, runner.get("name")})
    return runner


def test_the_configuration(runner):
    found = only(runner.config())
    assert found["executor"] == "kubernetes"
    assert found["environment"] == [
        "DOCKER_HOST=tcp://docker-dind.kube-ops.svc:2376",
        "DOCKER_TLS_VERIFY=1",
        "DOCKER_CERT_PATH=/certs/client",
    ]
    files = {name: name for name in ("ca.pem", "cert.pem", "key.pem")}
    secret = {"name": "docker-dind--kube-ops-client", "mount_path": "/certs/client", "read_only": True, "items": files}
    assert found["kubernetes"] == {
        "namespace": "gitlab",
        "privileged": False,
        "pod_labels": {"dindcache/client": "true"},
        "volumes": {"secret": [secret]},
    }


def test_helm_values_have_the_same(runner):
    assert yaml.safe_load(runner.helm_values()) == {"runners": {"config": runner.config()}}


def test_merged_changes_its_own_and_nothing_else(runner):
    merged = runner.merged(OTHERS, name="k8s")
    lines = [line for line in difflib.ndiff(OTHERS.splitlines(), merged.splitlines()) if line[0] in "+-"]
    assert [line[2:].strip() for line in lines if line[0] == "-"] == [
        '"DOCKER_HOST=tcp://docker:2375" ]',
        "privileged = true     # was needed",
    ]
    assert "    privileged = false     # was needed" in merged.splitlines()
    found, wanted = only(merged, "k8s"), only(runner.config())
    assert found["environment"] == ["A=1", *wanted["environment"]]
    assert found["kubernetes"]["pod_labels"] == {"team": "ci", "dindcache/client": "true"}
    assert found["kubernetes"]["volumes"]["secret"][1:] == wanted["kubernetes"]["volumes"]["secret"]
    assert runner.merged(merged, name="k8s") == merged


@pytest.mark.parametrize(
    "config",
    [
        '[[runners]]\nexecutor = "kubernetes"\n',
        '[[runners]]\nexecutor="kubernetes"\n[runners.kubernetes]\nnamespace="gitlab"\n',
        '[[runners]]\nexecutor = "kubernetes"\nenvironment = []\n[[runners]]\nexecutor = "shell"\n',
    ],
)
def test_merged_twice_is_merged_once(runner, config):
    merged = runner.merged(config)
    kubernetes = [found for found in tomli.loads(merged)["runners"] if found["executor"] == "kubernetes"]
    assert kubernetes == tomli.loads(runner.config())["runners"]
    assert runner.merged(merged) == merged


def test_another_daemon_takes_the_place_of_the_first(chart, runner):
    volume = ClaimedVolume(chart, "other-docker", storage=Size.gibibytes(1))
    other = DindDaemon(chart, "other", volume=volume, tls=SelfIssued(client_namespaces=["gitlab"]))
    found = only(GitLabRunner(daemon=other, namespace="gitlab").merged(runner.config()))
    assert found["environment"][-1] == "DOCKER_HOST=tcp://other.kube-ops.svc:2376"
    assert [volume["name"] for volume in found["kubernetes"]["volumes"]["secret"]] == ["other--kube-ops-client"]


def test_other_key_names_are_mapped(chart):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=CertManager())
    (secret,) = only(GitLabRunner(daemon=daemon, namespace="kube-ops").config())["kubernetes"]["volumes"]["secret"]
    assert secret["name"] == "docker-dind-client"
    assert secret["items"] == {"ca.crt": "ca.pem", "tls.crt": "cert.pem", "tls.key": "key.pem"}


def test_without_tls_there_is_no_certificate(chart):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=NoTls())
    found = only(GitLabRunner(daemon=daemon, namespace="gitlab").config())
    assert found["environment"] == ["DOCKER_HOST=tcp://docker-dind.kube-ops.svc:2375"]
    assert "volumes" not in found["kubernetes"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("no = toml = at all", "config must be TOML, got "),
        ("concurrent = 1\n", r"config must have one runner .* got \[\]"),
        ('[[runners]]\nexecutor = "shell"\n', r"config must have one runner .* got \[\]"),
        (
            '[[runners]]\nname = "a"\nexecutor = "kubernetes"\n[[runners]]\nname = "b"\nexecutor = "kubernetes"\n',
            r"config must have one runner .* got \['a', 'b'\]",
        ),
        (
            'runners = [{ executor = "kubernetes" }]\n',
            r"config must have a table \[runners.kubernetes\], not an inline one, got",
        ),
        (
            '[[runners]]\nexecutor = "kubernetes"\n[runners.kubernetes]\nnamespace = "ci"\n',
            "namespace in config must be 'gitlab', got 'ci'",
        ),
        (
            '[[runners]]\nexecutor = "kubernetes"\n[[runners.kubernetes.services]]\nname = "docker:29-dind"\n',
            "services in config must start no daemon of their own, got 'docker:29-dind'",
        ),
        ('[runners]\nexecutor = "kubernetes"\n', r"runners in config must be a list of tables, such as \[\[runners\]\], got "),
        ("runners = 5\n", "runners in config must be a list of tables, .* got 5"),
        *(
            (f'[[runners]]\nexecutor = "kubernetes"\n{line}\n', f"runners.{key} in config must be {message}")
            for line, key, message in [
                ('environment = "A=b"', "environment", "a list of strings, got 'A=b'"),
                ("environment = [1]", "environment", "a string, got 1"),
                ("kubernetes = 1", "kubernetes", "a table, got 1"),
                ("[runners.kubernetes]\nnamespace = 1", "kubernetes.namespace", "a string, got 1"),
                ('[runners.kubernetes]\nservices = ["docker:dind"]', "kubernetes.services", "a table, got 'docker:dind'"),
                ("[runners.kubernetes]\nvolumes = []", "kubernetes.volumes", r"a table, got \[\]"),
                ("[runners.kubernetes]\npod_labels = []", "kubernetes.pod_labels", r"a table, got \[\]"),
                ("[runners.kubernetes.volumes.secret]", "kubernetes.volumes.secret", "a list of tables, .* got {}"),
            ]
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_rejected(runner, config, message):
    with pytest.raises(ValueError, match=message):
        runner.merged(config)


def test_a_namespace_without_a_certificate_is_rejected(chart):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=GivenSecrets(server="server", client="my.client"))
    with pytest.raises(ValueError, match="daemon 'docker-dind' issues no client certificate in namespace 'gitlab'"):
        GitLabRunner(daemon=daemon, namespace="gitlab")
    with pytest.raises(ValueError, match="namespace must be .* got 'Gitlab'"):
        GitLabRunner(daemon=daemon, namespace="Gitlab")
    with pytest.raises(ValueError, match=r"name of the client Secret must be .* got 'my\.client'"):
        GitLabRunner(daemon=daemon, namespace="kube-ops")
