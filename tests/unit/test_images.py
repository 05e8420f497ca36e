"""Images by digest, for all constructs of an app at once."""

import json
import re
from pathlib import Path

import pytest
import yaml
from cdk8s import App, Chart, Cron, Size
from constructs import Construct

from dindcache import (
    ClaimedVolume,
    DindDaemon,
    DindFleet,
    ImageDigests,
    Monitoring,
    PruneSchedule,
    RegistryMirror,
)
from dindcache.gitlab import GitLabCi
from dindcache.pin import main

OWN = f"sha256:{'1' * 64}"
DEFAULTS = (
    "docker:29.9.3-dind",
    "docker:29.9.3-cli",
    "prom/node-exporter:v1.12.1",
    "registry.k8s.io/kubectl:v1.36.3",
    "registry:3.0.0",
)
IMAGES = [*DEFAULTS, "registry.example/docker:28.5.2-dind", "registry.example/docker:28.5.2-cli", "tools:1"]
DIGESTS = {image: f"sha256:{number:064x}" for number, image in enumerate(IMAGES)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "images.json"
    file.write_text(json.dumps(DIGESTS))
    return file


def add_everything(app: App) -> tuple[Chart, list[GitLabCi]]:
    """Add everything that has an image."""
    chart = Chart(app, "builds", namespace="builds", disable_resource_name_hashes=True)

    def volume(name: str) -> ClaimedVolume:
        return ClaimedVolume(chart, name, storage=Size.gibibytes(50))

    mirror = RegistryMirror(chart, "mirror", volume=volume("images"))
    daemon = DindDaemon(chart, "docker-dind", volume=volume("data"), monitoring=Monitoring(), mirror=mirror)
    PruneSchedule(chart, "weekly", daemon=daemon, schedule=Cron.weekly())
    PruneSchedule(chart, "daily", daemon=daemon, schedule=Cron.daily(), image="tools:1")
    DindDaemon(chart, "own", volume=volume("own-data"), image=f"docker:29.9.3-dind@{OWN}")
    fleet = DindFleet(chart, "fleet", volumes={"a": volume("a")}, image="registry.example/docker:28.5.2-dind")
    return chart, [GitLabCi(daemon=daemon), GitLabCi(daemon=fleet), GitLabCi(daemon=daemon, image="tools:1")]


def images(chart: Chart, templates: list[GitLabCi]) -> set[str]:
    """Return the images in the manifests and in the templates."""
    found: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            found.update(item for key, item in value.items() if key == "image" and isinstance(item, str))
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                walk(item)

    walk([*chart.to_json(), *(yaml.safe_load(template.template()) for template in templates)])
    return found


def test_every_image_has_its_digest(file):
    app = App()
    ImageDigests(app, "images", file=file)
    found = images(*add_everything(app))
    # The client of an image whose prop has a digest is another image.
    assert found == {f"{image}@{digest}" for image, digest in DIGESTS.items()} | {f"docker:29.9.3-dind@{OWN}"}


def test_without_it_every_image_is_as_given():
    assert images(*add_everything(App())) == {*IMAGES, f"docker:29.9.3-dind@{OWN}"}


def test_a_synth_names_every_image_without_a_digest_and_the_command_that_adds_them(file, tmp_path):
    file.unlink()
    app = App(outdir=str(tmp_path / "dist"))
    ImageDigests(app, "images", file=str(file))
    add_everything(app)
    with pytest.raises(RuntimeError) as error:
        app.synth()
    command = re.search(r"python -m dindcache.pin (\S+) ([^\n]+)", str(error.value))
    assert command, str(error.value)
    assert command[1] == str(file)
    assert sorted(command[2].split()) == sorted(IMAGES)
    assert not (tmp_path / "dist" / "builds.k8s.yaml").exists()
    main([str(file), *command[2].split(), f"--resolver=sh -c 'echo {OWN}'"])
    app = App(outdir=str(tmp_path / "dist"))
    ImageDigests(app, "images", file=str(file))
    add_everything(app)
    app.synth()


@pytest.mark.parametrize("text", ["{", "[]", '{"docker:29": "latest"}', '{"docker:29": 1}', '{"docker:29": "sha256:12"}'])
def test_a_file_of_anything_else_is_rejected(file, text):
    file.write_text(text)
    with pytest.raises(ValueError, match=r"file must (be|have) .*images\.json"):
        ImageDigests(App(), "images", file=file)


def test_it_comes_before_the_charts_and_once(file):
    app = App()
    ImageDigests(app, "images", file=file)
    with pytest.raises(ValueError, match=r"file must be the only one of an app, got .*other\.json"):
        ImageDigests(app, "other", file="other.json")
    app = App()
    Construct(app, "taken")
    with pytest.raises(ValueError, match="id must be unique in its scope, got 'taken' twice in ''"):
        ImageDigests(app, "taken", file=file)
    app = App()
    Chart(app, "builds")
    with pytest.raises(ValueError, match=r"file must be given before the first chart of the app, got .*images\.json"):
        ImageDigests(app, "images", file=file)
