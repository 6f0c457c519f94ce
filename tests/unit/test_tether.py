"""Whoever is tethered ends with its parent."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.eoepca.oapip.plugins.module_utils import _tether
from tests.faults import kill

COLLECTIONS = Path(__file__).resolve().parents[2] / ".sandbox" / "collections"
SOURCE = inspect.getsource(_tether)
# Starts a tethered child, tells its pid, and waits to be killed.
PARENT = """
import os, subprocess, sys
words = [sys.executable, "-ISc", sys.argv[1], str(os.getpid()), "/bin/sleep", "60"]
child = subprocess.Popen(words)
print(child.pid, flush=True)
child.wait()
"""


# Calls a helm that takes its time.
CALLER = """
import sys
sys.path[:0] = sys.argv[1:]
from ansible_collections.eoepca.oapip.plugins.module_utils._helm import Helm
print("up", flush=True)
Helm("zoo", "zoo", binary="/bin/sleep")._call(["60"], "sleeping")
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_the_child_of_a_killed_parent_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, SOURCE], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        assert is_running(child)
        parent.kill()
        parent.wait()
        until = time.monotonic() + 5
        while is_running(child) and time.monotonic() < until:
            time.sleep(0.02)
        assert not is_running(child)


def test_a_child_whose_parent_is_gone_already_does_not_begin() -> None:
    command = [sys.executable, "-ISc", SOURCE, str(os.getppid()), "/bin/echo", "begun"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert done.stdout == ""


def test_it_becomes_the_program_with_its_arguments() -> None:
    command = [sys.executable, "-ISc", SOURCE, str(os.getpid()), "/bin/echo", "a b", "c"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "a b c\n"


def test_helm_ends_with_its_caller() -> None:
    command = [sys.executable, "-c", CALLER, str(COLLECTIONS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        caller.stdout.readline()
        until = time.monotonic() + 20
        while not (children := set(kill.descendants(caller.pid))):
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(0.5)
        caller.kill()
        assert kill.outliving(children) == []
