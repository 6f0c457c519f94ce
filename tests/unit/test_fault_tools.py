"""The fault rig's own parts: its commands, dumps that compare, process trees that die."""

from __future__ import annotations

import importlib
import os
import pkgutil
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.faults
from tests.faults import dump, kill, stranger
from tests.faults.__main__ import TOOLS, main, parser
from tests.faults.drift import TABLE
from tests.faults.meanwhile import Meanwhile
from tests.harness import PlaybookRun

# A child in a session of its own, and its child: what Ansible's workers and helm are.
FAMILY = """
import subprocess, sys, time
if len(sys.argv) > 1:
    words = [sys.executable, __file__] + sys.argv[2:]
    subprocess.Popen(words, start_new_session=True)
print("up", flush=True)
time.sleep(60)
"""


COMMAND = re.compile(r"^ *python -m tests[.]faults (.+?)(?: {2,}.*)?$", re.MULTILINE)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the command lines that the rig's docstrings name, each with its module."""
    for module in pkgutil.iter_modules(tests.faults.__path__):
        if not module.name.startswith(("test_", "conftest")):
            text = importlib.import_module(f"tests.faults.{module.name}").__doc__ or ""
            for words in COMMAND.findall(text):
                yield module.name, words.replace("NAME", next(iter(TABLE))).split()


def test_every_command_that_a_docstring_names_is_one() -> None:
    named = list(commands())
    for module, words in named:
        args = parser().parse_args(words)  # exits if it knows no such command or option
        assert args.run.__module__ == f"tests.faults.{module}", words
    assert {module for module, _ in named} == {tool.__name__.split(".")[-1] for tool in TOOLS}


class Refused(stranger.Stranger):
    """A stranger who got some answers and got in at some places."""

    answers = 0
    entered: tuple[str, ...] = ()

    def run(self) -> None:
        self.asked, self.breaches = self.answers, list(self.entered)


