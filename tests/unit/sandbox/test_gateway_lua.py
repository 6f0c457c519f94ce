"""Serverless functions are LuaJIT's, over an ``ngx`` that knows this much and no more."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from sandbox.gateway.lua import Lua, SchemaError
from sandbox.gateway.request import Answer, Request


def _call(body: str, request: Request | None = None, config: Any = None) -> Answer | None:
    lua = Lua()
    function = lua.compile(f"return function(conf, ctx)\n{body}\nend")
    return lua.call(function, config or {}, request or Request("GET", "/a?b=1&c", "/a"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("return function(", "failed to loadstring"),
        ("error('x')", "pcall error"),
        ("return 1", "only accept Lua function, the input code type is int"),
        ("return {}", "only accept Lua function, the input code type is table"),
    ],
)
def test_the_schema_refuses_what_is_no_function(source: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Lua().compile(source)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ("return 400, {error_msg = 'no'}", 400, '{"error_msg":"no"}\n'),
        ("return 403, 'plain'", 403, "plain"),
        ("return 200, {1, 2}", 200, "[1,2]\n"),
        ("ngx.exit(204)", 204, ""),
        ("require('apisix.core').response.exit(418, 'tea')", 418, "tea"),
        ("return 200, ngx.var.request_uri .. ' ' .. ngx.var.uri", 200, "/a?b=1&c /a"),
        ("return 200, ctx.var.args .. ngx.var.is_args", 200, "b=1&c?"),
        ("return 200, tostring(ngx.req.get_uri_args().c)", 200, "true"),
        ("return 200, ngx.var.arg_b .. ngx.req.get_method()", 200, "1GET"),
        ("return 200, conf.word", 200, "given"),
        ("return ngx.HTTP_FORBIDDEN, 'x'", 403, "x"),
    ],
)
def test_answers(body: str, status: int, text: str) -> None:
    answer = _call(body, config={"word": "given"})
    assert answer is not None
    assert (answer.status, answer.body.decode()) == (status, text)


def test_a_code_alone_gives_nginx_page() -> None:
    answer = _call("return 403")
    assert answer is not None
    assert b"403 Forbidden" in answer.body
    assert answer.content_type.startswith("text/html")


@pytest.mark.parametrize(
    "body",
    [
        "local x = nil; return x.y",
        "return ngx.nosuch()",
        "require('resty.http')",
        "io.open('/etc/passwd')",
        "os.execute('true')",
        "return python.eval('1')",
        "return 400, ngx.req.get_headers.__class__",
    ],
)
def test_a_wrong_function_is_500(body: str) -> None:
    answer = _call(body)
    assert answer is not None
    assert answer.status == 500


def test_nothing_returned_goes_on() -> None:
    assert _call("local _ = 1") is None


def test_headers_lower_case_repeats_and_the_limit_of_100() -> None:
    headers: CIMultiDict[str] = CIMultiDict((f"H-{n}", "x") for n in range(150))
    headers.add("Services_Namespace", "bob")
    request = Request("GET", "/", "/", headers=headers)
    count = "local n = 0; for k in pairs(ngx.req.get_headers({})) do n = n + 1 end; return 200, n"
    assert _body(_call(count.format(""), request)) == "100"
    assert _body(_call(count.format("0"), request)) == "151"
    assert _body(_call("return 200, ngx.req.get_headers(0)['services_namespace']", request)) == (
        "bob"
    )
    request.headers.add("H-1", "y")
    assert _body(_call("return 200, ngx.req.get_headers(0)['H_1']", request)) == '["x","y"]\n'


def test_headers_set_and_cleared() -> None:
    request = Request("GET", "/", "/", headers=CIMultiDict({"Authorization": "x", "A": "1"}))
    body = "ngx.req.clear_header('authorization'); ngx.req.set_header('A', '2')"
    assert _call(body, request) is None
    assert dict(request.headers) == {"A": "2"}
    _call("ngx.header['X_Made'] = 'by lua'", request)
    assert request.response_headers["X-Made"] == "by lua"


def _body(answer: Answer | None) -> str:
    assert answer is not None
    return answer.body.decode()
