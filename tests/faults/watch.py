"""What a command lets be seen while it runs: by its processes, and in its files."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.meanwhile import Meanwhile

PERIOD = 0.02  # seconds between two looks
OTHERS = 0o055  # what group and others may do: read, and pass through a folder
PASSED_OVER = frozenset({".git", ".sandbox"})  # of a checkout: the servers' own files


class Processes(Meanwhile):
    """Notes the arguments and environments of a process and its descendants.

    What it saw is searched at the end, as some secrets are known only then. `told` gets the
    arguments of each program as soon as it is seen.
    """

    def __init__(self, pid: int, told: Callable[[bytes], None] = lambda _arguments: None) -> None:
        super().__init__()
        self._family = {pid}
        self._others: set[int] = set()
        self._given = set(Path("/proc/self/environ").read_bytes().split(b"\0"))
        self._told = told
        self.samples = 0
        self.seconds = 0.0
        self.longest = 0.0  # seconds between two looks
        self.work = 0.0  # seconds of a processor for all looks
        # what each showed of itself, by process and start: arguments, and its own environment
        self.seen: dict[tuple[int, bytes], dict[bytes, bytes]] = {}

    def go(self) -> None:
        """Look until told to stop, once every 20 ms where the machine allows."""
        began = due = last = time.monotonic()
        while not self.over.wait(max(0.0, due - time.monotonic())):
            self._look()
            self.samples += 1
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last, due = now, max(due + PERIOD, now)
        self.seconds, self.work = time.monotonic() - began, time.thread_time()

    def _look(self) -> None:
        pids = {int(name) for name in _names("/proc") if name.isdigit()}
        self._others &= pids  # a number may be given again
        self._family &= pids
        for pid in sorted(pids - self._others):
            try:
                parent, began = _stat(pid)
                if pid not in self._family and parent not in self._family:
                    self._others.add(pid)  # nobody gets into a family later
                    continue
                self._family.add(pid)
                self._look_at(pid, self.seen.setdefault((pid, began), {}))
            except OSError:
                continue  # it is gone

    def _look_at(self, pid: int, seen: dict[bytes, bytes]) -> None:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        if arguments not in seen:  # new, or it runs another program now
            environment = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
            # what we were given ourselves, nobody gave away
            seen[arguments] = b"\0".join(sorted(environment - self._given))
            self._told(arguments)


def _names(folder: Path | str) -> set[str]:
    return {entry.name for entry in os.scandir(folder)}


def _stat(pid: int) -> tuple[int, bytes]:
    """Return the parent and the start of a process: proc_pid_stat(5), fields 4 and 22."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[1]), fields[19]


class Top:
    """What is new at the top of a folder; it is read again only when it has changed."""

    def __init__(self, place: Path) -> None:
        self._place, self._changed = place, place.stat().st_mtime_ns
        self._known = _names(place)
        self._new: list[Path] = []

    def new(self) -> list[Path]:
        """Return what was not there at first."""
        changed = self._place.stat().st_mtime_ns
        if changed != self._changed:
            self._changed = changed
            self._new = [self._place / name for name in _names(self._place) - self._known]
        return self._new


class Files(Meanwhile):
    """Notes what others may read: in a folder, and elsewhere, where others may be at work too.

    Of the places elsewhere only what is new counts: in `trees` down to the last folder, in `tops`,
    where libraries make temporary files, what begins at the top.
    """

    def __init__(self, folder: Path, trees: Sequence[Path] = (), tops: Sequence[Path] = ()) -> None:
        super().__init__()
        self._folder, self._trees = folder, trees
        self._tops = [Top(place) for place in (*trees, *tops)]
        self._before = dict(self._elsewhere())
        self.found: set[Path] = set()
        self.open: dict[Path, bytes] = {}  # others may read them

    def go(self) -> None:
        """Look until told to stop, at most a third of the time: it is also the other watcher's."""
        while not self.over.is_set():
            began = time.monotonic()
            self._note(walk(self._folder))
            for path in self._begun():
                self._note(_below(path, OTHERS))
            self.over.wait(max(PERIOD, 2 * (time.monotonic() - began)))

    def new(self) -> list[Path]:
        """Return the files elsewhere that are new, or other ones than before."""
        found = {path for path, about in self._elsewhere() if self._before.get(path) != about}
        for path in self._begun():
            found |= {file for file, _mode in _below(path, OTHERS, self._folder)}
        return sorted(found)

    def _begun(self) -> Iterator[Path]:
        """Yield what is new at the top of a place."""
        for top in self._tops:
            yield from top.new()

    def _note(self, files: Iterator[tuple[Path, int]]) -> None:
        for path, mode in files:
            self.found.add(path)
            if mode & 0o044 and path not in self.open:
                with contextlib.suppress(OSError):
                    self.open[path] = path.read_bytes()

    def _elsewhere(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for place in self._trees:
            for path, _mode in walk(place, self._folder):
                with contextlib.suppress(OSError):
                    about = path.stat(follow_symlinks=False)
                    yield path, (about.st_mtime_ns, about.st_size)


def walk(folder: Path, without: Path | None = None) -> Iterator[tuple[Path, int]]:
    """Yield the files of a folder, with what others may do to them by way of its folders."""
    try:
        names = _names(folder)
    except OSError:
        return
    for name in names:
        if name not in PASSED_OVER:
            yield from _below(folder / name, OTHERS, without)


def _below(path: Path, reach: int, without: Path | None = None) -> Iterator[tuple[Path, int]]:
    """Yield a file, or all files of a folder; `reach` is what its folders let others do."""
    if path == without:
        return
    try:
        status = path.stat(follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            through = (0o050 if mode & 0o010 else 0) | (0o005 if mode & 0o001 else 0)
            for name in _names(path):
                yield from _below(path / name, reach & through, without)
        elif stat.S_ISREG(status.st_mode):
            yield path, mode & reach
    except OSError:
        return
