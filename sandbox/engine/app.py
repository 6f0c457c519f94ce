"""The HTTP server: one socket, every Service of a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import aiohttp
import certifi
from aiohttp import web

from . import tokens, wps
from .answers import Answer, CrashError, RefusedError, crash, document, exception, html
from .api import Api
from .descriptions import base_url
from .jobs import Job, JobStore, status_info
from .paths import Door, Route, route
from .processes import ProcessStore
from .requests import Call, Engine, Request, user_base
from .runner import Runner
from .settings import Settings, SettingsSource

log = logging.getLogger(__name__)
SERVICE = "X-Sandbox-Service"
_LARGEST_BODY = 16 * 2**20
_FILTERS = ("jwt.securityIn", "dru.securityIn", "dru.securityOut")
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, OPTIONS, DELETE, HEAD",
    "Access-Control-Allow-Credentials": "true",
}
_PROFILE = "https://www.opengis.net/dev/profile/OGC/0/"
_PROFILES = {"processes": ("ogc-process-list", "ogc-process-description")}
_PROFILES["jobs"] = ("jobs-list", "jobs-description")


class App:
    """Joins doors, filter and API; keeps one engine a volume."""

    def __init__(
        self,
        source: SettingsSource,
        state: Path,
        ca_file: Path,
        fetch_keys: tokens.KeyFetcher = tokens.fetch_keys,
    ) -> None:
        self._source = source
        self._state = state
        self._fetch_keys = fetch_keys
        self._engines: dict[str, Engine] = {}
        state.mkdir(parents=True, exist_ok=True)
        self._trust = state.resolve() / "trust.pem"
        system = Path(os.environ.get("SSL_CERT_FILE") or certifi.where())
        self._trust.write_text(system.read_text() + "\n" + ca_file.read_text())

    def web_app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        await asyncio.gather(*(engine.runner.close() for engine in self._engines.values()))

    def engine(self, settings: Settings) -> Engine:
        """The state of an engine, made at its first request."""
        if settings.key not in self._engines:
            root = self._state.resolve() / settings.key
            processes, jobs = ProcessStore(root), JobStore(root)
            runner = Runner(jobs, processes, self._trust)
            self._engines[settings.key] = Engine(processes, jobs, runner)
        return self._engines[settings.key]

    async def _handle(self, request: web.Request) -> web.Response:
        service = request.headers.get(SERVICE, "")
        try:
            settings = await self._source.get(service)
        except (aiohttp.ClientError, OSError) as error:
            log.warning("cannot read the settings of %s: %s", service, error)
            settings = None
        if settings is None:
            return _response(html(503), {}, bare=False)
        where = route(request.raw_path, any_prefix=settings.flavour.any_prefix)
        answer = await self._answer(service, settings, where, request)
        headers = dict(answer.headers)
        if answer.kernel:
            headers |= _kernel_headers(settings, where)
        return _response(answer, headers, bare=request.method == "HEAD")

    async def _answer(
        self, service: str, settings: Settings, where: Route, request: web.Request
    ) -> Answer:
        engine = self.engine(settings)
        if where.door is Door.BAD:
            return html(400)
        if where.door is Door.STATIC:
            return wps.static(where.path, settings.pages)
        if where.door is Door.WPS:
            return wps.wps(where.query, await request.read(), engine.processes, settings)
        if where.door is Door.BROWSE:
            return wps.browse(where.path, where.namespace, engine.processes)
        try:
            return await self._api(service, settings, where, request)
        except RefusedError as refused:
            return refused.answer
        except CrashError:
            return crash()

    async def _api(
        self, service: str, settings: Settings, where: Route, request: web.Request
    ) -> Answer:
        method = request.method
        if method == "HEAD":
            if not settings.flavour.answers_head:
                return exception("InternalError", "The method is not supported.")
            method = "GET"
        if method == "OPTIONS":
            good = settings.cors and settings.flavour.answers_head
            return Answer(200) if good else exception("InternalError", "Not supported.")
        user = await tokens.acting_user(
            [
                (k.decode(errors="replace"), v.decode(errors="replace"))
                for k, v in request.raw_headers
            ],
            where.namespace,
            settings,
            secured=where.path.split("/")[1] in ("processes", "jobs"),
            fetch_keys=self._fetch_keys,
        )
        if where.door is Door.HTML:
            return replace(html(200, f"ZOO-Project {where.path}"), kernel=True)
        ask = Request(
            method,
            where.path,
            _parameters(where.query),
            request.headers,
            await request.read(),
            user,
        )

        async def read_settings() -> Settings | None:
            return await self._source.get(service)

        base = user_base(settings, user)

        async def watch(job: Job) -> None:
            await self._notify(job, settings, base)

        call = Call(self.engine(settings), settings, ask, read_settings, watch)
        return await Api(call).answer()

    async def _notify(self, job: Job, settings: Settings, base: str) -> None:
        """Tell a job's subscriber; nobody waits for its answer."""
        kinds = {"running": "inProgressUri", "successful": "successUri", "failed": "failedUri"}
        url = job.subscriber.get(kinds[job.status])
        if not url:
            return
        info = status_info(job, settings.flavour, base)
        body = document(info if job.running else job.document()).body
        trust = ssl.create_default_context(cafile=str(self._trust))
        kind = {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(url, data=body, headers=kind, ssl=trust),
            ):
                pass
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("subscriber of job %s: %s", job.job_id, type(error).__name__)


def _parameters(query: str) -> dict[str, str]:
    return dict(parse_qsl(query, keep_blank_values=True))


def _kernel_headers(settings: Settings, where: Route) -> dict[str, str]:
    headers = dict(settings.headers)
    if settings.flavour.links_header and settings.cors:
        headers = _CORS | headers
    filters = _FILTERS if where.door in (Door.API, Door.HTML) else ()
    name = "Powered-By"
    headers.setdefault(f"X-{name}", "ZOO-Project-DRU")
    for value in filters:
        name = "Also-" + name
        headers[f"X-{name}"] = value
    if settings.flavour.links_header and where.door is Door.API:
        headers["Link"] = _links(settings, where)
    return headers


def _links(settings: Settings, where: Route) -> str:
    parts = [part for part in where.path.split("/") if part]
    href = base_url(settings, where.namespace) + where.path
    found = f'<{href}>; rel="self"; type="application/json"'.replace("\n", "").replace("\r", "")
    if parts and parts[0] in _PROFILES and len(parts) <= 2:
        found += f', <{_PROFILE}{_PROFILES[parts[0]][len(parts) - 1]}>; rel="profile"'
    return found


def _response(answer: Answer, headers: Mapping[str, str], *, bare: bool) -> web.Response:
    body = b"" if bare or answer.status == 204 else answer.body.encode(errors="surrogateescape")
    kind = {} if answer.status == 204 else {"Content-Type": answer.content_type}
    return web.Response(
        status=answer.status,
        reason=answer.reason or None,
        body=body,
        headers={"Server": "Apache/2.4.52 (Ubuntu)", **headers, **kind},
    )
