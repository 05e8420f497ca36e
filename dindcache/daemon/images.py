"""The images of a daemon."""

DEFAULT_IMAGE = "docker:29.9.3-dind"
"""An exact release, so that a restart never upgrades the engine."""


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
