"""The configuration of a Runner: what is merged in, and what stays."""

import difflib
from typing import Any

import pytest
import tomli
import yaml
from cdk8s import Size

from dindcache import CertManager, ClaimedVolume, DindDaemon, DindFleet, GivenSecrets, NoTls, SelfIssued
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
    hook = found["kubernetes"].pop("container_lifecycle")["pre_stop"]["exec"]["command"]
    assert hook[:2] == ["sh", "-c"]
    assert found["kubernetes"] == {
        "namespace": "gitlab",
        "privileged": False,
        "pod_labels": {"dindcache/client": "true"},
        "volumes": {"secret": [secret]},
    }


def test_helm_values_have_the_same_and_what_the_chart_has(runner):
    runners = yaml.safe_load(runner.helm_values())["runners"]
    assert runners["jobNamespace"] == "gitlab"
    found = only(runners["config"])
    assert found["kubernetes"].pop("image") == "alpine"
    assert {"executor": "kubernetes", **found} == only(runner.config())
    assert "{{" not in runners["config"]  # which the chart evaluates


# What people have: the values of the chart, and GitLab's page on Docker-in-Docker.
CHART = """[[runners]]
  [runners.kubernetes]
    namespace = "{{ default .Release.Namespace .Values.runners.jobNamespace }}"
    image = "alpine"
"""
DIND = """[[runners]]
  name = "dind"
  executor = "kubernetes"
  [runners.kubernetes]
    image = "ubuntu:24.04"
    privileged = true
    [[runners.kubernetes.volumes.empty_dir]]
      name = "docker-certs"
      mount_path = "/certs/client"
      medium = "Memory"
"""


def test_the_configuration_of_the_chart_is_merged(runner):
    merged = runner.merged(CHART)
    found = only(merged)
    assert found["kubernetes"]["namespace"] == "gitlab"
    assert found["kubernetes"]["image"] == "alpine"
    assert "executor" not in found
    assert runner.merged(merged) == merged


@pytest.mark.parametrize("path", ["/certs/client", "/certs/client/", "/certs//client"])
@pytest.mark.parametrize("kind", ["empty_dir", "host_path", "pvc", "config_map", "csi", "nfs", "secret"])
def test_a_volume_in_the_place_of_the_certificate_gives_way(runner, kind, path):
    config = DIND.replace("empty_dir", kind).replace('"/certs/client"', f'"{path}"')
    config += f'    [[runners.kubernetes.volumes.{kind}]]\n      name = "cache"\n      mount_path = "/cache"\n'
    merged = runner.merged(config)
    volumes = [volume for kinds in only(merged)["kubernetes"]["volumes"].values() for volume in kinds]
    assert sorted((volume["name"], volume["mount_path"]) for volume in volumes) == [
        ("cache", "/cache"),
        ("docker-dind--kube-ops-client", "/certs/client"),
    ]
    assert runner.merged(merged) == merged


@pytest.mark.parametrize("other", ["a", "b"])
def test_of_several_volumes_in_the_place_of_the_certificate_one_is_left(runner, other):
    extra = '    [[runners.kubernetes.volumes.{}]]\n      name = "{}"\n      mount_path = "/certs/client/"\n'
    merged = runner.merged(DIND + extra.format("secret", "a") + extra.format("secret", other) + extra.format("pvc", "c"))
    assert only(merged)["kubernetes"]["volumes"].keys() == {"secret"}
    assert only(merged)["kubernetes"]["volumes"] == only(runner.config())["kubernetes"]["volumes"]
    assert runner.merged(merged) == merged


def test_a_script_and_a_hook_of_their_own_stay(chart, runner):
    config = """[[runners]]
executor = "kubernetes"
pre_build_script = "echo mine"
[runners.kubernetes.container_lifecycle.pre_stop.exec]
command = ["sleep", "5"]
"""
    merged = runner.merged(config)
    found = only(merged)
    assert found["pre_build_script"].endswith("# dindcache: end\necho mine")
    assert found["kubernetes"]["container_lifecycle"]["pre_stop"]["exec"]["command"][3:] == ["dindcache", "sleep", "5"]
    assert runner.merged(merged) == merged
    volume = ClaimedVolume(chart, "other-docker", storage=Size.gibibytes(1))
    other = DindDaemon(chart, "other", volume=volume, tls=SelfIssued(client_namespaces=["gitlab"]))
    script = only(GitLabRunner(daemon=other, namespace="gitlab").merged(merged))["pre_build_script"]
    assert script.count("dindcache_host=") == 1
    assert "dindcache_host=tcp://other.kube-ops.svc:2376 " in script


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


