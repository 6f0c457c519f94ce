"""Apache and the chart's `.htaccess`: from the raw request target to the kernel's door.

Source: the chart's files/zoo-project/htaccess and default.conf (AllowEncodedSlashes On). The path
is decoded and normalised once, then once more behind the prefix, because the first rule is an
internal redirect. Pure functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BROWSE = re.compile(r"/?(?P<prefix>.*)/temp/(?P<rest>.*)", re.DOTALL)
_ANY_PREFIX = re.compile(r"/?(?P<prefix>.*)/ogc-api/(?P<rest>.*)", re.DOTALL)
_WORD_PREFIX = re.compile(r"/?(?P<prefix>\w+)/ogc-api/(?P<rest>.*)", re.DOTALL | re.ASCII)
_REDIRECTS = 10  # Apache's LimitInternalRecursion
_LOADER = "/cgi-bin/zoo_loader.cgi"


class Door(Enum):
    """Which part of the pod answers."""

    API = "api"
    HTML = "html"
    WPS = "wps"
    BROWSE = "browse"
    STATIC = "static"
    BAD = "bad"


@dataclass(frozen=True)
class Route:
    """Where a request ends: the path is the one behind `/ogc-api`, decoded."""

    door: Door
    path: str = ""
    query: str = ""
    namespace: str | None = None


class BadPathError(ValueError):
    """Apache answers 400 before any rule is read."""


def clean(path: str) -> str:
    """Decode escapes once, merge slashes and resolve dot segments.

    Raises:
        BadPathError: a broken escape, a NUL, or more `..` than folders.
    """
    if _ESCAPE.search(path):
        raise BadPathError(path)
    decoded = unquote(path, errors="surrogateescape")
    if "\0" in decoded or not decoded.startswith("/"):
        raise BadPathError(path)
    kept: list[str] = []
    segments = decoded.split("/")
    for segment in segments:
        if segment == "..":
            if not kept:
                raise BadPathError(path)
            kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    folder = bool(kept) and segments[-1] in ("", ".", "..")
    return "/" + "/".join(kept) + ("/" if folder else "")


def route(target: str, *, any_prefix: bool = True) -> Route:
    """Find the door for a raw request target (path and query, as received)."""
    raw, _, query = target.partition("?")
    try:
        return _route(clean(raw), query, _ANY_PREFIX if any_prefix else _WORD_PREFIX)
    except BadPathError:
        return Route(Door.BAD)


def _route(path: str, query: str, api: re.Pattern[str]) -> Route:
    namespace: str | None = None
    for _ in range(_REDIRECTS):
        found, inner = _BROWSE.fullmatch(path[1:]), "/temp/"
        if not found:
            found, inner = api.fullmatch(path[1:]), "/ogc-api/"
        if not found:
            break
        namespace = found["prefix"] or namespace
        path = clean(inner + found["rest"])
    return _door(path, query, namespace)


def _door(path: str, query: str, namespace: str | None) -> Route:
    if path.startswith("/temp/"):
        return Route(Door.BROWSE, path.removeprefix("/temp/"), query, namespace)
    if path == _LOADER:
        rest, _, more = query.partition("&")
        if rest.startswith("/"):
            return Route(Door.API, rest, more, namespace)
        return Route(Door.WPS, "", query, namespace)
    if not path.startswith("/ogc-api"):
        return Route(Door.STATIC, path, query)
    rest = path.removeprefix("/ogc-api")
    if rest.endswith(".html") and rest != "/api.html":
        return Route(Door.HTML, rest, query, namespace)
    if rest.startswith("/"):
        return Route(Door.API, rest, query, namespace)
    return Route(Door.WPS, "", query if not rest else f"{rest}&{query}", namespace)
