"""``prune.sh`` with an engine that is a file: the objects that it removes and leaves, and its reaction to failures."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone

import pytest

from tests.scripts.conftest import end
from tests.scripts.engine import KEEP, Engine

NO_ENGINE = [
    "failed to connect to the docker API at tcp://docker-dind:2376",
    "error during connect: dial tcp: lookup docker-dind on 10.96.0.10:53: no such host",
]
OLD, YOUNG, NEVER = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"
JOB, UNUSED = 7200, 86400
KEPT = {KEEP: ""}
ANONYMOUS = {"com.docker.volume.anonymous": ""}
Times = tuple[float | None, float | None]
LEFT = "left: images 0, 0B; containers 0, 0B;"


def text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(seconds: float) -> str:
    return text(datetime.now(timezone.utc) - timedelta(seconds=seconds))


@pytest.fixture
def prune(start, engine):
    """Run the script, and return its lines without the last one, ``left: …``."""

    def prune(answers="", *, status=0, keep_images="", keep_volumes="", environment=None, seconds=30):
        values = {"MAX_JOB_SECONDS": str(JOB), "UNUSED_SECONDS": str(UNUSED)}
        values |= {"KEEP_IMAGES": keep_images, "KEEP_VOLUMES": keep_volumes, **(environment or {})}
        code, lines = end(start("prune.sh", environment=values, programs={"docker": engine.docker(answers)}), seconds)
        assert code == status, lines
        assert lines[-1] == LEFT
        return [line for line in lines[:-1] if "no disk guard" not in line]

    return prune


def test_the_least_recently_used_image_goes_first_and_the_young_stay(prune, engine):
    engine.add("image", "a", YOUNG, names=["app:2"])
    engine.add("image", "b", OLD, names=["app:1"])
    engine.add("image", "c", "2019-01-01T00:00:00Z", names=[])
    assert prune() == ["removed image c (last used 2019-01-01T00:00:00Z)", f"removed image app:1 (last used {OLD})"]
    assert engine.left("image") == {"a"}


def test_an_image_that_is_kept_or_of_a_container_stays(prune, engine):
    for image in ("labelled", "base", "mine", "other"):
        engine.add("image", image, OLD, names=[f"{image}:1", f"{image}:2"])
    with engine.change() as state:
        state["image"]["labelled"]["labels"] = KEPT
        state["references"] = {"bas*:1": ["base"]}
    engine.add("container", "c", YOUNG, image="mine")
    assert prune(keep_images="bas*:1") == [f"removed image other:1 other:2 (last used {OLD})"]


def test_an_image_with_a_digest_and_no_tag_goes_or_is_kept(prune, engine):
    for image in ("pinned", "other"):
        engine.add("image", image, OLD, names=[f"{image}@sha256:{'0' * 64}"])
    with engine.change() as state:
        state["references"] = {"pinned@sha256:*": ["pinned"]}
    assert prune(keep_images="pinned@sha256:*") == [f"removed image other@sha256:{'0' * 64} (last used {OLD})"]


def test_patterns_reach_the_engine_as_they_are(start, engine):
    engine.add("image", "base", OLD, names=["base:1"])
    with engine.change() as state:
        state["references"] = {"*": ["base"]}
    values = {"MAX_JOB_SECONDS": "1", "UNUSED_SECONDS": "1", "KEEP_IMAGES": "*", "KEEP_VOLUMES": "*"}
    process = start("prune.sh", setup="cd $SCRIPTS", environment=values, programs={"docker": engine.docker()})
    assert end(process)[0] == 0
    assert engine.left("image") == {"base"}


def test_an_image_that_a_job_tags_during_the_prune_stays(prune, engine):
    engine.add("image", "a", OLD, names=["app:1"])
    engine.add("image", "b", OLD, names=["app:2"])
    # At the second inspection.
    tag = f"""\
