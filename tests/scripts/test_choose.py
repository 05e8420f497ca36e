"""The choice of a fleet's member: the order of the key in every shell, and the member that answers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dindcache import Client, FleetClient
from dindcache._scripts import read_script
from tests.framework.keys import odd_keys

MEMBERS = {"node1": 1, "node2": 1, "ip-10-0-1-23.eu-central-1.compute.internal": 3}
FLEET = FleetClient(
    clients={name: Client(daemon=name, host=f"tcp://{name}:2376", secret=None) for name in MEMBERS},
    weights=MEMBERS,
    failover_seconds=60,
)
LINES = "\n".join(f"{member} {weight} tcp://{member}:2376" for member, weight in MEMBERS.items())
SHELLS = [["dash"], ["bash"], ["busybox", "sh"]]
# Answers of `docker network inspect` of the client 29.
NO_NAME = "failed to connect to the docker API at tcp://x:2376: lookup x on 10.96.0.10:53: no such host"
REFUSED = "Cannot connect to the Docker daemon at tcp://x:2376. Is the docker daemon running?"
NO_TRUST = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
# A member has as many builds as its file of builds has lines. The stand-in
# answers as the file of its host says, and is gone after as many questions as the file has lines.
CLIENT = """#!/bin/sh
host=${DOCKER_HOST#tcp://} host=${host%:*}
if [ "$1" = ps ]; then cat "$ANSWERS/$host.builds" 2>/dev/null; exit; fi
echo "$host" >>"$ANSWERS/asked"
IFS= read -r answer <"$ANSWERS/$host" || exit 0
if [ "$(wc -l <"$ANSWERS/$host")" -gt 1 ]; then sed -i 1d "$ANSWERS/$host"; fi
[ "$answer" = yes ] && echo answer && exit
echo "$answer" >&2
exit 1
"""


@pytest.fixture
def tools(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A directory with the only programs: none but those of the parameter."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name in getattr(request, "param", ("sha256sum", "sed", "wc", "cat", "sleep", "sh", "timeout")):
        (directory / name).symlink_to(shutil.which(name) or name)
    return directory


def functions() -> str:
    """Return the script without its last line, for tests that call one function."""
    return read_script("fleet/choose.sh").removesuffix('main "$@"\n')


def orders(shell: list[str], keys: list[str], tools: Path, directory: Path) -> list[list[str]]:
    """Return the order of the members for each key, as a shell walks it."""
    script = directory / "orders.sh"
    walk = 'members=$(scored); score=-1; while next; do printf "%s " "$name"; done; echo'
    calls = []
    for i, key in enumerate(keys):
        (directory / f"key-{i}").write_bytes(key.encode() + b".")  # $( ) would take line breaks from the end
        calls.append(f'KEY=$(while IFS= read -r line; do printf "%s\\n" "$line"; done <{directory}/key-{i}; printf %s "$line")')
        calls.append(f"KEY=${{KEY%.}}; {walk}")
    script.write_text(functions() + "\n".join(calls))
    environment = {
        "PATH": str(tools),
        "MEMBERS": LINES,
        "KEY": "x",
        "FAILOVER_SECONDS": "1",
        "FULL_AT": "",
        "LANG": "C.UTF-8",
    }
    program = shutil.which(shell[0])
    assert program
    done = subprocess.run([program, *shell[1:], script], check=True, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(("tools", "number"), [(["sha256sum"], 100), ([], 25)], indirect=["tools"], ids=["sha256sum", "shell"])
def test_a_shell_has_the_order_of_python(tools, number, shell, tmp_path):
    if shutil.which(shell[0]) is None:
        pytest.skip(f"needs {shell[0]}")
    keys = odd_keys(number)
    assert orders(shell, keys, tools, tmp_path) == [FLEET.order(key) for key in keys]


@pytest.mark.parametrize("length", range(50, 75))
def test_each_length_of_a_text_around_a_block(tmp_path, length):
    script = tmp_path / "script.sh"
    script.write_text(f'{functions()}\ndigest "$1"; PATH=/none; digest "$1"')
    environment = {"PATH": os.environ["PATH"], "MEMBERS": "x", "KEY": "x", "FAILOVER_SECONDS": "1", "FULL_AT": ""}
    done = subprocess.run(["sh", script, "x" * length], check=True, env=environment, capture_output=True, text=True)
    first, second = done.stdout.split()
    assert first == second


class Fleet:
    """The script with a stand-in client, and members that answer as a test says."""

    def __init__(self, directory: Path, tools: Path) -> None:
        self.answers, self.tools = directory / "answers", tools
        self.answers.mkdir()
        (tools / "docker").write_text(CLIENT)
        (tools / "docker").chmod(0o755)
        self.order = FLEET.order("group/app")
        for member in self.order:
            self.set(member, "yes")

    def set(self, member: str, *answers: str) -> None:
        (self.answers / member).write_text("\n".join(answers) + "\n")

    def choose(self, *, failover: int = 60, key: str = "group/app", most: str = "") -> tuple[str, list[str]]:
        done = subprocess.run(
            [shutil.which("sh") or "sh"],
            check=False,
            input=read_script("fleet/choose.sh"),
            env={
                "PATH": str(self.tools),
                "ANSWERS": str(self.answers),
                "MEMBERS": LINES,
                "KEY": key,
                "FAILOVER_SECONDS": str(failover),
                "FULL_AT": most,
                "HTTPS_PROXY": "http://proxy:1",
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        print(done.stderr)  # for a test that fails
        assert done.returncode == 0
        return done.stdout.strip().removeprefix("tcp://").removesuffix(":2376"), done.stderr.splitlines()

    @property
    def asked(self) -> list[str]:
        path = self.answers / "asked"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def fleet(tmp_path: Path, tools: Path) -> Fleet:
    return Fleet(tmp_path, tools)


def test_the_first_member_that_answers_is_asked_once(fleet):
    assert fleet.choose() == (fleet.order[0], [f"dindcache: the daemon of this job is {fleet.order[0]}"])
    assert fleet.asked == [fleet.order[0]]


def test_a_restart_is_waited_for(fleet):
    first = fleet.order[0]
    fleet.set(first, REFUSED, REFUSED, "yes")
    assert fleet.choose() == (
        first,
        [f"dindcache: {first}: refused; waiting up to 60 s", f"dindcache: the daemon of this job is {first}"],
    )
    assert fleet.asked == [first] * 3


def test_a_member_that_stays_away_gives_way_to_the_next(fleet):
    first, second, _ = fleet.order
    fleet.set(first, REFUSED)
    chosen, log = fleet.choose(failover=2)
    assert chosen == second
    assert log[-1] == (
        f"dindcache: the daemon of this job is {second}, since {first} is not available: refused. "
        f"The next job begins at {first} again"
    )
    assert len(fleet.asked) >= 3


def test_a_name_that_does_not_exist_is_skipped_at_once(fleet):
    first, second, third = fleet.order
    fleet.set(first, NO_NAME)
    chosen, log = fleet.choose()
    assert chosen == second
    reason = f"since {first} is not available: no such name. The next job begins at {first} again"
    assert log == [f"dindcache: the daemon of this job is {second}, {reason}"]
    fleet.set(second, NO_NAME)
    assert fleet.choose()[0] == third


def test_the_next_name_is_given_the_time_of_a_restart_too(fleet):
    first, second, _ = fleet.order
    fleet.set(first, NO_NAME)
    fleet.set(second, REFUSED, "yes")
    assert fleet.choose()[0] == second


def test_a_fault_of_the_client_is_no_reason_to_go_elsewhere(fleet):
    fleet.set(fleet.order[0], NO_TRUST)
    assert fleet.choose()[0] == fleet.order[0]
    assert fleet.asked == [fleet.order[0]]


def test_a_fleet_without_an_answer_leaves_the_first(fleet):
    for member in fleet.order:
        fleet.set(member, REFUSED)
    chosen, log = fleet.choose(failover=1)
    assert chosen == fleet.order[0]
    assert log[-1] == f"dindcache: no daemon of the fleet answers; this job begins at {fleet.order[0]}"
    assert set(fleet.asked) == set(fleet.order)


@pytest.mark.parametrize(
    ("first", "second", "most", "is_second"),
    [(2, 0, "3", False), (3, 2, "3", True), (3, 3, "3", False), (5, 4, "3", True), (5, 0, "", False), (3, None, "3", False)],
)
def test_a_full_member_gives_way_to_a_less_busy_one(fleet, first, second, most, is_second):
    for member, number in zip(fleet.order, (first, second, 0), strict=True):
        if number is None:
            fleet.set(member, REFUSED)
        else:
            (fleet.answers / f"{member}.builds").write_text("id\n" * number)
    chosen, log = fleet.choose(most=most)
    assert chosen == fleet.order[is_second]
    reason = f", since {fleet.order[0]} has {first} builds. The next job begins at {fleet.order[0]} again" if is_second else ""
    assert log == [f"dindcache: the daemon of this job is {chosen}{reason}"]


def test_an_image_without_docker_asks_nobody(fleet):
    (fleet.tools / "docker").unlink()
    assert fleet.choose() == (fleet.order[0], [])


def test_an_image_without_timeout_asks_too(fleet):
    (fleet.tools / "timeout").unlink()
    assert fleet.choose()[0] == fleet.order[0]
    assert fleet.asked == [fleet.order[0]]
