"""Which route answers a request: nginx's normalised uri and APISIX's radix tree, without I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from sandbox.gateway.plugins.base import Plugin
from sandbox.gateway.request import Request

_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")


class TargetError(ValueError):
    """nginx answers 400 to this request target."""


def split_target(target: str) -> tuple[str, str | None]:
    """Path and query of a raw request target; nginx drops a fragment."""
    whole = target.split("#", 1)[0]
    path, mark, query = whole.partition("?")
    return path, query if mark else None


def normalise(target: str) -> str:
    """nginx's ``$uri``: decoded once, slashes merged, dot segments resolved.

    Bytes map to characters one to one (Latin-1), as nginx and Lua see them.
    """
    path, _ = split_target(target)
    if not path.startswith("/") or _PERCENT.search(path):
        raise TargetError(target)
    segments = unquote_to_bytes(path.encode("latin-1")).decode("latin-1").split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if not kept:
                raise TargetError(target)
            kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    tail = "/" if kept and segments[-1] in ("", ".", "..") else ""
    return "/" + "/".join(kept) + tail


@dataclass(frozen=True)
class Upstream:
    """Where a route leads: a Service, and whether it has ready endpoints behind the port."""

    service: str = ""
    """``namespace/name``; empty when there is none."""
    port_name: str = ""
    ready: bool = False


@dataclass(frozen=True)
class Route:
    """One rule as the data plane knows it."""

    name: str
    paths: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    methods: frozenset[str] = frozenset()
    priority: int = 0
    conditions: tuple[Callable[[Request], bool], ...] = ()
    plugins: tuple[Plugin, ...] = ()
    upstream: Upstream = Upstream()
    read_timeout: float = 60.0


@dataclass
class _Tree:
    """Routes of one host: exact paths first, then the longest prefix; then priority, then age."""

    exact: dict[str, list[Route]] = field(default_factory=dict)
    prefixes: dict[str, list[Route]] = field(default_factory=dict)

    def add(self, route: Route) -> None:
        for path in route.paths:
            table, key = (self.prefixes, path[:-1]) if path.endswith("*") else (self.exact, path)
            routes = table.setdefault(key, [])
            routes.append(route)
            routes.sort(key=lambda known: -known.priority)

    def candidates(self, uri: str) -> Iterable[Route]:
        yield from self.exact.get(uri, ())
        for prefix in sorted((p for p in self.prefixes if uri.startswith(p)), key=len)[::-1]:
            yield from self.prefixes[prefix]


class Router:
    """``radixtree_host_uri``: an exact host, then wildcard hosts, then routes without a host."""

    def __init__(self, routes: Sequence[Route] = ()) -> None:
        self.routes = tuple(routes)
        self._hosts: dict[str, _Tree] = {}
        for route in routes:
            for host in route.hosts or ("",):
                self._hosts.setdefault(host.lower(), _Tree()).add(route)

    def match(self, host: str, uri: str, method: str, request: Request) -> Route | None:
        """The first route that fits; another method is no match, so a wider route may answer."""
        for tree in self._trees(host.lower()):
            for route in tree.candidates(uri):
                if route.methods and method not in route.methods:
                    continue
                if all(condition(request) for condition in route.conditions):
                    return route
        return None

    def _trees(self, host: str) -> Iterable[_Tree]:
        if host in self._hosts:
            yield self._hosts[host]
        for name in sorted((h for h in self._hosts if h.startswith("*")), key=len)[::-1]:
            if host.endswith(name[1:]):
                yield self._hosts[name]
        if "" in self._hosts:
            yield self._hosts[""]