"image inspect --format {{{{.Meta"*)
    [ -e /run/seen ] && sed -i 's/"a": {{"created": "{OLD}"/"a": {{"created": "{YOUNG}"/' {engine.path}
    touch /run/seen ;;"""
    assert prune(tag) == [f"removed image app:2 (last used {OLD})"]


@pytest.mark.parametrize(
    "error",
    [
        "conflict: unable to delete a (must be forced) - container c is using its referenced image a",
        "conflict: unable to delete a (cannot be forced) - image is being used by running container c",
        "No such image: a",
    ],
)
def test_an_image_that_is_in_use_or_gone_is_no_failure(prune, engine, error):
    engine.add("image", "a", OLD, names=["app:1"])
    assert prune(f'"image rm"*) echo "Error response from daemon: {error}" >&2; exit 1 ;;') == []


@pytest.mark.parametrize(
    ("question", "error"),
    [
        *(
            (question, NO_ENGINE[0])
            for question in ("image rm", "image ls", "image inspect", "container ls", "container inspect")
        ),
        ("image rm", NO_ENGINE[1]),
    ],
)
def test_what_could_not_be_done_is_a_failure(prune, engine, question, error):
    engine.add("image", "a", OLD, names=["app:1"])
    engine.add("container", "c", YOUNG, image="b")
    lines = prune(f'"{question}"*) echo "{error}" >&2; exit 1 ;;', status=1)
    assert any(error in line for line in lines)
    assert engine.left("image") == {"a"}


# By whether the image is removed: the days since the last tag and since the last use. The limit is one day.
IMAGES: dict[bool, list[Times]] = {
    True: [(2, None), (2, 1.1), (None, 1.1)],
    False: [(2, 0.9), (0.9, 1.1), (0.9, None), (None, 0.9)],
}


@pytest.mark.parametrize("since", [0.9, 2])
def test_an_image_is_as_old_as_its_last_tag_or_use(prune, engine, record, since):
    # An image without any time existed when the record began.
    cases = {**IMAGES, since > 1: [*IMAGES[since > 1], (None, None)]}
    record(since=int(since * UNUSED), image=add(engine, "image", cases))
    prune()
    assert engine.left("image") == {name(*times) for times in cases[False]}


# The same for volumes, with the days since their creation. One that is not listed counts as used when the record began.
@pytest.mark.parametrize(
    ("since", "cases"),
    [
        (0.9, {True: [(2, 1.1)], False: [(2, None), (2, 0.9), (0.9, None)]}),
        (2, {True: [(3, None), (2, 1.1)], False: [(3, 0.9), (0.9, None), (0.9, 1.1)]}),
    ],
)
def test_a_volume_is_as_old_as_its_last_use(prune, engine, record, since, cases):
    record(since=int(since * UNUSED), volume=add(engine, "volume", cases))
    prune()
    assert engine.left("volume") == {name(*times) for times in cases[False]}


def add(engine: Engine, kind: str, cases: Mapping[bool, Sequence[Times]]) -> dict[str, int]:
    """Add an object for each case, and return the times since the last use of those that have one, in seconds."""
    fields = {"names": ["app:1"]} if kind == "image" else {}
    used = {}
    for created, last_used in (case for times in cases.values() for case in times):
        engine.add(kind, name(created, last_used), NEVER if created is None else ago(created * UNUSED), **fields)
        if last_used:
            used[name(created, last_used)] = int(last_used * UNUSED)
    return used


def name(created: float | None, last_used: float | None) -> str:
    return f"{created}-{last_used}"


def test_an_image_that_another_is_built_on_is_as_old_as_that(prune, engine, record):
    layers = [f"{i:012}" for i in range(4)]
    for name, tagged, number in (
        ("base", ago(3 * UNUSED), 1),
        ("other-base", OLD, 1),  # has the same layer: a build uses the newest of them
        ("middle", OLD, 2),
        ("app", ago(60), 3),
        ("old-app", OLD, 3),
        ("later", OLD, 4),  # is built on the app
    ):
        engine.add("image", name, tagged, names=[f"{name}:1"], layers=layers[:number])
    engine.add("image", "daily-base", OLD, names=["daily-base:1"], layers=["1" * 12])
    engine.add("image", "daily", OLD, names=["daily:1"], layers=["1" * 12, "2" * 12])
    record(image={"daily": 60})
    prune()
    assert engine.left("image") == {"base", "middle", "app", "daily", "daily-base"}


def test_volumes_that_are_in_use_or_kept_stay(prune, engine, record):
    for name in ("old", "mine", "maven-1", "maven-12", "db.1", "dbx1"):
        engine.add("volume", name, OLD)
    engine.add("volume", "labelled", OLD, labels=KEPT)
    engine.add("container", "c", YOUNG, image="i", volumes=["mine"], is_started=False)
    record()
    assert [line.split()[2] for line in prune(keep_volumes="maven-? db.1")] == ["dbx1", "maven-12", "old"]


def test_without_a_disk_guard_volumes_stay_and_images_go_by_their_tag(prune, engine, start, record):
    for record_age in (None, UNUSED):
        if record_age:
            record(age=record_age, volume={"a": 2 * UNUSED}, image={"used": 60})
        engine.add("volume", "a", OLD)
        for image, tagged in (("old", OLD), ("pulled", NEVER), ("used", OLD)):
            engine.add("image", image, tagged, names=[f"{image}:1"])
        prune()
        assert engine.left("volume") == {"a"}
        # A recorded use counts.
        assert engine.left("image") == ({"pulled", "used"} if record_age else {"pulled"})


def test_the_versions_of_a_record_are_one(prune, engine, record):
    for name in ("a", "b"):
        engine.add("volume", name, OLD)
    record(age=3600, volume={"a": 60, "b": 2 * UNUSED})
    record(age=30, volume={"a": 2 * UNUSED, "b": 60})
    assert prune() == []


def test_a_version_that_is_replaced_during_the_look_is_read_again(prune, engine, record):
    engine.add("volume", "a", OLD)
    record(age=60, volume={"a": 60})
    # Another version appears between the list and the inspection.
    replace = f"""\
