"""``python -m dindcache.pin FILE [IMAGE…]``: write the digests that images have now to the file of `ImageDigests`.

Without images, those of the file are looked up again. Nothing is written unless every image has a digest.
"""

import argparse
import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dindcache import _check
from dindcache.images import is_digest, read_digests

_DESCRIPTION = "Write the digests that images have now, all or none. Without images, those of the file are looked up again."
_RESOLVER = "docker buildx imagetools inspect --format {{.Manifest.Digest}}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m dindcache.pin", description=_DESCRIPTION)
    parser.add_argument("file", type=Path, help="JSON file with the digest of each image")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="image with its tag, such as docker:29.9.3-dind")
    parser.add_argument(
        "--resolver",
        default=_RESOLVER,
        metavar="COMMAND",
        help=f"command that prints the digest of the image that follows it, such as 'crane digest'. Defaults to {_RESOLVER!r}",
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        digests = read_digests(options.file)
        found = {name: _resolve(options.resolver, _tagged(name)) for name in options.images or digests}
    except ValueError as error:
        parser.error(str(error))
    for name, digest in found.items():
        print(name, digest, "" if digests.get(name) == digest else "(new)")
    _write(options.file, {**digests, **found})


def _tagged(image: str) -> str:
    if "@" in image:
        raise ValueError(f"IMAGE must have a tag and no digest, got {image!r}")
    return _check.image("IMAGE", image)


def _resolve(resolver: str, image: str) -> str:
    command = [*shlex.split(resolver), image]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise ValueError(f"--resolver must be a command, got {resolver!r}: {error}") from None
    digest = done.stdout.strip()
    if done.returncode or not is_digest(digest):
        raise ValueError(f"{shlex.join(command)} must print a digest, got {digest!r} and {done.stderr.strip()!r}")
    return digest


def _write(file: Path, digests: dict[str, str]) -> None:
    # At once: half a file would be no JSON.
    new = file.with_name(f"{file.name}.new")
    new.write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")
    new.replace(file)


if __name__ == "__main__":
    main()
