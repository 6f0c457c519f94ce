"""The Lua of the route, really run: what it refuses, what it drops, what it lets through."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from ansible_collections.eoepca.oapip.plugins.module_utils import _route
from sandbox.gateway.lua import Lua
from sandbox.gateway.request import Answer, Request

LUA = Lua()
OIDC = _route.Oidc("https://auth.example.org/realms/eoepca", "eoepca", "oapip-engine")
ROUTE = _route.Route("zoo", "zoo", "zoo.example.org", "engine", oidc=OIDC, shared=("team",))


def run(rule: str, plugin: str, request: Request) -> Answer | None:
    """The answer of a plugin's functions, None when all let the request pass."""
    (found,) = [r for r in _route.rules(ROUTE) if r["name"] == rule]
    (config,) = [p["config"] for p in found["plugins"] if p["name"] == plugin]
    for source in config["functions"]:
        answer = LUA.call(LUA.compile(source), config, request)
        if answer is not None:
            return answer
    return None


def request(target: str = "/ogc-api/", **headers: str) -> Request:
    made = Request("GET", target, target.partition("?")[0])
    made.headers = CIMultiDict({name.replace("__", "-"): value for name, value in headers.items()})
    return made


@pytest.mark.parametrize("rule", ["open", "protected", "shared-team"])
@pytest.mark.parametrize(
    "name",
    [
        "Services__Namespace",
        "services_namespace",
        "X__Services__Namespace",
        "X_SERVICES_NAMESPACE",
        "Http_Authorization",
        "X__Http__Authorization",
    ],
)
def test_headers_that_choose_a_namespace(rule: str, name: str) -> None:
    answer = run(rule, "serverless-pre-function", request(**{name: "bob"}))
    assert answer is not None
    assert answer.status == 400


def test_header_number_151() -> None:
    many = {f"X__{number}": "x" for number in range(150)}
    answer = run("open", "serverless-pre-function", request(**many, Services__Namespace="bob"))
    assert answer is not None
    assert answer.status == 400


@pytest.mark.parametrize("rule", ["open", "protected", "shared-team"])
@pytest.mark.parametrize(
    "target",
    [
        "//ogc-api/",
        "/bob/..%2falice/x",
        "/bob/../alice/x",
        "/bob/..;/alice/x",
        "/bob/%252e%252e/alice/x",
        "/alice/./x",
        "/alice/..",
        "/alice;x=1/y",
        "/alice\\x",
        "http://zoo.example.org/alice",
    ],
)
def test_paths_that_two_parsers_read_differently(rule: str, target: str) -> None:
    answer = run(rule, "serverless-pre-function", request(target))
    assert answer is not None
    assert answer.status == 400


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/alice/ogc-api/processes/convert-url",
        "/alice/ogc-api/jobs?limit=10&x=%2f..;//",
        "/alice/a..b/.hidden",
    ],
)
def test_plain_requests_pass(target: str) -> None:
    sent = request(target, Authorization="Bearer x", Accept="application/json")
    assert run("protected", "serverless-pre-function", sent) is None
    assert sent.headers["Authorization"] == "Bearer x"


def test_identity_that_a_client_made_up_is_dropped() -> None:
    sent = request(
        "/alice/x",
        X__Access__Token="a",
        x_access_token="b",
        X__ID__Token="c",
        X_Userinfo="d",
        X__Refresh__Token="e",
        Accept="f",
    )
    assert run("protected", "serverless-pre-function", sent) is None
    assert dict(sent.headers) == {"Accept": "f"}


def test_open_paths_take_no_token() -> None:
    sent = request(Authorization="Bearer forged", authorization_="kept")
    assert run("open", "serverless-pre-function", sent) is None
    assert "Authorization" not in sent.headers


def test_shared_context_drops_the_token_at_the_end() -> None:
    sent = request("/team/x", Authorization="Bearer x")
    assert run("shared-team", "serverless-pre-function", sent) is None
    assert "Authorization" in sent.headers
    assert run("shared-team", "serverless-post-function", sent) is None
    assert "Authorization" not in sent.headers
