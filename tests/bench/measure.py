"""What a command costs: wall time, CPU, memory."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.harness import ROOT

MB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds of a command with all its children, and memory in MB.

    `rss` is the largest resident set of any one process, `pss` the peak of all together with what
    they share counted once; 0 where it was not sampled.
    """

    wall: float
    cpu: float
    rss: float
    pss: float = 0.0


@dataclass(frozen=True)
class Budget:
    """A figure of the table: measured, held against its limit (None: there is none)."""

    what: str
    value: float
    unit: str = ""
    limit: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the figure is within its limit."""
        return self.limit is None or self.value <= self.limit


class CommandError(Exception):
    """A measured command failed: its figures would say nothing."""


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: Path,
    *,
    memory: bool = False,
    timeout: float = 900,
) -> Cost:
    """Run a command to its end and return what it cost; its words go to `output`.

    :raises CommandError: it failed, or did not end within `timeout` seconds.
    """
    with output.open("w", encoding="utf-8") as written:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    killer = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    sampler = _Sampler(process.pid) if memory else None
    try:
        _pid, status, usage = os.wait4(process.pid, 0)
    finally:
        killer.cancel()
        peak = sampler.stop() if sampler else 0.0
    wall = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = output.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise CommandError(f"{' '.join(command)}: exit {process.returncode}\n{said}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, peak)


class _Sampler(threading.Thread):
    """Looks at the memory of a process tree twice a second; a look costs a process milliseconds."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._over = threading.Event()
        self._peak = 0
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.5):
            self._peak = max(self._peak, self._now())

    def _now(self) -> int:
        total = 0
        try:
            for process in (self._root, *self._root.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except (psutil.Error, OSError):
                    continue  # it has just ended
        except psutil.Error:
            return 0
        return total

    def stop(self) -> float:
        """Return the peak in MB."""
        self._over.set()
        self.join()
        return self._peak / MB


def by_turns(count: int, *measured: Callable[[], Cost]) -> list[Cost]:
    """Measure several things in turns, so that a busy moment strikes them alike; the medians."""
    rounds = [[measure() for measure in measured] for _ in range(count)]
    return [median(costs) for costs in zip(*rounds, strict=True)]


def median(costs: Iterable[Cost]) -> Cost:
    """Return the medians, field by field."""
    rows = [(cost.wall, cost.cpu, cost.rss, cost.pss) for cost in costs]
    wall, cpu, rss, pss = (statistics.median(column) for column in zip(*rows, strict=True))
    return Cost(wall, cpu, rss, pss)


def table(budgets: Iterable[Budget]) -> str:
    """Return the figures as one table."""
    lines = [("what", "measured", "at most", "")]
    for one in budgets:
        limit = "" if one.limit is None else f"{one.limit:g} {one.unit}".strip()
        verdict = "" if one.limit is None else "ok" if one.kept else "OVER"
        lines.append((one.what, _figure(one), limit, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _figure(one: Budget) -> str:
    """Return a count in full, and three digits of what was measured."""
    shown = f"{one.value:.0f}" if one.value >= 100 else f"{one.value:.3g}"
    return f"{shown} {one.unit}".strip()