"volume inspect --format {{{{range"*)
    [ -e /run/seen ] || sed -i s/dindcache-last-used-[0-9]*/dindcache-last-used-1/ {engine.path}
    touch /run/seen ;;"""
    assert prune(replace) == []
    assert engine.left("volume") == {"a"}


def test_a_use_after_the_last_version_counts(prune, engine, record):
    for name in ("a", "b"):
        engine.add("volume", name, OLD)
        engine.add("image", name, OLD, names=[f"{name}:1"])
    record(age=60)
    engine.emit("volume a", "image a:1")
    prune()
    assert engine.left("volume") == {"a"}
    assert engine.left("image") == {"a"}


def test_containers_that_outlived_a_job_go_with_their_volumes(prune, engine):
    for name, created, labels in (
        ("running", ago(JOB + 60), {}),
        ("young", ago(JOB - 60), {}),
        ("service", OLD, KEPT),
    ):
        engine.add("container", name, created, image="i", labels=labels, volumes=[f"{name}-anonymous"])
        engine.add("volume", f"{name}-anonymous", created, labels=ANONYMOUS)
    engine.add("container", "never-started", ago(JOB + 61), image="i", is_started=False)
    lines = prune()
    assert [line.partition(" (")[0] for line in lines] == ["removed container never-started", "removed container running"]
    assert engine.left("volume") == {"young-anonymous", "service-anonymous"}


def test_a_builder_goes_with_its_state_unless_a_client_is_connected(prune, engine):
    for name, execs in (("ci0", 0), ("busy0", 1)):
        builder = f"buildx_buildkit_{name}"
        engine.add("container", name, OLD, name=builder, image="i", execs=execs, volumes=[f"{builder}_state"])
        engine.add("volume", f"{builder}_state", OLD)
    # The state of a builder that is already gone.
    engine.add("volume", "buildx_buildkit_gone0_state", OLD)
    engine.add("volume", "buildx_buildkit_kept0_state", OLD)
    assert prune(keep_volumes="buildx_buildkit_kept*") == [
        f"removed container buildx_buildkit_ci0 (created {OLD})",
        f"removed volume buildx_buildkit_ci0_state (created {OLD})",
        f"removed volume buildx_buildkit_gone0_state (created {OLD})",
    ]


def test_networks_that_no_container_has_go_whatever_their_names(prune, engine):
    for number, name in enumerate(("a  b", "*", "awaited by a *", "used"), start=1):
        engine.add("network", str(number), OLD, name=name)
    engine.add("network", "5", OLD, name="kept", labels=KEPT)
    # A container that has not started has only the name of its network.
    engine.add("container", "c", YOUNG, image="i", networks=["awaited by a *"], is_started=False)
    engine.add("container", "d", YOUNG, image="i", networks=["4"])
    assert prune() == [f"removed network a  b (created {OLD})", f"removed network * (created {OLD})"]


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns"])
def test_no_time_zone_changes_an_age(prune, engine, record, zone):
    now = datetime.now(timezone.utc).replace(microsecond=0)
    offset = timezone(timedelta(hours=5, minutes=30))
    for name, age in (("old", UNUSED + 60), ("young", UNUSED - 60)):
        engine.add("volume", name, (now - timedelta(seconds=age)).astimezone(offset).isoformat())
    record()
    line = f"removed volume old (last used {text(now - timedelta(seconds=UNUSED + 60))})"
    assert prune(environment={"TZ": zone}) == [line]


def test_a_time_is_read_and_printed_alike(prune, engine):
    days = ("1999-12-31", "2000-02-29", "2000-03-01", "2023-01-01", "2024-02-29", "2024-12-31")
    for day in days:
        engine.add("image", day, f"{day}T23:59:59Z", names=["a:1"])
    assert prune() == [f"removed image a:1 (last used {day}T23:59:59Z)" for day in days]


# The last of many objects of a kind is old.
MANY = f"""case "$*" in
"$KIND ls "*label=*) ;;
"$KIND ls "*) seq 50000 ;;
"$KIND inspect "*) shift 4; echo "$@" | tr ' ' '\\n' | sed "s,.*,{YOUNG} & $WORDS,; s/[^ ]* 50000 /{OLD} 50000 /" ;;
"$KIND rm "*) echo "docker $*" >/dev/fd/9 ;;
"system df "*) printf 'images 0, 0B;\\ncontainers 0, 0B;\\n' ;;
esac"""


@pytest.mark.parametrize(
    ("kind", "words", "options"),
    [
        ("container", "&", "--force --volumes "),
        ("network", "&", ""),
        ("volume", "& anonymous", ""),
        ("image", f"/{'000000000000/' * 19}000000&/ app:&", ""),
    ],
)
def test_fifty_thousand_objects_take_less_than_a_minute(start, kind, words, options):
    docker = f"exec 9>>/proc/1/fd/2\nKIND={kind} WORDS='{words}'\n{MANY}"
    values = {"MAX_JOB_SECONDS": "60", "UNUSED_SECONDS": "60", "KEEP_IMAGES": "", "KEEP_VOLUMES": ""}
    _, lines = end(start("prune.sh", environment=values, programs={"docker": docker}), seconds=60)
    assert f"docker {kind} rm {options}50000" in lines


# One object of each kind.
REMOVED = [
    f"removed container e2e (created {OLD})",
    f"removed network net (created {OLD})",
    f"removed volume anonymous (created {OLD})",
    f"removed volume named (last used {OLD})",
    f"removed image app:1 (last used {OLD})",
]


@pytest.fixture
def one_of_each(engine, record):
    engine.add("container", "c", OLD, name="e2e", image="other")
    engine.add("network", "n", OLD, name="net")
    engine.add("volume", "anonymous", OLD, labels=ANONYMOUS)
    engine.add("volume", "named", OLD)
    engine.add("image", "i", OLD, names=["app:1"])
    record(since=int(time.time()) - 1)


def test_a_prune_reports_what_it_removed(prune, one_of_each):
    assert prune() == REMOVED


HARMLESS = {
    "container inspect": "No such container: c",
    "container rm": "removal of container c is already in progress",
    "network inspect": "network n not found",
    "network rm": "error while removing network: network net has active endpoints",
    "volume inspect --format {{or": "get v: no such volume",
    "volume rm": "remove v: volume is in use - [c]",
}
# Kinds that stay after a failure for containers, which decide what is in use.
UNKNOWN = {"container ls": {"network", "image"}, "container inspect": {"image"}}


def stays(line: str, command: str, others: Iterable[str] = ()) -> bool:
    """Return whether a line is about an object that stays because a command fails."""
    return line.split()[1] in {command.split(maxsplit=1)[0], *others}


@pytest.mark.parametrize("command", HARMLESS)
def test_what_vanished_or_is_in_use_is_no_failure(prune, one_of_each, command):
    lines = prune(f"""\"{command} "*) echo 'Error response from daemon: {HARMLESS[command]}' >&2; exit 1 ;;""")
    assert lines == [line for line in REMOVED if not stays(line, command)]


@pytest.mark.parametrize("verb", ["ls", "inspect", "rm"])
@pytest.mark.parametrize("kind", ["container", "network", "volume"])
def test_a_prune_goes_on_after_a_failure(prune, one_of_each, kind, verb):
    command = f"{kind} {verb}"
    lines = prune(f"""\"{command} "*) echo '{NO_ENGINE[0]}' >&2; exit 1 ;;""", status=1)
    assert any(NO_ENGINE[0] in line for line in lines)
    others = UNKNOWN.get(command, ())
    removed = [line for line in lines if line.startswith("removed ")]
    assert removed == [line for line in REMOVED if not stays(line, command, others)]
