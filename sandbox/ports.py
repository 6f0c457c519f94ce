"""Free loopback ports, picked once and kept."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, MutableMapping

#: Below Linux's ephemeral ports (32768-60999), so no outgoing connection takes one in between.
RANGE = range(20000, 32000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Ports:
    """Ports by name, kept in `record` (a mapping the caller saves)."""

    def __init__(
        self, record: MutableMapping[str, int], free: Callable[[int], bool] = is_free
    ) -> None:
        self._record = record
        self._free = free

    def forget_taken(self) -> list[str]:
        """Drop the ports another program took (call only while our servers are down)."""
        taken = [name for name, port in self._record.items() if not self._free(port)]
        for name in taken:
            del self._record[name]
        return taken

    def __call__(self, name: str) -> int:
        """The port of that name, picked now if it is new."""
        if name not in self._record:
            used = set(self._record.values())
            candidates = random.sample(RANGE, 200)
            self._record[name] = next(p for p in candidates if p not in used and self._free(p))
        return self._record[name]
