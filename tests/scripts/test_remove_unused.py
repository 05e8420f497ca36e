"""``unused.sh`` and ``prune.sh`` with a docker that plays an engine: what they remove, and how they take what goes wrong."""

import pytest

from tests.test_scripts import end, start  # noqa: F401 - a fixture

NO_ENGINE = [
    "Cannot connect to the Docker daemon at tcp://docker-dind:2376. Is the docker daemon running?",
    "error during connect: dial tcp: lookup docker-dind on 10.96.0.10:53: no such host",
]
OLD, YOUNG, NEVER = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"


def engine(images: dict[str, str], *, container: str = "", kept: str = "", answers: str = "") -> str:
    """A docker that has these images, as the script reads them, and takes every order."""
    lines = "\n".join(f'*"{image}") echo "{line}" ;;' for image, line in images.items())
    every = " ".join(images)
    return f"""case "$*" in
{answers}
"container ls "*) echo c ;;
"container inspect "*) echo "{container}" ;;
*" ls "*"label=dindcache.keep"*|*" ls "*"reference=base:*"*) echo "{kept}" ;;
"image ls "*) for id in {every}; do echo "$id"; done ;;
"image inspect "*"{every}") {"; ".join(f"echo '{line}'" for line in images.values())} ;;
"image inspect "*) case "$*" in {lines} esac ;;
esac"""


@pytest.fixture
def unused(start):  # noqa: F811
    def unused(docker, *arguments, status=0, environment=None):
        script = start("unused.sh", "image", "60", *arguments, programs={"docker": docker}, environment=environment)
        code, lines = end(script)
        assert code == status, lines
        return lines

    return unused


def test_the_oldest_go_first_and_the_young_stay(unused):
    images = {"a": f"{YOUNG} a app:2", "b": f"{OLD} b app:1", "c": "2019-01-01T00:00:00Z c"}
    removed = ["removed image c (last tagged 2019-01-01T00:00:00Z)", f"removed image app:1 (last tagged {OLD})"]
    assert unused(engine(images)) == removed
    assert unused(engine(images), environment={"AT_MOST": "1"}) == removed[:1]


def test_what_is_kept_or_of_a_container_stays(unused):
    images = {"a": f"{OLD} a app:1", "b": f"{OLD} b base:1", "c": f"{OLD} c app:3"}
    assert unused(engine(images, container="a", kept="b"), "base:*") == [f"removed image app:3 (last tagged {OLD})"]


def test_what_a_job_tags_meanwhile_stays(unused):
    changed = f"""\
"image inspect "*" a b") echo "{OLD} a app:1"; echo "{OLD} b app:2" ;;
"image inspect "*" a") echo "{YOUNG} a app:1" ;;"""
    images = {"a": f"{OLD} a app:1", "b": f"{OLD} b app:2"}
    assert unused(engine(images, answers=changed)) == [f"removed image app:2 (last tagged {OLD})"]


@pytest.mark.parametrize("answer", ["conflict: image is being used by running container", "No such image: a"])
def test_what_is_in_use_or_gone_is_no_failure(unused, answer):
    assert unused(engine({"a": f"{OLD} a app:1"}, answers=f'"image rm"*) echo "Error: {answer}" >&2; exit 1 ;;')) == []


def test_names_go_one_by_one_where_the_id_is_refused(unused):
    answers = '"image rm a") echo "conflict: image is referenced in multiple repositories" >&2; exit 1 ;;'
    removed = unused(engine({"a": f"{OLD} a app:1 other:1"}, answers=answers))
    assert removed == [f"removed image app:1 other:1 (last tagged {OLD})"]


@pytest.mark.parametrize("error", NO_ENGINE)
@pytest.mark.parametrize("question", ["image rm", "image ls", "image inspect", "container ls", "container inspect"])
def test_what_it_could_not_is_a_failure(unused, question, error):
    answers = f'"{question}"*) echo "{error}" >&2; exit 1 ;;'
    lines = unused(engine({"a": f"{OLD} a app:1"}, answers=answers), status=1)
    assert error in lines[-1]


def test_the_time_of_what_has_none_begins_now(unused):
    answers = '"image tag "*|"image rm "*) echo "docker $*" >/dev/fd/9 ;;'
    image, tag = "sha256:0123456789abcdef", "dindcache.invalid/untagged:0123456789ab"
    docker = "exec 9>>/proc/1/fd/1\n" + engine({image: f"{NEVER} {image} app:1"}, answers=answers)
    assert unused(docker) == [f"docker image tag {image} {tag}", f"docker image rm {tag}"]
    assert unused(docker.replace(" app:1", "")) == [f"docker image tag {image} {tag}"]


# One of each kind.
ENGINE = f"""case "$*" in
*" ls "*label=dindcache.keep*) ;;
"container ls "*"--filter network"*|"container ls --all --quiet --no-trunc") ;;
"container ls "*) echo c ;;
"container inspect "*) echo "{OLD} c e2e" ;;
"network ls "*) echo n ;;
"network inspect "*) echo "{OLD} n net" ;;
"volume ls "*) echo v ;;
"volume inspect "*) echo "{OLD} v v" ;;
"image ls "*) echo i ;;
"image inspect "*) echo "{OLD} i app:1" ;;
"system df "*) printf "images 0, 0B;\\ncontainers 0, 0B;\\n" ;;
esac"""
REMOVED = [
    f"removed container e2e (not running since {OLD})",
    f"removed network net (made {OLD})",
    f"removed volume v (made {OLD})",
    f"removed image app:1 (last tagged {OLD})",
]
COMMANDS = ("ls", "inspect", "rm")
LEFT = "left: images 0, 0B; containers 0, 0B;"


def test_a_prune_says_what_it_removed_and_what_is_left(start):  # noqa: F811
    assert end(start("prune.sh", "600", "60", programs={"docker": ENGINE})) == (0, [*REMOVED, LEFT])


@pytest.mark.parametrize(
    ("command", "message", "is_failure"),
    [
        ("container inspect", "Error response from daemon: No such container: c", False),
        ("container rm", 'cannot remove container "/e2e": container is running: stop the container before removing', False),
        ("network inspect", "Error response from daemon: network n not found", False),
        ("network rm", "Error response from daemon: error while removing network: network net has active endpoints", False),
        ("volume inspect", "Error response from daemon: get v: no such volume", False),
        ("volume rm", "Error response from daemon: remove v: volume is in use - [c]", False),
        *((f"{kind} {verb}", NO_ENGINE[0], True) for kind in ("container", "network", "volume") for verb in COMMANDS),
    ],
)
def test_a_prune_goes_on_after_what_fails_or_vanished(start, command, message, is_failure):  # noqa: F811
    kind = command.split()[0]
    docker = f"""case "$*" in "{command} "*) echo '{message}' >&2; exit 1 ;; esac\n{ENGINE}"""
    status, lines = end(start("prune.sh", "600", "60", programs={"docker": docker}))
    assert status == is_failure
    assert any(message in line for line in lines) == is_failure
    assert lines[-1] == LEFT
    # Without the list of all containers nobody knows which networks and images they have.
    gone = {kind, "network", "image"} if command == "container ls" else {kind}
    assert [line for line in lines if line.startswith("removed ")] == [line for line in REMOVED if line.split()[1] not in gone]
