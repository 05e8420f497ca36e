"""A docker whose engine is a file, for the scripts that remove objects. It rejects what an engine would reject."""

import fcntl
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

State = dict[str, Any]
KINDS = ("container", "network", "volume", "image")
KEEP = "dindcache.keep"


class Engine:
    """The engine as tests fill and read it.

    :param path: File with its state
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self) -> None:
        """Create the state of an engine without objects."""
        kinds: State = {kind: {} for kind in KINDS}
        self.path.write_text(json.dumps({**kinds, "references": {}, "events": [], "is_full": False}))

    def read(self) -> State:
        """Return the state."""
        with self.path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            state: State = json.load(file)
        return state

    @contextmanager
    def change(self) -> Iterator[State]:
        """Read the state, and write it at the end."""
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            state: State = json.load(file)
            yield state
            file.seek(0)
            file.truncate()
            json.dump(state, file)

    def add(self, kind: str, id: str, created: str, **fields: Any) -> None:
        """Add an object.

        :param created: Time of the creation as the engine prints it; for an image, that of its last tag
        :param fields: ``labels``; for a container, ``name``, ``image``, ``volumes``, ``networks``, ``execs`` and
            ``is_started``; for a network, ``name``; for an image, ``names`` and ``layers``
        """
        with self.change() as state:
            state[kind][id] = {"created": created, "labels": {}, **fields}

    def emit(self, *lines: str) -> None:
        """Emit events, each as the scripts' format prints it."""
        with self.change() as state:
            state["events"] += lines

    def left(self, kind: str) -> set[str]:
        """Return the remaining IDs of a kind, without the record of use."""
        return {name for name in self.read()[kind] if not name.startswith(("dindcache-last-used-", "dindcache-prune-"))}

    def record(self) -> dict[str, int]:
        """Return the record of use, from all volumes that have it."""
        record: dict[str, int] = {}
        for volume in self.read()["volume"].values():
            if "dindcache.last-used" in volume["labels"]:
                record |= {key: int(value) for key, value in volume["labels"].items() if key != KEEP}
        return record

    def docker(self, answers: str = "") -> str:
        """Return the text of a program ``docker``.

        :param answers: Cases of a shell ``case`` on ``"$*"`` that it answers differently
        """
        return f'case "$*" in\n{answers}\nesac\nexec {sys.executable} -IS {Path(__file__)} {self.path} "$@"'


def fail(*errors: str) -> NoReturn:
    sys.exit("\n".join(f"Error response from daemon: {error}" for error in errors))


def find(state: State, kind: str, name: str) -> str | None:
    """Return the ID of an object."""
    objects = state[kind]
    if name in objects:
        return name
    if kind == "image":
        names = {name, f"{name}:latest"}
        return next((key for key, image in objects.items() if names & set(image["names"])), None)
    return None


def missing(kind: str, name: str) -> str:
    texts = {"network": f"network {name} not found", "volume": f"get {name}: no such volume"}
    return texts.get(kind, f"No such {kind}: {name}")


def listed(state: State, kind: str, options: Sequence[str]) -> Iterator[str]:
    """Return the IDs that ``ls`` prints."""
    filters = [value for option, value in pairwise(options) if option == "--filter"]
    networks = {value.removeprefix("network=") for value in filters if value.startswith("network=")}
    for key, found in state[kind].items():
        labels = [value.removeprefix("label=") for value in filters if value.startswith("label=")]
        if not all(label in found["labels"] for label in labels):
            continue
        if networks and not networks & set(found.get("networks", ())):
            continue
        if any(key not in state["references"].get(value[10:], ()) for value in filters if value.startswith("reference=")):
            continue
        has_tag = any("@" not in name for name in found.get("names", ()))
        if "dangling=true" in filters and (has_tag if kind == "image" else is_used(state, kind, key)):
            continue
        # The client of Docker 29 does not list images without a tag.
        if kind == "image" and not has_tag and "--all" not in options and "dangling=true" not in filters:
            continue
        yield key


def is_used(state: State, kind: str, id: str) -> bool:
    """Return whether a container uses an object. Networks of containers that have not started do not count."""
    if kind == "network":
        return any(id in found.get("networks", ()) for found in state["container"].values() if found.get("is_started", True))
    return any(id == found.get(kind) or id in found.get(f"{kind}s", ()) for found in state["container"].values())


def line(kind: str, id: str, found: Mapping[str, Any]) -> str:
    """Return the line that the format of ``list_unused`` prints."""
    names = {"network": [found.get("name", id)], "volume": [id], "image": found.get("names", ())}
    if kind == "container":
        name = found.get("name", id)
        words = [name, *([str(found.get("execs", 0))] if name.startswith("buildx_buildkit_") else [])]
    else:
        layers = ["/" + "".join(f"{layer:.12}/" for layer in found.get("layers", ()))] if kind == "image" else []
        words = [*layers, *names[kind], *(["anonymous"] if "com.docker.volume.anonymous" in found["labels"] else [])]
    return " ".join([found["created"], id, *words])