@pytest.mark.parametrize(
    ("answers", "entered", "code"), [(0, (), 1), (5, (), 0), (5, ("/alice/x: 200 []",), 1)]
)
def test_a_stranger_says_whether_he_got_in(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: int,
    entered: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.setattr(Refused, "answers", answers)
    monkeypatch.setattr(Refused, "entered", entered)
    monkeypatch.setattr(stranger, "Stranger", Refused)
    known = {"clusters": [{"gateway_url": "https://localhost:1"}], "ca_file": ""}
    monkeypatch.setattr(stranger, "record", lambda: known)
    assert main(["stranger", "--seconds", "0"]) == code
    said = capsys.readouterr().out
    assert [line for line in (*entered, f"{answers} answers") if line not in said] == []


def test_each_leaf_that_differs_is_named() -> None:
    one = {"Secret a": {"data": {"k": "1"}}, "Pod b": {"list": [1, 2]}, "gone": {}}
    other = {"Secret a": {"data": {"k": "2"}}, "Pod b": {"list": [1, 3]}, "new": {}}
    assert dump.difference(one, other) == [
        "Pod b / list[1]: 2 != 3",
        'Secret a / data / k: "1" != "2"',
        "gone: only in the first: {}",
        "new: only in the second: {}",
    ]
    assert dump.difference(one, one) == []


def test_what_two_wrote_to_one_object_is_what_each_wrote_alone() -> None:
    base = {"scopes": ["web", "old"], "on": True, "none": []}
    one = {"scopes": ["a", "web"], "on": True, "none": []}
    other = {"scopes": ["old", "b", "web"], "on": False, "none": []}
    both = {"none": [], "on": False, "scopes": ["web", "b", "a"]}
    assert dump.merged(base, one, other) == dump.facts(both)
    assert dump.merged(base, one, other) != dump.facts({**both, "scopes": ["web", "b"]})
    assert dump.merged(base, base) == dump.facts(base)


def found(password: str, client_secret: str, shown: str) -> dump.Dump:
    return {
        "keycloak: client engine": {"secret": client_secret},
        "sandbox-1: Secret broker": {
            "data": {
                "password": dump._Secret(password),
                "given": dump._Secret("from the inventory"),
                "client_secret": dump._Secret(shown),
            }
        },
        "sandbox-1: ConfigMap rabbitmq": {"data": {"conf": f"default_pass = {password}"}},
    }


def veiled(exact: bool = False, **given: str) -> dump.Dump:
    state = found(**given)
    result: dump.Dump = dump._veiled(state, dump._generated(state), exact)
    return result


def test_random_secrets_compare_by_their_names_and_are_never_shown() -> None:
    one = veiled(password="abc123", client_secret="s3cr3t", shown="s3cr3t")
    other = veiled(password="xyz789", client_secret="other", shown="other")
    assert dump.difference(one, other) == []
    assert "abc123" not in str(one)
    assert "from the inventory" not in str(one)
    exact = {"password": "abc123", "client_secret": "s3cr3t", "shown": "s3cr3t", "exact": True}
    assert dump.difference(veiled(**exact), veiled(**{**exact, "password": "xyz789"})) != []  # type: ignore[arg-type]


def test_a_client_secret_that_is_not_keycloaks_shows() -> None:
    right = veiled(password="abc123", client_secret="s3cr3t", shown="s3cr3t")
    stale = veiled(password="abc123", client_secret="s3cr3t", shown="of-yesterday")
    (line,) = dump.difference(right, stale)
    assert "client_secret" in line


@pytest.fixture
def family(tmp_path: Path) -> subprocess.Popen[bytes]:
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    process = subprocess.Popen([sys.executable, script, "child", "grandchild"])
    until = time.monotonic() + 20
    while len(list(kill.descendants(process.pid))) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def test_a_tree_dies_whole_across_sessions(family: subprocess.Popen[bytes]) -> None:
    members = set(kill.descendants(family.pid))
    assert all(os.getsid(pid) != os.getsid(0) for pid in members)
    kill.kill_tree(family.pid)
    family.wait(10)
    assert kill.outliving(members) == []


class Failing(Meanwhile):
    def go(self) -> None:
        raise TimeoutError("no answer")


def test_what_goes_on_meanwhile_fails_the_block() -> None:
    with pytest.raises(TimeoutError, match="no answer"), Failing():
        pass
    with pytest.raises(ValueError, match="the block's own") as told, Failing():
        raise ValueError("the block's own")
    assert "Failing had ended before: TimeoutError('no answer')" in told.value.__notes__


class Clay(kill.Range):
    """A cluster without servers; `ends` tells of each kill whether it hits a run."""

    def __init__(self, *ends: bool) -> None:
        self.ends = list(ends)
        self.ran: list[str] = []

    def state(self) -> dump.Dump:
        return {}

    def run(self, playbook: Path, *options: str) -> PlaybookRun:
        self.ran.append(playbook.stem)
        return PlaybookRun(0, "", [])

    def kill(self, playbook: Path, aim: kill.Aim, way: str) -> kill.Killed:
        self.ran.append(f"kill {playbook.stem}")
        hit = self.ends.pop(0) if self.ends else True
        return kill.Killed(playbook, aim.after, way, "1. TASK [a]", hit, "")


def aim() -> kill.Aim:
    return kill.Aim(1.0)


def test_a_kill_that_came_too_late_is_drawn_again_from_the_same_state() -> None:
    place = Clay(False, True)
    assert place.strike(kill.SITE, kill.CONTROLLER, aim).hit
    assert place.ran == ["kill site", "remove", "kill site"]
    with pytest.raises(kill.KillError, match="4 runs had ended"):
        Clay(*[False] * kill.DRAWS).strike(kill.REMOVE, kill.CONTROLLER, aim)


def test_a_moment_is_in_one_of_the_tasks() -> None:
    output = "PLAY [x] ***\n\nTASK [a] ***\nok: [h]\n\nTASK [b : c] ***\nskipping: [h]\n"
    assert kill.tasks(output) == ["TASK [a]", "TASK [b : c]"]
    draws = [kill.in_a_task(random.Random(seed), 2, 0.5)() for seed in range(50)]
    moments = {(one.since(output), one.until(output), one.since("")) for one in draws}
    assert moments == {(True, True, False), (True, False, False)}  # the first task is over by then
    assert all(0 <= one.after < 0.5 for one in draws)


@pytest.mark.parametrize(
    ("ends", "answers", "entered", "said"),
    [
        ([], 5, (), "2 first runs and 1 removals killed, 0 failures"),
        ([False], 5, (), "2 first runs and 1 removals killed, 0 failures"),
        ([False] * kill.DRAWS, 5, (), "1 first runs and 1 removals killed, 1 failures"),
        ([], 0, (), "2 first runs and 1 removals killed, 3 failures"),
        ([], 5, ("/alice/x: 200 []",), "2 first runs and 1 removals killed, 3 failures"),
    ],
)
def test_a_campaign_counts_what_it_killed_and_fails_where_nobody_watched(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ends: list[bool],
    answers: int,
    entered: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(Refused, "answers", answers)
    monkeypatch.setattr(Refused, "entered", entered)
    monkeypatch.setattr(kill, "Stranger", Refused)
    known = {"clusters": [{"gateway_url": "https://localhost:1"}], "ca_file": ""}
    monkeypatch.setattr(kill, "record", lambda: known)
    code = kill.campaign(Clay(*ends), first_runs=2, removals=1, seed=1)
    assert said in capsys.readouterr().out
    assert code == (0 if "0 failures" in said else 1)
