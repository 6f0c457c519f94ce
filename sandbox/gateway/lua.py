"""The Lua of serverless functions, run by LuaJIT over a small ``ngx`` and ``apisix.core``.

A function that uses what is not here fails with an error, hence 500, as a wrong function
fails on APISIX. Strings are Latin-1 on the Python side: one character a byte.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import lupa.luajit21 as luajit

from sandbox.gateway.request import Answer, Request

log = logging.getLogger(__name__)


class SchemaError(ValueError):
    """APISIX's schema check refuses a plugin's configuration."""


class _LeaveError(Exception):
    """``ngx.exit`` or ``core.response.exit``."""

    def __init__(self, status: int, body: Any = None) -> None:
        super().__init__(status)
        self.answer = Answer.of(status, body)


_SHIM = r"""
local host = ...
-- the functions come from the cluster; they get no hand on the machine
io, dofile, loadfile, package, module, debug, jit = nil
os = {time = os.time, date = os.date, clock = os.clock}

local levels = {STDERR=0, EMERG=1, ALERT=2, CRIT=3, ERR=4, WARN=5, NOTICE=6, INFO=7, DEBUG=8}
local statuses = {
  HTTP_OK=200, HTTP_CREATED=201, HTTP_NO_CONTENT=204, HTTP_MOVED_TEMPORARILY=302,
  HTTP_BAD_REQUEST=400, HTTP_UNAUTHORIZED=401, HTTP_FORBIDDEN=403, HTTP_NOT_FOUND=404,
  HTTP_NOT_ALLOWED=405, HTTP_TOO_MANY_REQUESTS=429, HTTP_INTERNAL_SERVER_ERROR=500,
  HTTP_BAD_GATEWAY=502, HTTP_SERVICE_UNAVAILABLE=503, HTTP_GATEWAY_TIMEOUT=504,
  OK=0, ERROR=-1, DECLINED=-5,
}
local function words(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = tostring((select(i, ...))) end
  return table.concat(out)
end
local function headers(max)
  return setmetatable(host.headers(max == nil and 100 or max), {__index = function(t, name)
    return rawget(t, (string.gsub(string.lower(name), "_", "-")))
  end})
end
local function set_header(name, value) host.set_header(name, value) end

ngx = {
  req = {
    get_headers = headers, set_header = set_header,
    clear_header = function(name) host.set_header(name, nil) end,
    get_method = function() return host.var("request_method") end,
    get_uri_args = function() return host.args() end,
  },
  var = setmetatable({}, {__index = function(_, name) return host.var(name) end}),
  header = setmetatable({}, {
    __index = function(_, name) return host.response_header(name) end,
    __newindex = function(_, name, value) host.set_response_header(name, value) end,
  }),
  exit = function(status) host.exit(status) end,
  log = function(level, ...) host.log(level, words(...)) end,
  time = host.time, now = host.now,
  encode_base64 = host.encode_base64, decode_base64 = host.decode_base64,
  escape_uri = host.escape_uri, unescape_uri = host.unescape_uri,
}
for name, value in pairs(levels) do ngx[name] = value end
for name, value in pairs(statuses) do ngx[name] = value end

local core = {
  request = {
    header = function(_, name)
      local value = headers(0)[name]
      return type(value) == "table" and value[1] or value
    end,
    headers = function() return headers(0) end,
    set_header = function(ctx, name, value) set_header(name, value) end,
    get_method = ngx.req.get_method,
  },
  response = {
    exit = function(...) host.exit(...) end,
    set_header = function(name, value) host.set_response_header(name, value) end,
  },
  json = {encode = host.json_encode},
  log = setmetatable({}, {__index = function(_, level)
    return function(...) host.log(levels[string.upper(level)] or 7, words(...)) end
  end}),
}
function require(name)
  if name == "apisix.core" then return core end
  error("module '" .. name .. "' not found")
end
"""


class Lua:
    """One LuaJIT for the gateway; a call runs to its end, so one current request is enough."""

    def __init__(self) -> None:
        self._lua = luajit.LuaRuntime(
            encoding="latin-1",
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
        )
        self._request = Request("GET", "/", "/")
        self._compiled: dict[str, Any] = {}
        self._load = self._lua.eval("loadstring")
        self._lua.execute(_SHIM, self._lua.table_from(self._host()))
        self._lua.execute("python = nil")

    def compile(self, source: str) -> Any:
        """The function a chunk returns. Raises SchemaError as APISIX's check_schema does."""
        if not isinstance(source, str):
            raise SchemaError('property "functions" validation failed: wrong type')
        if source not in self._compiled:
            chunk = self._load(source.encode("utf-8").decode("latin-1"))
            if isinstance(chunk, tuple):
                raise SchemaError(f"failed to loadstring: {chunk[1]}")
            try:
                function = chunk()
            except luajit.LuaError as error:
                raise SchemaError(f"pcall error: {error}") from error
            if luajit.lua_type(function) != "function":
                kind = luajit.lua_type(function) or type(function).__name__
                raise SchemaError(f"only accept Lua function, the input code type is {kind}")
            self._compiled[source] = function
        return self._compiled[source]

    def call(self, function: Any, config: Mapping[str, Any], request: Request) -> Answer | None:
        """Run one function; what it returns first, or its error, is the answer."""
        self._request = request
        context = self._lua.table_from({"var": self._lua.globals().ngx.var})
        try:
            returned = function(self._lua.table_from(config, recursive=True), context)
        except _LeaveError as left:
            return left.answer
        except (luajit.LuaError, TypeError, ValueError, AttributeError) as error:
            log.error("serverless function failed: %s", error)
            return Answer.page(500)
        code, body = (*returned, None)[:2] if isinstance(returned, tuple) else (returned, None)
        if code is None and body is None:
            return None
        return Answer.of(int(code or 200), _plain(body))

    def _host(self) -> dict[str, Any]:
        return {
            "headers": self._headers,
            "set_header": self._set_header,
            "var": self._var,
            "args": self._args,
            "response_header": lambda name: self._request.response_headers.get(_dashed(name)),
            "set_response_header": self._set_response_header,
            "exit": _leave,
            "log": lambda level, text: log.log(_level(level), "serverless: %s", text),
            "time": lambda: int(time.time()),
            "now": time.time,
            "encode_base64": lambda text: base64.b64encode(text.encode("latin-1")).decode(),
            "decode_base64": lambda text: base64.b64decode(text).decode("latin-1"),
            "escape_uri": lambda text: quote(text.encode("latin-1"), safe="-_.~"),
            "unescape_uri": lambda text: unquote(text.replace("+", " "), encoding="latin-1"),
            "json_encode": lambda value: json.dumps(_plain(value), separators=(",", ":")),
        }

    def _headers(self, limit: int) -> Any:
        """Names in lower case; repeated ones as a list; at most ``limit`` lines, 0 for all."""
        found: dict[str, Any] = {}
        for number, (name, value) in enumerate(self._request.headers.items()):
            if limit and number >= limit:
                break
            found.setdefault(name.lower(), []).append(value)
        return self._lua.table_from(
            {name: values[0] if len(values) == 1 else values for name, values in found.items()},
            recursive=True,
        )

    def _set_header(self, name: str, value: Any = None) -> None:
        self._request.headers.popall(name, None)
        values = _plain(value)
        for item in values if isinstance(values, list) else [values]:
            if item is not None:
                self._request.headers.add(name, str(item))

    def _set_response_header(self, name: str, value: Any = None) -> None:
        self._request.response_headers.popall(_dashed(name), None)
        if value is not None:
            self._request.response_headers[_dashed(name)] = str(value)

    def _args(self) -> Any:
        args: dict[str, Any] = {}
        for part in filter(None, (self._request.args or "").split("&")):
            name, mark, value = part.partition("=")
            args[unquote(name, encoding="latin-1")] = (
                unquote(value.replace("+", " "), encoding="latin-1") if mark else True
            )
        return self._lua.table_from(args)

    def _var(self, name: str) -> str | None:
        request = self._request
        if name.startswith("http_"):
            wanted = name[5:].lower()
            values = [
                v for n, v in request.headers.items() if n.lower().replace("-", "_") == wanted
            ]
            return ", ".join(values) or None
        if name.startswith("arg_"):
            value = self._args()[name[4:]]
            return value if isinstance(value, str) else None
        known = {
            "request_uri": request.target,
            "uri": request.uri,
            "args": request.args,
            "query_string": request.args,
            "is_args": "?" if request.args is not None else "",
            "host": request.host,
            "scheme": request.scheme,
            "server_port": str(request.port),
            "remote_addr": request.remote,
            "request_method": request.method,
        }
        return known.get(name)


def _no_attributes(_object: Any, name: Any, _setting: bool) -> Any:
    raise AttributeError(name)


def _leave(status: int, body: Any = None) -> None:
    raise _LeaveError(int(status), _plain(body))


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _level(level: int) -> int:
    return logging.ERROR if level <= 4 else logging.WARNING if level == 5 else logging.INFO


def _plain(value: Any) -> Any:
    """A Lua table as a list when its keys are 1..n, else as a dict."""
    if luajit.lua_type(value) != "table":
        return value
    items = {key: _plain(item) for key, item in value.items()}
    if items and list(items) == list(range(1, len(items) + 1)):
        return list(items.values())
    return {str(key): item for key, item in items.items()}
