"""What the benches change in every Python of a run; Python loads it from PYTHONPATH by its name.

OAPIP_BENCH_REQUESTS names a file that gets a line for each HTTP request: every client that is used
here (requests, urllib3, boto3, urllib, Ansible's own) sends through http.client. helm's requests
are its own affair. OAPIP_BENCH_SECONDS names one that gets the seconds until each answer began.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any


def _note(record: str, line: str) -> None:
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())  # one write: lines of processes do not mix
    finally:
        os.close(descriptor)


def _count(record: str) -> None:
    import http.client  # only where it is asked for: it is slow to load

    original = http.client.HTTPConnection.putrequest

    def putrequest(
        self: http.client.HTTPConnection, method: str, url: str, *args: Any, **kwargs: Any
    ) -> None:
        _note(record, f"{self.port} {method} {url}")
        original(self, method, url, *args, **kwargs)

    http.client.HTTPConnection.putrequest = putrequest  # type: ignore[method-assign]


def _time(record: str) -> None:
    import http.client

    original = http.client.HTTPConnection.getresponse

    def getresponse(self: http.client.HTTPConnection) -> http.client.HTTPResponse:
        begun = time.monotonic()
        answer = original(self)
        _note(record, f"{time.monotonic() - begun:.6f}")
        return answer

    http.client.HTTPConnection.getresponse = getresponse  # type: ignore[method-assign]


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
if os.environ.get("OAPIP_BENCH_SECONDS"):
    _time(os.environ["OAPIP_BENCH_SECONDS"])
if os.environ.get("OAPIP_BENCH_RESOLVE"):
    _resolve()
