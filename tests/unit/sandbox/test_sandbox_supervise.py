"""Supervision with processes of no weight: what comes back, what dies, what is left."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.supervise import Program, Supervisor

SLEEP = Program("sleeper", ["/bin/sleep", "1000"], stop_seconds=1)
DEAF = Program(
    "deaf",
    ["/bin/sh", "-c", 'trap "" TERM; while true; do sleep 0.2; done'],
    stop_seconds=1,
)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """Give a supervisor in a folder with a short path; stop what is left of it."""
    with tempfile.TemporaryDirectory(prefix="sv", dir="/tmp") as folder:
        made = Supervisor(Path(folder), Path(folder) / "logs")
        yield made
        if made.is_running():
            made.shutdown([])


def _eventually(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").is_dir() and "Z" not in Path(f"/proc/{pid}/stat").read_text()


def _started(supervisor: Supervisor, name: str) -> int:
    supervisor.start(name)
    _eventually(lambda: supervisor.states()[name] == "RUNNING")
    return supervisor.pid(name)


def test_a_killed_server_comes_back(supervisor: Supervisor) -> None:
    supervisor.ensure([SLEEP])
    pid = _started(supervisor, "sleeper")
    os.kill(pid, signal.SIGKILL)
    _eventually(lambda: supervisor.pid("sleeper") not in (0, pid))


def test_servers_die_with_a_killed_supervisor_and_all_converges(supervisor: Supervisor) -> None:
    supervisor.ensure([SLEEP, DEAF])
    pids = [_started(supervisor, name) for name in ("sleeper", "deaf")]
    daemon = int(supervisor.call("getPID"))
    os.kill(daemon, signal.SIGKILL)
    _eventually(lambda: not any(map(_alive, pids)))
    assert (supervisor.run / "supervisor.sock").exists()  # stale, as after a reboot
    assert not supervisor.is_running()
    supervisor.ensure([SLEEP, DEAF])
    assert _alive(_started(supervisor, "sleeper"))


def test_shutdown_leaves_no_process_even_a_deaf_one(supervisor: Supervisor) -> None:
    supervisor.ensure([SLEEP, DEAF])
    pids = [_started(supervisor, name) for name in ("sleeper", "deaf")]
    pids.append(int(supervisor.call("getPID")))
    supervisor.shutdown(["sleeper"])
    assert not any(map(_alive, pids))
    assert not supervisor.is_running()


def test_the_same_again_restarts_nothing_and_a_change_only_its_program(
    supervisor: Supervisor,
) -> None:
    supervisor.ensure([SLEEP, DEAF])
    sleeper, deaf = (_started(supervisor, name) for name in ("sleeper", "deaf"))
    supervisor.ensure([SLEEP, DEAF])
    assert (supervisor.pid("sleeper"), supervisor.pid("deaf")) == (sleeper, deaf)
    supervisor.ensure([Program("sleeper", ["/bin/sleep", "2000"]), DEAF])
    assert supervisor.pid("deaf") == deaf
    assert _started(supervisor, "sleeper") != sleeper
    supervisor.ensure([DEAF])
    assert set(supervisor.states()) == {"deaf"}


def test_a_server_that_gives_up_fails_the_wait_and_names_its_log(supervisor: Supervisor) -> None:
    supervisor.ensure([Program("broken", ["/bin/sh", "-c", "echo no such flag; exit 2"])])
    supervisor.start("broken")
    with pytest.raises(SandboxError, match="broken") as caught:
        supervisor.wait("broken", lambda: False, 3)
    assert caught.value.log is not None
    assert "no such flag" in caught.value.log.read_text()


def test_the_socket_is_for_its_owner_alone(supervisor: Supervisor) -> None:
    supervisor.ensure([SLEEP])
    assert (supervisor.run / "supervisor.sock").stat().st_mode & 0o077 == 0
