"""apisix.md section 6: the normalised uri and which route answers."""

from __future__ import annotations

import pytest

from sandbox.gateway.request import Request
from sandbox.gateway.routing import Route, Router, TargetError, normalise


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("/foo?a", "/foo"),
        ("//foo", "/foo"),
        ("/f%6fo", "/foo"),
        ("/foo/../foo", "/foo"),
        ("/foo/", "/foo/"),
        ("/foo;x", "/foo;x"),
        ("/alice/../bob/x", "/bob/x"),
        ("/alice/%2e%2e/bob/x", "/bob/x"),
        ("/alice%2fx", "/alice/x"),
        ("/alice/..%2fbob", "/bob"),
        ("/bob/..;/alice/x", "/bob/..;/alice/x"),
        ("/bob/%252e%252e/alice/x", "/bob/%2e%2e/alice/x"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/b/../..", "/"),
        ("//", "/"),
        ("/a%3fb", "/a?b"),
        ("/a#b", "/a"),
        ("/a%20b", "/a b"),
        ("/%c3%a9", "/\xc3\xa9"),
    ],
)
def test_normalise(target: str, uri: str) -> None:
    assert normalise(target) == uri


@pytest.mark.parametrize("target", ["/..", "/a/../..", "/%00", "/%zz", "/%2", "alice", "*", ""])
def test_normalise_refuses_what_nginx_refuses(target: str) -> None:
    with pytest.raises(TargetError):
        normalise(target)


def _answers(routes: list[Route], target: str, method: str = "GET", host: str = "h") -> str | None:
    uri = normalise(target)
    found = Router(routes).match(host, uri, method, Request(method, target, uri))
    return found.name if found else None


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/foo?a", "foo"),
        ("//foo", "foo"),
        ("/f%6fo", "foo"),
        ("/foo/../foo", "foo"),
        ("/foo/", None),
        ("/FOO", None),
        ("/foo;x", None),
        ("/st/", "st"),
        ("/st", None),
        ("/ppx", "pp"),
        ("/pp", "pp"),
    ],
)
def test_paths(target: str, found: str | None) -> None:
    routes = [Route("foo", ("/foo",)), Route("st", ("/st/*",)), Route("pp", ("/pp*",))]
    assert _answers(routes, target) == found


def test_exact_beats_a_wide_route_of_higher_priority() -> None:
    routes = [Route("wide", ("/*",), priority=100), Route("exact", ("/foo",))]
    assert _answers(routes, "/foo") == "exact"


def test_the_longest_prefix_wins_whatever_its_priority() -> None:
    routes = [Route("wide", ("/*",), priority=9), Route("long", ("/a/b/*",)),
              Route("short", ("/a/*",), priority=5)]  # fmt: skip
    assert _answers(routes, "/a/b/c") == "long"
    assert _answers(routes, "/a/c") == "short"


def test_on_one_path_priority_decides_then_the_older() -> None:
    first, second = Route("first", ("/x",)), Route("second", ("/x",))
    assert _answers([first, second], "/x") == "first"
    assert _answers([first, Route("high", ("/x",), priority=1)], "/x") == "high"


def test_another_method_falls_through_to_a_wider_route() -> None:
    get = Route("get", ("/foo",), methods=frozenset({"GET"}))
    assert _answers([get], "/foo", "POST") is None
    assert _answers([get], "/foo", "HEAD") is None
    assert _answers([get, Route("wide", ("/*",))], "/foo", "POST") == "wide"


def test_hosts_exact_then_wildcard_then_none() -> None:
    routes = [
        Route("any", ("/*",)),
        Route("wild", ("/*",), hosts=("*.example",)),
        Route("exact", ("/only",), hosts=("A.example",)),
    ]
    assert _answers(routes, "/only", host="a.example") == "exact"
    assert _answers(routes, "/else", host="a.example") == "wild"
    assert _answers(routes, "/else", host="other") == "any"
