"""Whoever is tethered ends with its parent."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.eoepca.oapip.plugins.module_utils import _tether

SOURCE = inspect.getsource(_tether)
# Starts a tethered child, tells its pid, and waits to be killed.
PARENT = """
import os, subprocess, sys
words = [sys.executable, "-ISc", sys.argv[1], str(os.getpid()), "/bin/sleep", "60"]
child = subprocess.Popen(words)
print(child.pid, flush=True)
child.wait()
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
