"""The images of an app: their names, and the digests that replace what a tag is today."""

import json
import re
import shlex
from pathlib import Path

import jsii
from cdk8s import Chart
from constructs import Construct, IConstruct, IValidation

from dindcache._names import check_id
from dindcache._typed import typed

DEFAULT_IMAGE = "docker:29.9.3-dind"
"""An exact release, so that a restart never upgrades the engine."""

# By app. This keeps a reference to each app for the life of the process, as jsii itself does.
_digests: dict[IConstruct, "ImageDigests"] = {}


@jsii.implements(IValidation)
class ImageDigests(Construct):
    """The digests of all images of the app's constructs, from a file: each pod, job and template has ``image:tag@digest``.

    Create it before the first chart. ``python -m dindcache.pin FILE IMAGE…`` writes the file. An image whose prop has a digest
    keeps that one.

    :param file: Path of a JSON file such as ``{"docker:29.9.3-dind": "sha256:…"}``. A missing file has no digests yet
    :raises ValueError: The file is not such a file, or the app already has charts or other digests
    :raises RuntimeError: At synth, if an image has no digest. The message is the command that adds it
    """

    file: str
    """Path of the file."""

    @typed
    def __init__(self, scope: Construct, id: str, *, file: str | Path) -> None:
        if scope.node.root in _digests:
            raise ValueError(f"file must be the only one of an app, got {str(file)!r} after {_digests[scope.node.root].file!r}")
        if any(Chart.is_chart(child) for child in scope.node.root.node.children):
            raise ValueError(f"file must be given before the first chart of the app, got {str(file)!r} after it")
        digests = read_digests(Path(file))
        check_id(scope, id)

        super().__init__(scope, id)
        self.file = str(file)
        self._found, self._missing = digests, dict[str, None]()
        _digests[scope.node.root] = self
        self.node.add_validation(self)

    def pin(self, image: str) -> str:
        """Return an image with its digest."""
        if image in self._found:
            return f"{image}@{self._found[image]}"
        self._missing[image] = None
        return image

    @jsii.member(jsii_name="validate")
    def validate(self) -> list[str]:
        """Return the images without a digest as an error, all at once."""
        if not self._missing:
            return []
        command = shlex.join(["python", "-m", "dindcache.pin", self.file, *self._missing])
        return [f"{self.file} must have the digest of each image: {command}"]


def read_digests(file: Path) -> dict[str, str]:
    """Return the digests of images by their names, none if the file does not exist.

    :raises ValueError: The file has anything else
    """
    try:
        digests = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"file must be JSON, got {str(file)!r}: {error}") from None
    if not isinstance(digests, dict) or not all(isinstance(value, str) and is_digest(value) for value in digests.values()):
        raise ValueError(f"file must have a digest such as 'sha256:…' by the name of each image, got {str(file)!r}")
    return digests


def is_digest(text: str) -> bool:
    """Return whether a text is the digest of an image."""
    return re.fullmatch(r"sha256:[0-9a-f]{64}", text) is not None


def pinned(scope: Construct, image: str) -> str:
    """Return an image with the digest that the app has for it, if the app has digests."""
    digests = _digests.get(scope.node.root)
    return digests.pin(image) if digests and "@" not in image else image


def client_image(image: str) -> str:
    """Return the client image for an engine's image: the same registry and release, with ``-cli`` for ``-dind``.

    Without ``dind`` in the tag, it is the engine's image itself, which also contains a client.
    """
    name, _, tag = image.partition("@")[0].rpartition(":")
    parts = tag.split("-")
    if "/" in tag or "dind" not in parts:
        return image
    parts[parts.index("dind")] = "cli"
    return f"{name}:{'-'.join(parts)}"
