# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cache that the workers of one run share: memory that they inherit, and no file.

A worker lives for one task, so each would log in to Keycloak anew: 0.2 s of the server's time for
the hash of the password, four times a host. Ansible's own process makes the memory when it loads
the first action of this collection, before it forks any worker. It is never on a disk, ends with
the last process of the run, and no program that a worker starts inherits it. Where the system has
no such memory (macOS), nothing is shared.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils._cache import Cache, Make

Known = t.Dict[str, t.Tuple[str, float]]

DATA = 1 << 40
"""Byte that is locked to read or write; the bytes after it are for the keys."""

PATIENCE = 5.0
"""Seconds that a worker waits for another one to find a value out, before it does so itself."""


class Shared(Cache):
    """Values by key, each found out by one worker while the others wait for it.

    The locks are POSIX record locks: the system takes them from a worker that dies.
    """

    def __init__(self) -> None:
        self._file = -1
        with contextlib.suppress(AttributeError, OSError):
            self._file = os.memfd_create("eoepca.oapip")
        self._threads = threading.Lock()  # record locks do not part the threads of a process

    def once(self, key: str, make: Make) -> t.Tuple[str, float]:
        """Return what is known and holds, else find it out."""
        if self._file < 0:
            return super().once(key, make)
        with self._alone(DATA + 1 + int(key[:8], 16), PATIENCE):
            with self._data() as known:
                value, until = known.get(key, ("", 0.0))
            if time.monotonic() < until:
                return value, until
            value, seconds = make()
            until = time.monotonic() + seconds
            with self._data() as known:
                known[key] = (value, until)
            return value, until

    def forget(self, key: str, value: str) -> None:
        """Drop a value that turned out to be wrong."""
        if self._file < 0:
            return
        with self._data() as known:
            if known.get(key, ("", 0.0))[0] == value:
                del known[key]

    @contextlib.contextmanager
    def _data(self) -> t.Iterator[Known]:
        """Give the content to read and to change."""
        with self._threads, self._alone(DATA):
            text = os.pread(self._file, os.fstat(self._file).st_size, 0)
            known: Known = json.loads(text) if text else {}
            yield known
            after = json.dumps(known).encode()
            if after != text:
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, after, 0)

    @contextlib.contextmanager
    def _alone(self, byte: int, seconds: float = float("inf")) -> t.Iterator[None]:
        """Hold a lock; go on without it when it does not come in time."""
        end = time.monotonic() + seconds
        held = self._take(byte)
        while not held and time.monotonic() < end:
            time.sleep(0.005)
            held = self._take(byte)
        try:
            yield
        finally:
            if held:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def _take(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True
