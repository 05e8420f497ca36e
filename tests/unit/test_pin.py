"""The command that writes the digests of images."""

import json
from pathlib import Path

import pytest

from dindcache.pin import main

OLD, NEW = (f"sha256:{digit * 64}" for digit in "12")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "images.json"
    file.write_text(json.dumps({"docker:29.9.3-dind": OLD, "registry:3.0.0": OLD}))
    return file


@pytest.fixture
def resolver(tmp_path: Path) -> str:
    """Command that knows an image whose name begins with docker, and asks with the image as its last word."""
    program = tmp_path / "resolve"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = digest ] || exit 2\ncase $2 in docker:*) echo {NEW} ;; *) echo no >&2; exit 1 ;; esac\n'
    )
    program.chmod(0o755)
    return f"--resolver={program} digest"


def test_it_adds_images_and_keeps_the_others(file, resolver, capsys):
    main([str(file), resolver, "docker:29.9.3-cli"])
    assert json.loads(file.read_text()) == {
        "docker:29.9.3-cli": NEW,
        "docker:29.9.3-dind": OLD,
        "registry:3.0.0": OLD,
    }
    assert capsys.readouterr().out == f"docker:29.9.3-cli {NEW} (new)\n"


def test_without_images_it_looks_all_up_again_or_none(file, resolver, capsys):
    before = file.read_text()
    with pytest.raises(SystemExit):
        main([str(file), resolver])
    assert "resolve digest registry:3.0.0 must print a digest, got '' and 'no'" in capsys.readouterr().err
    assert file.read_text() == before
    main([str(file), f"--resolver=sh -c 'echo {NEW}'"])
    assert set(json.loads(file.read_text()).values()) == {NEW}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["docker"], "must print a digest"),
        (["Docker:29"], "IMAGE must be an image such as"),
        ([f"docker:29@{OLD}"], "IMAGE must have a tag and no digest"),
        (["docker:29", "--resolver=/nowhere/crane digest"], "--resolver must be a command"),
        (["docker:29", "--resolver=echo latest"], "must print a digest, got 'latest docker:29'"),
    ],
)
def test_a_mistake_changes_nothing(file, resolver, capsys, arguments, message):
    before = file.read_text()
    with pytest.raises(SystemExit):
        main([str(file), resolver, *arguments])
    assert message in capsys.readouterr().err
    assert file.read_text() == before
    assert list(file.parent.glob("*.new")) == []