OLD = """[[runners]]
executor = "kubernetes"
pre_build_script = "# dindcache: the daemon of this Runner\\nold # dindcache: end\\n"
"""


@pytest.mark.parametrize(
    "config",
    [
        '[[runners]]\nexecutor = "kubernetes"\n',
        '[[runners]]\nexecutor="kubernetes"\n[runners.kubernetes]\nnamespace="gitlab"\n',
        '[[runners]]\nexecutor = "kubernetes"\nenvironment = []\n[[runners]]\nexecutor = "shell"\n',
        OLD,
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
        (f"{CHART}{CHART}", r"config must have one runner .* got \['', ''\]"),
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
        *(
            (f"{DIND}[[runners.kubernetes.services]]\n{service}\n", f"services in config must start no daemon .* got {got}")
            for service, got in [
                ('name = "docker:29"', "'docker:29'"),
                ('name = "registry.example:5000/docker"', "'registry.example:5000/docker'"),
                ('name = "registry.example/our-dind@sha256:0"', "'registry.example/our-dind@sha256:0'"),
                ('name = "ours"\nalias = "docker"', "'ours'"),
            ]
        ),
        (
            f'{DIND}[[runners.kubernetes.volumes.pvc]]\nname = "docker-dind--kube-ops-client"\nmount_path = "/mine"\n',
            r"volumes\.pvc in config must not have a second volume of the name 'docker-dind--kube-ops-client', got it",
        ),
        (DIND.replace("executor", 'shell = "pwsh"\nexecutor'), "shell in config must be 'bash' or 'sh', got 'pwsh'"),
        (
            f"{DIND}[runners.kubernetes.container_lifecycle.pre_stop.http_get]\nport = 80\n",
            r"container_lifecycle\.pre_stop in config must be an exec hook or none, got 'http_get'",
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
                ("pre_build_script = 1", "pre_build_script", "a string, got 1"),
                ("shell = 1", "shell", "a string, got 1"),
                ("[runners.kubernetes]\ncontainer_lifecycle = 1", "kubernetes.container_lifecycle", "a table, got 1"),
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


@pytest.fixture
def fleet_runner(chart):
    volumes = {f"node{i}": ClaimedVolume(chart, f"docker-{i}", storage=Size.gibibytes(1)) for i in (1, 2)}
    fleet = DindFleet(chart, "fleet", volumes=volumes, tls=SelfIssued(client_namespaces=["gitlab"]), weights={"node2": 3})
    return GitLabRunner(daemon=fleet, namespace="gitlab")


def test_the_configuration_for_a_fleet(fleet_runner):
    found = only(fleet_runner.config())
    assert found["environment"] == ["DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/certs/client"]
    (secret,) = found["kubernetes"]["volumes"]["secret"]
    assert secret["name"] == "fleet--kube-ops-client"
    assert (
        "dindcache_members='node1 1 tcp://fleet-node1.kube-ops.svc:2376\nnode2 3 tcp://fleet-node2.kube-ops.svc:2376'\n"
        "dindcache_failover=60\n"
    ) in found["pre_build_script"]


def test_a_daemon_gives_way_to_a_fleet_and_back(runner, fleet_runner):
    config, fleet_config = runner.merged(OTHERS), fleet_runner.merged(OTHERS)
    assert "DOCKER_HOST=" not in str(only(fleet_config, "k8s")["environment"])
    assert fleet_runner.merged(fleet_config) == fleet_config
    assert only(fleet_runner.merged(config), "k8s") == only(fleet_config, "k8s")
    assert sorted(only(runner.merged(fleet_config), "k8s")["environment"]) == sorted(only(config, "k8s")["environment"])


def test_the_chart_takes_the_text_as_it_is(runner, fleet_runner):
    """The chart renders it as a template of Helm."""
    assert "{{" not in runner.config() + fleet_runner.config()
