"""What the benches change in every Python of a run; Python loads it from PYTHONPATH by its name.

OAPIP_BENCH_REQUESTS names a file that gets a line for each HTTP request: every client that is used
here (requests, urllib3, boto3, urllib, Ansible's own) sends through http.client. helm's requests
are its own affair.
"""

from __future__ import annotations

import os
import socket
from typing import Any


def _count(record: str) -> None:
    import http.client  # only where it is asked for: it is slow to load

    original = http.client.HTTPConnection.putrequest

    def putrequest(
        self: http.client.HTTPConnection, method: str, url: str, *args: Any, **kwargs: Any
    ) -> None:
        line = f"{self.port} {method} {url}\n".encode()
        descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)  # one write: lines of several processes do not mix
        finally:
            os.close(descriptor)
        original(self, method, url, *args, **kwargs)

    http.client.HTTPConnection.putrequest = putrequest  # type: ignore[method-assign]


def _resolve() -> None:
    """Let names under `localhost` be the loopback address, as RFC 6761, section 6.3, has it."""
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(host, str) and host.endswith(".localhost"):
            host = "127.0.0.1"
        return original(host, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo


if os.environ.get("OAPIP_BENCH_REQUESTS"):
    _count(os.environ["OAPIP_BENCH_REQUESTS"])
if os.environ.get("OAPIP_BENCH_RESOLVE"):
    _resolve()
