"""A request on its way through the gateway, and the answers nginx and APISIX give themselves."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict

REASONS = {
    302: "Found",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Authorization Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}
"""nginx's words, which differ from the standard's."""

_PAGE = """<html>
<head><title>{title}</title></head>
<body>
<center><h1>{title}</h1></center>
<hr><center>openresty</center>
<p><em>Powered by <a href="https://apisix.apache.org/">APISIX</a>.</em></p></body>
</html>
"""


async def _no_body() -> bytes:
    return b""


@dataclass
class Request:
    """What plugins read and change. Text is Latin-1: one character a byte, as nginx sees it."""

    method: str
    target: str
    """Raw request target, query included (``$request_uri``)."""
    uri: str
    """Decoded and normalised path (``$uri``)."""
    host: str = "localhost"
    """Host name without port, lower case (``$host``)."""
    port: int = 443
    scheme: str = "https"
    remote: str = "127.0.0.1"
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    response_headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    """Added to whatever answer follows (``ngx.header``)."""
    upstream_target: str | None = None
    """Set by proxy-rewrite; otherwise the raw target goes upstream."""
    upstream_host: str | None = None
    read_body: Callable[[], Awaitable[bytes]] = _no_body

    @property
    def args(self) -> str | None:
        """Raw query string, or None without a question mark."""
        return self.target.split("?", 1)[1] if "?" in self.target else None


@dataclass(frozen=True)
class Answer:
    """An answer made by the gateway, not by the upstream."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def page(cls, status: int, headers: Mapping[str, str] | None = None) -> Answer:
        """nginx's own page, as after ``ngx.exit(status)``; nothing below 300."""
        if status < 300:
            return cls(status, headers=headers or {})
        title = f"{status} {REASONS.get(status, '')}".rstrip()
        return cls(status, _PAGE.format(title=title).encode(), "text/html; charset=utf-8",
                   headers or {})  # fmt: skip

    @classmethod
    def of(cls, status: int, body: Any = None) -> Answer:
        """APISIX's ``core.response.exit``: tables as JSON with a newline, text as it is."""
        if body is None:
            return cls.page(status)
        if isinstance(body, (dict, list)):
            return cls(status, json.dumps(body, separators=(",", ":")).encode("latin-1") + b"\n")
        return cls(status, body if isinstance(body, bytes) else str(body).encode("latin-1"))
