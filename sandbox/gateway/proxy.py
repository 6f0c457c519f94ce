"""The data plane: takes a request through its route's plugins and on to the engine."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from pathlib import Path

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from sandbox.gateway.plugins.base import Plugin
from sandbox.gateway.request import Answer, Request
from sandbox.gateway.routing import Route, Router, TargetError, normalise

log = logging.getLogger(__name__)

SERVER = "APISIX/3.16.0"
SERVICE_HEADER = "X-Sandbox-Service"
"""Tells the engine's stand-in, which has one socket, for which Service a request is."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""Header names nginx keeps; it drops others without a word."""
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer",
               "transfer-encoding", "upgrade", "expect"}  # fmt: skip
_ONCE = ("Host", "Authorization", "Content-Length", "Content-Type")
"""nginx answers 400 to a second one of these."""


class Proxy:
    """Answers every request by the newest published routes."""

    def __init__(self, engine_socket: Path, port: int) -> None:
        self.router = Router()
        self.port = port
        self._socket = str(engine_socket)
        self._client: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close connections to the engine."""
        if self._client is not None:
            await self._client.close()

    async def handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """The handler of the server: one request to one answer."""
        if incoming.method in ("TRACE", "CONNECT"):
            return _respond(Answer.page(405))
        try:
            request = self._read(incoming)
        except TargetError:
            return _respond(Answer.page(400))
        route = self.router.match(request.host, request.uri, request.method, request)
        if route is None:
            return _respond(Answer.of(404, {"error_msg": "404 Route Not Found"}))
        try:
            answer = await run_plugins(route.plugins, request)
            if answer is None:
                return await self._forward(incoming, request, route)
        except (aiohttp.ClientError, OSError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("plugin of %s failed", route.name)
            answer = Answer.page(500)
        return self._finish(_respond(answer), request, route.plugins)

    def _read(self, incoming: web.BaseRequest) -> Request:
        """nginx's view of the request. Raises TargetError where nginx answers 400."""
        target = incoming.raw_path.encode("utf-8", "surrogateescape").decode("latin-1")
        headers: CIMultiDict[str] = CIMultiDict()
        for raw_name, raw_value in incoming.raw_headers:
            name = raw_name.decode("latin-1")
            dashed = name.lower().replace("_", "-")
            if _NAME.fullmatch(name) and not dashed.startswith("x-sandbox-"):
                headers.add(name, raw_value.decode("latin-1"))
        if "://" in target.split("?", 1)[0] and not target.startswith("/"):  # absolute form
            authority, slash, rest = target.partition("://")[2].partition("/")
            target, headers["Host"] = f"/{rest}" if slash else "/", authority
        if any(len(headers.getall(name, ())) > 1 for name in _ONCE) or "Host" not in headers:
            raise TargetError(target)
        host = re.sub(r":\d*$", "", headers["Host"]).lower()
        return Request(
            method=incoming.method,
            target=target,
            uri=normalise(target),
            host=host,
            port=self.port,
            scheme=incoming.scheme,
            remote=incoming.remote or "127.0.0.1",
            headers=headers,
        )

    async def _forward(
        self, incoming: web.BaseRequest, request: Request, route: Route
    ) -> web.StreamResponse:
        """Send the request on; what goes wrong on the way is 502, 503 or 504 as nginx says."""
        if not route.upstream.ready:
            answer = Answer.page(503)
        elif route.upstream.port_name != "http":
            answer = Answer.page(502)  # no one listens behind the Service's other ports
        else:
            try:
                return await self._relay(incoming, request, route)
            except TimeoutError:
                answer = Answer.page(504)
            except (aiohttp.ClientError, ConnectionError, FileNotFoundError) as error:
                log.warning("engine of %s: %r", route.upstream.service, error)
                answer = Answer.page(502)
        if answer.status != 503:
            request.response_headers["X-APISIX-Upstream-Status"] = str(answer.status)
        return self._finish(_respond(answer), request, route.plugins)

    async def _relay(
        self, incoming: web.BaseRequest, request: Request, route: Route
    ) -> web.StreamResponse:
        if request.headers.get("Expect", "").lower() == "100-continue":
            await incoming.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await incoming.content.read()
        target = request.target if request.upstream_target is None else request.upstream_target
        # As one raw path: yarl takes nothing apart, so nothing is normalised on the way.
        url = URL.build(scheme="http", host="engine", path=_wire(target), encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=route.read_timeout)
        async with self._session().request(
            request.method, url, headers=_to_upstream(request, route, len(body)), data=body or None,
            allow_redirects=False, timeout=timeout,
        ) as upstream:  # fmt: skip
            response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
            for name, value in upstream.headers.items():
                if name.lower() not in _HOP_BY_HOP | {"date", "server"}:
                    response.headers.add(name, value)
            if upstream.status >= 500:
                request.response_headers["X-APISIX-Upstream-Status"] = str(upstream.status)
            self._finish(response, request, route.plugins)
            await response.prepare(incoming)
            try:
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            except (aiohttp.ClientError, TimeoutError):
                if incoming.transport is not None:
                    incoming.transport.abort()  # too late for a status: the client sees a break
        return response

    def _finish(
        self, response: web.StreamResponse, request: Request, plugins: Iterable[Plugin]
    ) -> web.StreamResponse:
        for plugin in plugins:
            plugin.header_filter(request)
        for name in request.response_headers:
            response.headers.popall(name, None)
        response.headers.extend(request.response_headers)
        response.headers["Server"] = SERVER
        return response

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                # A connection a request: a kept one may be closed by the engine under a POST.
                connector=aiohttp.UnixConnector(self._socket, force_close=True, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                max_line_size=32768,
                max_field_size=32768,
            )
        return self._client


async def run_plugins(plugins: Iterable[Plugin], request: Request) -> Answer | None:
    """All rewrite phases, then all access phases, in the order given; the first answer ends it."""
    for plugin in plugins:
        if (answer := await plugin.rewrite(request)) is not None:
            return answer
    for plugin in plugins:
        if (answer := await plugin.access(request)) is not None:
            return answer
    return None


def _to_upstream(request: Request, route: Route, length: int) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in request.headers.items():
        if name.lower() not in _HOP_BY_HOP | {"content-length", "host"}:
            headers.add(name, _wire(value))
    headers["Host"] = request.upstream_host or request.headers["Host"]
    if length or "Content-Length" in request.headers:
        headers["Content-Length"] = str(length)
    headers["X-Real-IP"] = request.remote
    forwarded = request.headers.get("X-Forwarded-For")
    headers["X-Forwarded-For"] = f"{forwarded}, {request.remote}" if forwarded else request.remote
    headers["X-Forwarded-Proto"] = request.scheme
    headers["X-Forwarded-Host"] = request.host
    headers["X-Forwarded-Port"] = str(request.port)
    headers[SERVICE_HEADER] = route.upstream.service
    return headers


def _wire(text: str) -> str:
    """aiohttp writes UTF-8: bytes that are UTF-8 arrive as they came."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _respond(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type, **answer.headers, "Server": SERVER}
    return web.Response(status=answer.status, body=answer.body, headers=headers)
