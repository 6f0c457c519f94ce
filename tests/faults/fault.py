"""What may go wrong with a request, which requests it hits, and what a client gets to see then."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

SERVERS = ("keycloak", "s3", "kubernetes", "gateway")
KINDS = {
    "429": "too many requests, with Retry-After in seconds; not carried out",
    "429-date": "the same, with Retry-After as an HTTP date",
    "500": "an error of the server itself; not carried out",
    "502": "the page of a load balancer; not carried out",
    "503": "the same; not carried out",
    "503-after": "the same, with Retry-After in seconds; not carried out",
    "reset-before": "the connection is reset; not carried out",
    "lost": "carried out, then the connection is reset before the answer",
    "reset-inside": "carried out, then the connection is reset in the middle of the answer",
    "reset-after": "carried out and answered, then the connection is reset",
    "truncated": "carried out, half of the answer looks like the whole of it",
    "html": "a web page with status 200; not carried out",
    "silence": "nothing for a while, then carried out if the client still waits",
    "expired": "the credentials are refused in the server's own words; not carried out",
}
OF_JOBS = {"404": "the API does not know the job, as just after its start; not carried out"}
"""What only a client of jobs is to survive: elsewhere a 404 means absent."""
PAGE = b"<html><head><title>%s</title></head><body><h1>%s</h1><hr>a proxy</body></html>\n"


@dataclass
class Fault:
    """What goes wrong, and with which requests: of those that match, the n-th, every k-th or all.

    `match` is searched in "METHOD /path?query". `seconds` is the length of a silence,
    `retry_after` what 429 asks for; `start` and `end` are seconds after `Proxy.breaks`.
    """

    kind: str
    match: str = ""
    nth: int = 0
    every: int = 1
    times: int = 0
    start: float = 0.0
    end: float = float("inf")
    seconds: float = 30.0
    retry_after: int = 2
    matched: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in {**KINDS, **OF_JOBS}:
            raise ValueError(f"no fault {self.kind}: one of {', '.join([*KINDS, *OF_JOBS])}")

    def strikes(self, line: str, elapsed: float) -> bool:
        """Whether this very request goes wrong; every call counts as a request."""
        if not re.search(self.match, line) or not self.start <= elapsed < self.end:
            return False
        self.matched += 1
        if self.times and self.hits >= self.times:
            return False
        chosen = self.matched == self.nth if self.nth else self.matched % self.every == 0
        self.hits += chosen
        return chosen


def digest(headers: Mapping[str, str]) -> int:
    """Return what tells requests to one path apart, also where each is signed anew."""
    kept = [
        (name.lower(), value)
        for name, value in headers.items()
        if not name.lower().startswith(("x-amz-", "amz-sdk-")) and not value.startswith("AWS4-")
    ]
    return hash(tuple(sorted(kept)))


@dataclass
class Seen:
    """One request: when it came (seconds since the epoch), how long it took, what came of it.

    The status is that of the server or of the fault; 0 where no answer was given. `headers` is a
    digest of those that the same request has again when it is repeated.
    """

    method: str
    path: str
    at: float
    status: int = 0
    seconds: float = 0.0
    fault: str = ""
    headers: int = 0

    def line(self) -> str:
        """Return one readable line."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        fault = f"  <- {self.fault}" if self.fault else ""
        return f"{clock} {self.status:3} {self.seconds:6.2f} s {self.method} {self.path}{fault}"


def instead(fault: Fault, server: str, method: str) -> web.Response | None:
    """Return the answer of a fault that keeps a request from the server; None: it gets there."""
    kind = fault.kind
    if kind == "html":
        return page(200, "Welcome")
    if kind == "expired":
        return said(401, server, method)
    if kind == "404":
        told = {"type": "NoSuchJob", "title": "NoSuchJob", "detail": "The JobID is not known"}
        return web.json_response(told, status=404)
    status = int(kind[:3]) if kind[:3].isdigit() else 0
    if not status:
        return None
    answer = page(status, "Sorry") if status in (502, 503) else said(status, server, method)
    if kind == "429-date":
        when = time.time() + fault.retry_after
        answer.headers["Retry-After"] = email.utils.formatdate(when, usegmt=True)
    elif status == 429 or kind == "503-after":
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def said(status: int, server: str, method: str) -> web.Response:
    """Return an error in the words of a server: no token is named in any."""
    reason = {401: "Unauthorized", 429: "TooManyRequests", 500: "InternalError"}[status]
    if server == "kubernetes":
        about = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        told = {**about, "message": reason, "reason": reason, "code": status}
        return web.json_response(told, status=status)
    if server == "s3":
        code, status = ("ExpiredToken", 400) if status == 401 else (reason, status)
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{reason}</Message></Error>"
        body = "" if method == "HEAD" else text
        return web.Response(status=status, text=body, content_type="application/xml")
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'} if status == 401 else {}
    return web.json_response({"error": f"HTTP {status} {reason}"}, status=status, headers=headers)


def page(status: int, title: str) -> web.Response:
    """Return a web page, as something in between shows it."""
    body = PAGE % (title.encode(), title.encode())
    return web.Response(status=status, body=body, content_type="text/html")
