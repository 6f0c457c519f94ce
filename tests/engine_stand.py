"""The engine stand-in on a loopback port, as chart 0.3.22 and as the newest one; no cluster."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import certifi
import pytest
from aiohttp import web

from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context
from sandbox.engine import flavours, tokens
from sandbox.engine.app import App
from sandbox.engine.jobs import JobStore
from sandbox.engine.settings import Settings, SettingsSource
from tests.unit_params import params_of

SERVICE = "processing/zoo-project-dru-service"
CWL = """\
cwlVersion: v1.2
$graph:
- class: Workflow
  id: sleeper
  label: one
  doc: Sleeps and fails where it is told to
  requirements: {InlineJavascriptRequirement: {}}
  inputs: {seconds: int, note: "string?"}
  outputs: {out: {type: Directory, outputSource: step/out}}
  steps:
    step: {run: "#tool", in: {seconds: seconds}, out: [out]}
- class: CommandLineTool
  id: tool
  baseCommand: [sleep]
  inputs: {seconds: {type: int, inputBinding: {position: 1}}}
  outputs: {out: {type: Directory, outputBinding: {glob: .}}}
"""
OTHER = CWL.replace("label: one", "label: two")
FLAVOURS = {"0.3.22": "zoo-project-dru-0.3.22", "0.10.3": "zoo-project-dru-0.10.3"}


@dataclass
class Fixed(SettingsSource):
    """One engine, whatever is asked for."""

    settings: Settings

    async def get(self, service: str) -> Settings | None:
        return self.settings if service == SERVICE else None


@dataclass
class Stand:
    """A running stand-in and the requests it got."""

    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    ca_file: Path = Path(certifi.where())
    fetch_keys: tokens.KeyFetcher = tokens.fetch_keys
    source: Fixed = field(default_factory=lambda: Fixed(Settings("key", "http://wrong.invalid")))
    app: App | None = None

    def writes(self) -> list[str]:
        return [f"{method} {path}" for method, path in self.asked if method not in ("GET", "HEAD")]

    @property
    def jobs(self) -> JobStore:
        """All jobs of all users."""
        assert self.app is not None
        return self.app.engine(self.source.settings).jobs

    def never_runs(self) -> None:
        """Let jobs be accepted and stay, until a test ends them."""
        self.source.settings = replace(self.source.settings, worker_ready=False)

    def end(self, job_id: str) -> None:
        """Let a job succeed."""
        job = self.jobs.get(job_id)
        assert job is not None
        job.succeed({"out": {"value": "done"}})
        self.jobs.save(job)


Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(stand: Stand, folder: Path, ready: threading.Event, stop: threading.Event) -> None:
    """Serve on a port of the loopback, with the header that the gateway would set."""

    @web.middleware
    async def gateway(request: web.Request, handler: Next) -> web.StreamResponse:
        stand.asked.append((request.method, request.path))
        headers = {**request.headers, "X-Sandbox-Service": SERVICE}
        return await handler(request.clone(headers=headers))

    async def go() -> None:
        stand.app = App(stand.source, folder, stand.ca_file, stand.fetch_keys)
        app = stand.app.web_app()
        app.middlewares.append(gateway)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stand.url = f"http://127.0.0.1:{runner.addresses[0][1]}/alice/ogc-api"
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
        await runner.cleanup()

    asyncio.run(go())


@contextmanager
def running(stand: Stand, folder: Path) -> Iterator[Stand]:
    """Run a stand-in with its state in a folder."""
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=serve, args=(stand, folder / "state", ready, stop))
    thread.start()
    assert ready.wait(10)
    try:
        yield stand
    finally:
        stop.set()
        thread.join(10)


@pytest.fixture(params=FLAVOURS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    """A running stand-in of each flavour."""
    stand = Stand()
    flavour = flavours.flavour_of(FLAVOURS[request.param], "")
    stand.source.settings = replace(stand.source.settings, flavour=flavour)
    with running(stand, tmp_path):
        yield stand


def call(
    module: ModuleType,
    engine: Stand,
    check: bool = False,
    warn: Callable[[str], None] = lambda _line: None,
    **given: Any,
) -> dict[str, Any]:
    """Run a module against a stand-in."""
    params = params_of(module, {"url": engine.url, **given})
    made: dict[str, Any] = module.run(params, Context(check_mode=check, warn=warn))
    return made
