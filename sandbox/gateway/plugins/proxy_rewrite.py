"""proxy-rewrite: another path, host, method or headers for the upstream.

Whatever it is told to do, the upstream then gets the normalised path instead of the raw one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sandbox.gateway.plugins.base import Plugin, Runtime, SchemaError, expect
from sandbox.gateway.request import Answer, Request

_UNSAFE = re.compile(r'[\x00-\x20"#%<>?\\^`{|}\x7f-\xff]')
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_PROPERTIES = {"_meta", "uri", "method", "regex_uri", "host", "headers",
               "use_real_request_uri_unsafe"}  # fmt: skip
_NGINX_METHODS = {"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "MKCOL", "COPY", "MOVE",
                  "PROPFIND", "LOCK", "UNLOCK", "PATCH", "TRACE"}  # fmt: skip


def _escape(uri: str) -> str:
    """ngx_escape_uri with NGX_ESCAPE_URI."""
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", uri)


def _resolve(template: Any, request: Request) -> str:
    values = {"uri": request.uri, "host": request.host, "request_uri": request.target,
              "remote_addr": request.remote, "request_method": request.method,
              "scheme": request.scheme, "args": request.args or ""}  # fmt: skip

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name.startswith("http_"):
            return request.headers.get(name[5:].replace("_", "-"), "")
        return values.get(name, "")

    return _VARIABLE.sub(value, str(template))


class ProxyRewrite(Plugin):
    """https://apisix.apache.org/docs/apisix/plugins/proxy-rewrite/"""

    name = "proxy-rewrite"
    priority = 1008

    def __init__(self, config: Mapping[str, Any], runtime: Runtime) -> None:
        super().__init__(config, runtime)
        expect(config, uri=str, regex_uri=list, host=str, method=str, headers=dict,
               use_real_request_uri_unsafe=bool)  # fmt: skip
        if unknown := set(config) - _PROPERTIES:
            raise SchemaError(f"additional properties forbidden, found {min(unknown)}")
        if not set(config) - {"_meta"}:
            raise SchemaError("expect object to have at least 1 properties")
        if config.get("method", "GET") not in _NGINX_METHODS:
            raise SchemaError('property "method" validation failed')
        pair = config.get("regex_uri", ["", ""])
        if len(pair) % 2:
            raise SchemaError("The length of regex_uri should be an even number")
        try:
            self.regexes = [(re.compile(a), re.sub(r"\$(\d)", r"\\\1", b))
                            for a, b in zip(pair[::2], pair[1::2], strict=True)]  # fmt: skip
        except re.error as error:
            raise SchemaError(f"invalid regex_uri({pair[0]}): {error}") from error

    async def rewrite(self, request: Request) -> Answer | None:
        request.upstream_target = self._target(request)
        request.upstream_host = self.config.get("host")
        self._change_headers(request)
        request.method = self.config.get("method", request.method)
        return None

    def _target(self, request: Request) -> str:
        if self.config.get("use_real_request_uri_unsafe"):
            return request.target
        uri = request.uri
        if "uri" in self.config:
            uri = _resolve(self.config["uri"], request)
        elif "regex_uri" in self.config:
            for pattern, replacement in self.regexes:
                if pattern.search(uri):
                    uri = pattern.sub(replacement, uri, count=1)
                    break
        # Only a configured uri may bring a query of its own; "?" in $uri is a decoded %3F.
        path, mark, query = uri.partition("?") if uri != request.uri else (uri, "", "")
        queries = [q for q in (query if mark else None, request.args) if q is not None]
        return _escape(path) + ("?" + "&".join(queries) if queries else "")

    def _change_headers(self, request: Request) -> None:
        headers = self.config.get("headers", {})
        if not {"set", "add", "remove"} & set(headers):
            headers = {"set": headers}  # the form of APISIX before 3.0
        for name, value in headers.get("add", {}).items():
            request.headers.add(name, _resolve(value, request))
        for name, value in headers.get("set", {}).items():
            request.headers[name] = _resolve(value, request)
        for name in headers.get("remove", ()):
            request.headers.popall(name, None)
