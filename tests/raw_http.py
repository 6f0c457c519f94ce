"""Requests that go on the wire as they are written: every client library would tidy them up."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Status, headers (the last of a name) and body of one answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: list[str] = field(default_factory=list)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Line:
    """A TLS server on the loopback, by the name it is asked for."""

    host: str
    port: int
    tls: ssl.SSLContext
    timeout: float = 20.0

    def send(self, data: bytes) -> bytes:
        """Send bytes; return what came until the other side closed or fell silent."""
        with (
            socket.create_connection(("localhost", self.port), self.timeout) as plain,
            self.tls.wrap_socket(plain, server_hostname=self.host) as wire,
        ):
            wire.sendall(data)
            came = b""
            with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLEOFError):
                while part := wire.recv(65536):
                    came += part
            return came

    def request(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b"", close: bool = True
    ) -> bytes:
        """Write one request; text is Latin-1, one character a byte."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}:{self.port}", *headers]
        if close:
            lines.append("Connection: close")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body

    def ask(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        """Send one request and read its answer."""
        return read(self.send(self.request(target, *headers, method=method, body=body)))


def read(raw: bytes) -> Answer:
    """Read the first answer of those that came on a connection that was then closed."""
    if not raw:
        raise ConnectionResetError("no answer")
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in rest]
    cookies = [value for name, value in pairs if name == "Set-Cookie"]
    return Answer(int(first.split()[1]), dict(pairs), body, cookies)
