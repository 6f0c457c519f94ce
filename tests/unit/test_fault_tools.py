"""The fault rig's own parts: dumps that compare, process trees that die."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import dump, kill
from tests.faults.meanwhile import Meanwhile

# A child in a session of its own, and its child: what Ansible's workers and helm are.
FAMILY = """
import subprocess, sys, time
if len(sys.argv) > 1:
    words = [sys.executable, __file__] + sys.argv[2:]
    subprocess.Popen(words, start_new_session=True)
print("up", flush=True)
time.sleep(60)
"""


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