def inspect(state: State, kind: str, form: str, names: Sequence[str]) -> None:
    formats: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
        r"\{\{\.(ID|Name)\}\}": lambda key, _: key,
        r"image\.\{\{\.ID\}\} \d+": lambda key, _: form.replace("{{.ID}}", key),
        r"image \{\{\.Image\}\}.*\.Mounts.*": lambda _, found: "\n".join(
            [f"image {found['image']}", *(f"volume {volume}" for volume in found.get("volumes", ()))]
        ),
        r"\{\{range \$key, \$\w+ := \.Labels\}\}.*": lambda _, found: "\n".join(
            f"{key} {value}" for key, value in found["labels"].items()
        ),
        r"\{\{.*\}\} \{\{\.(ID|Name)\}\}.*": lambda key, found: line(kind, key, found),
    }
    show_object = next((show for pattern, show in formats.items() if re.fullmatch(pattern, form)), None)
    if show_object is None:
        sys.exit(f"docker: unknown format {form!r}")
    lines, errors = [], []
    for name in names:
        key = find(state, kind, name)
        if key is None:
            errors.append(missing(kind, name))
            continue
        lines.append(show_object(key, state[kind][key]))
    show(lines)
    if errors:
        fail(*errors)


def remove(state: State, kind: str, options: Sequence[str]) -> list[str]:
    """Remove objects, and return the errors."""
    errors = []
    for name in (option for option in options if not option.startswith("--")):
        key = find(state, kind, name)
        if key is None:
            errors += [] if "--force" in options else [missing(kind, name)]
        elif error := refusal(state, kind, key, name, options):
            errors.append(error)
        elif kind == "image" and name != key and len(state[kind][key]["names"]) > 1:
            state[kind][key]["names"].remove(name)
        else:
            found = state[kind].pop(key)
            for volume in found.get("volumes", ()) if "--volumes" in options else ():
                if "com.docker.volume.anonymous" in state["volume"].get(volume, {"labels": ()})["labels"]:
                    del state["volume"][volume]
    return errors


def refusal(state: State, kind: str, key: str, name: str, options: Sequence[str]) -> str | None:
    """Return the reason why an object is not removed."""
    found = state[kind][key]
    if kind == "container" and found.get("is_started", True) and "--force" not in options:
        return f"cannot remove container {name!r}: container is running: stop the container before removing"
    has_other_names = kind == "image" and len(found["names"]) > 1
    if has_other_names and name == key:
        return f"conflict: unable to delete {name} (must be forced) - image is referenced in multiple repositories"
    if kind != "container" and not has_other_names and is_used(state, kind, key):
        return f"remove {name}: {kind} is in use"
    return None


def create_volume(state: State, options: Sequence[str]) -> None:
    if state["is_full"]:
        fail("mkdir /var/lib/docker/volumes: no space left on device")
    *flags, name = options
    pairs = (flag.removeprefix("--label=").partition("=") for flag in flags)
    labels = {key: value for key, _, value in pairs}
    state["volume"].setdefault(name, {"created": "2026-01-01T00:00:00Z", "labels": labels})


def follow(engine: Engine, options: Sequence[str]) -> None:
    """Print the events until the engine ends."""
    shown = 0
    while engine.path.exists():
        events = engine.read()["events"]
        show(events[shown:])
        shown = len(events)
        if "--until" in options:
            return
        time.sleep(0.05)


def show(lines: Iterable[str]) -> None:
    for text in lines:
        print(text)
    sys.stdout.flush()


def main(path: Path, kind: str, *words: str) -> None:
    engine = Engine(path)
    if not path.exists():
        sys.exit("failed to connect to the docker API: check if the path is correct and if the daemon is running")
    if kind == "events":
        follow(engine, words)
        return
    verb, *options = words
    if verb == "ls":
        show(listed(engine.read(), kind, options))
    elif verb == "inspect":
        inspect(engine.read(), kind, options[1], options[2:])
    elif verb == "rm":
        with engine.change() as state:
            errors = remove(state, kind, options)
        if errors:
            fail(*errors)
    elif (kind, verb) == ("volume", "create"):
        with engine.change() as state:
            create_volume(state, options)
    elif (kind, verb) == ("system", "df"):
        show(["images 0, 0B;", "containers 0, 0B;"])
    else:
        sys.exit(f"docker: unknown command: docker {kind} {verb}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
