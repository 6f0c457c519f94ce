"""What the workers of a run share: memory that forks inherit, found out once."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._cache import Cache, key_of
from ansible_collections.eoepca.oapip.plugins.plugin_utils import _shared
from ansible_collections.eoepca.oapip.plugins.plugin_utils._shared import Shared

KEY = key_of("account", "alice")
FORK = multiprocessing.get_context("fork")


def worker(shared: Shared, record: Path, seconds: float, *, dies: bool = False) -> None:
    def make() -> tuple[str, float]:
        with record.open("a") as out:
            out.write("asked\n")
        if dies:
            os._exit(9)
        time.sleep(0.2)
        return "token", seconds

    value, until = shared.once(KEY, make)
    assert value == "token"
    assert until > time.monotonic()


def run(shared: Shared, record: Path, count: int, seconds: float = 60.0) -> int:
    """Let workers ask at the same time; return how often it was found out."""
    workers = [FORK.Process(target=worker, args=(shared, record, seconds)) for _ in range(count)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(20)
        assert one.exitcode == 0
    return record.read_text().count("asked")


def test_many_workers_ask_once(tmp_path: Path) -> None:
    shared = Shared()
    assert run(shared, tmp_path / "record", 8) == 1
    assert run(shared, tmp_path / "record", 2) == 1


def test_what_does_not_hold_any_more_is_asked_again(tmp_path: Path) -> None:
    shared = Shared()
    run(shared, tmp_path / "record", 1, seconds=0.3)
    time.sleep(0.4)
    assert run(shared, tmp_path / "record", 1) == 2


def test_a_worker_that_dies_holds_nobody_up(tmp_path: Path) -> None:
    shared, record = Shared(), tmp_path / "record"
    dying = FORK.Process(target=worker, args=(shared, record, 60.0), kwargs={"dies": True})
    dying.start()
    dying.join(20)
    begun = time.monotonic()
    assert run(shared, record, 1) == 2
    assert time.monotonic() - begun < _shared.PATIENCE


def test_a_worker_that_hangs_holds_nobody_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shared, "PATIENCE", 0.3)
    shared, record = Shared(), tmp_path / "record"

    def hang() -> None:
        def make() -> tuple[str, float]:
            record.write_text("asked\n")
            time.sleep(60)
            return "never", 0.0

        shared.once(KEY, make)

    hanging = FORK.Process(target=hang)
    hanging.start()
    deadline = time.monotonic() + 10
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        assert run(shared, record, 1) == 2
    finally:
        hanging.kill()
        hanging.join(10)


def test_a_wrong_value_is_forgotten_but_not_its_successor() -> None:
    shared = Shared()
    shared.once(KEY, lambda: ("old", 60.0))
    shared.forget(KEY, "old")
    assert shared.once(KEY, lambda: ("new", 60.0))[0] == "new"
    shared.forget(KEY, "old")
    assert shared.once(KEY, lambda: ("newest", 60.0))[0] == "new"


def test_a_failure_is_not_kept() -> None:
    def refuse() -> tuple[str, float]:
        raise ValueError("wrong password")

    shared = Shared()
    with pytest.raises(ValueError, match="wrong"):
        shared.once(KEY, refuse)
    assert shared.once(KEY, lambda: ("token", 60.0))[0] == "token"


def test_no_program_inherits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared()
    if shared._file < 0:
        pytest.fail("this system has no anonymous memory files: nothing is shared here")
    assert os.get_inheritable(shared._file) is False


def test_without_such_memory_everyone_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    shared = Shared()
    assert shared.once(KEY, lambda: ("one", 60.0))[0] == "one"
    assert shared.once(KEY, lambda: ("two", 60.0))[0] == "two"
    shared.forget(KEY, "two")


def test_a_module_process_keeps_nothing() -> None:
    cache = Cache()
    assert cache.once(KEY, lambda: ("one", 60.0))[0] == "one"
    assert cache.once(KEY, lambda: ("two", 60.0))[0] == "two"
    assert "alice" not in KEY
