"""Steps with the seconds they take: live with rich on a terminal, plain lines elsewhere.

Steps may run in several threads. rich may be missing (before the venv exists).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

HEARTBEAT_SECONDS = 20.0


class Progress:
    """Shows what runs now and how long each finished step took."""

    def __init__(self) -> None:
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._live: Any = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            try:
                from rich.progress import Progress as Live
                from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
            except ImportError:
                pass
            else:
                columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
                self._live = Live(*columns, transient=True)
                self._live.start()
        if self._live is None:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the body; a failed step is marked, and the error goes on."""
        started = time.monotonic()
        task = self._live.add_task(name, total=None) if self._live else None
        with self._lock:
            self._running[name] = started
        mark = "✗"
        try:
            yield
            mark = "✓"
        finally:
            with self._lock:
                self._running.pop(name, None)
            if self._live:
                self._live.remove_task(task)
            self.say(f"{mark} {name:<42} {time.monotonic() - started:6.1f} s")

    def say(self, line: str) -> None:
        """A line of its own, above what runs."""
        if self._live:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with self._lock:
                now = time.monotonic()
                parts = [f"{name} {now - since:.0f} s" for name, since in self._running.items()]
            if parts:
                self.say("… " + ", ".join(parts))
