"""A proxy on loopback that stands before one server and makes chosen answers go wrong.

    with Proxy(sandbox, "keycloak", folder) as proxy:
        proxy.breaks(Fault("lost", match="POST .*/clients$", times=1))
        run_playbook(SITE, folder, "-l", "sandbox-1", *proxy.options)
        assert [seen for seen in proxy.requests if seen.fault]

    python -m tests.faults proxy keycloak --fault 429 --every 5

What is no fault is passed on as it came, chunk by chunk, with path and Host untouched. Before the
API server the proxy shows the operator's client certificate itself. Keycloak goes on to name its
own port in tokens and discovery answers, and so do the engine's settings and the route: therefore
`options` leads the run to the proxy wherever it acts, and leaves alone what is deployed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from sandbox.paths import RECORD, write_private
from sandbox.pki import Authority
from tests.faults.fault import KINDS, SERVERS, Fault, Seen, digest, instead

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}


class Relay(threading.Thread):
    """A proxy before a server; `ours` and `theirs` are its TLS to clients and to that server."""

    def __init__(
        self,
        target: str,
        server: str,
        told: Callable[[Seen], None] = lambda _seen: None,
        ours: ssl.SSLContext | None = None,
        theirs: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self.server, self._target, self._told = server, target, told
        self._ours, self._theirs = ours, theirs
        self._faults: list[Fault] = []
        self._since = 0.0
        self.requests: list[Seen] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        # localhost may be two addresses, and a client may try either first
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"https://localhost:{self.port}" if ours else f"http://127.0.0.1:{self.port}"

    def breaks(self, *faults: Fault) -> None:
        """From now on these faults and no others, and a new list of requests."""
        self._faults, self.requests, self._since = list(faults), [], time.monotonic()

    @property
    def struck(self) -> list[Seen]:
        """The requests that went wrong."""
        return [seen for seen in self.requests if seen.fault]

    def hear(self, line: str, body: bytes) -> None:
        """Take notice of a request: "METHOD /path?query" and its body."""

    # ---------------------------------------------------------------- life

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        self.start()
        if not self._ready.wait(20):
            raise RuntimeError("the proxy did not start within 20 s")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(20)

    def run(self) -> None:
        """Serve until the `with` block ends."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        # a kept connection that the server closes meanwhile would be a fault of our own
        connector = aiohttp.TCPConnector(ssl=self._theirs or True, limit=0, force_close=True)
        nothing = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=nothing,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as self._client:
            served = web.Server(self._handle, handler_cancellation=True)
            runner = web.ServerRunner(served, shutdown_timeout=0.1)
            await runner.setup()
            await web.SockSite(runner, self._socket, ssl_context=self._ours).start()
            self._ready.set()
            await self._over.wait()
            for kept in served.connections:
                if kept.transport:
                    kept.transport.abort()  # a polite TLS end waits for the other side
            await runner.cleanup()
            await asyncio.sleep(0.05)  # what was reset is closed in the loop's next round

    # ---------------------------------------------------------------- one request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = Seen(request.method, request.raw_path, time.time(), headers=digest(request.headers))
        self.requests.append(seen)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await request.content.read()
        elapsed = time.monotonic() - self._since
        line = f"{request.method} {request.raw_path}"
        self.hear(line, body)
        # each fault counts each request, also one that another fault strikes
        striking = [fault for fault in self._faults if fault.strikes(line, elapsed)]
        fault = striking[0] if striking else None
        seen.fault = fault.kind if fault else ""
        try:
            if (
                fault is not None
                and (answer := instead(fault, self.server, request.method)) is not None
            ):
                seen.status = answer.status
                return answer
            if fault is not None and fault.kind == "reset-before":
                return self._reset(request)
            if fault is not None and fault.kind == "silence":
                await asyncio.sleep(fault.seconds)
            return await self._pass_on(request, body, seen)
        finally:
            seen.seconds = time.time() - seen.at
            self._told(seen)

    async def _pass_on(
        self, request: web.BaseRequest, body: bytes, seen: Seen
    ) -> web.StreamResponse:
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP]
        url = URL(self._target + request.raw_path, encoded=True)
        asked = self._client.request(
            request.method, url, data=body or None, headers=headers, allow_redirects=False
        )
        try:
            async with asked as theirs:
                if seen.fault == "lost":
                    await theirs.read()
                    return self._reset(request)
                seen.status = theirs.status
                return await self._answer(request, theirs, seen.fault)
        except (aiohttp.ClientError, ConnectionResetError):
            return self._reset(request)

    async def _answer(
        self, request: web.BaseRequest, theirs: aiohttp.ClientResponse, fault: str
    ) -> web.StreamResponse:
        """Give the answer, or a part of it; a stream without an end is cut in its first chunk."""
        answer = web.StreamResponse(status=theirs.status, reason=theirs.reason)
        for name, value in theirs.headers.items():
            if name.lower() not in HOP_BY_HOP:
                answer.headers.add(name, value)
        if fault in ("truncated", "reset-inside"):
            known = theirs.content_length is not None
            part = await (theirs.read() if known else theirs.content.readany())
            part = part[: len(part) // 2]
            if fault == "truncated" and known and request.method != "HEAD":
                answer.headers["Content-Length"] = str(len(part))
            await answer.prepare(request)
            await answer.write(part)
            if fault == "reset-inside":
                return self._reset(request)
        else:
            await answer.prepare(request)
            async for chunk in theirs.content.iter_any():
                await answer.write(chunk)
        await answer.write_eof()
        if fault == "reset-after":
            await asyncio.sleep(0.05)  # what is on its way arrives
            self._reset(request)
        return answer

    @staticmethod
    def _reset(request: web.BaseRequest) -> web.Response:
        """Break the connection with a TCP reset, as a crashed server or a firewall does."""
        if request.transport is not None:
            raw = request.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        return web.Response(status=500)  # nobody gets it


class Proxy(Relay):
    """A proxy before one server of the sandbox; `folder` takes its settings and its kubeconfig."""

    def __init__(
        self,
        sandbox: Mapping[str, Any],
        server: str,
        folder: Path,
        cluster: int = 0,
        told: Callable[[Seen], None] = lambda _seen: None,
    ) -> None:
        self._sandbox, self._folder = sandbox, folder
        # a Keycloak may be all there is
        self._cluster: Mapping[str, Any] = (*sandbox.get("clusters", ()), {})[cluster]
        place, url = {
            "keycloak": (sandbox["keycloak"], "url"),
            "s3": (sandbox.get("s3", {}), "endpoint"),
            "kubernetes": (self._cluster, "server"),
            "gateway": (self._cluster, "gateway_url"),
        }[server]
        pki = Authority(Path(sandbox["ca_file"]).parent, "sandbox")
        pair = pki.server("faults-proxy")
        ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ours.load_cert_chain(pair.certificate, pair.key)
        theirs = ssl.create_default_context(cafile=sandbox["ca_file"])
        if server == "kubernetes":
            operator = pki.client("oapip-operator")
            theirs.load_cert_chain(operator.certificate, operator.key)
        super().__init__(place[url], server, told, ours, theirs)

    @property
    def options(self) -> tuple[str, ...]:
        """Options of ansible-playbook that lead a run of our playbooks through the proxy."""
        path = self._folder / f"proxy-{self.server}.json"
        write_private(path, json.dumps(self.variables()))
        return ("-e", f"@{path}")

    def variables(self) -> dict[str, Any]:
        """Return the variables that `options` sets."""
        if self.server == "kubernetes":
            return {"oapip_kubeconfig": str(self.kubeconfig())}
        if self.server == "gateway":
            return {"gateway_https_port": self.port, "validation_https_port": self.port}
        if self.server == "s3":
            store = self._sandbox["s3"]
            keys = {name: store[name] for name in ("access_key", "secret_key", "region")}
            place = {"endpoint": self.url, "bucket": "eoepca", **keys}
            # what was probed once is known by the endpoint: the probe keeps to the real one
            return {
                f"{role}_stage_out": place for role in ("object_storage", "validation", "removal")
            }
        keycloak = self._sandbox["keycloak"]
        account = {
            "server_url": self.url,
            "realm": keycloak["realm"],
            "auth_realm": "master",
            "auth_client_id": "admin-cli",
            "auth_client_secret": "",
            "auth_username": keycloak["admin_user"],
            "auth_password": keycloak["admin_password"],
        }
        roles = ("prerequisites", "identity", "validation", "removal")
        return {f"{role}_keycloak": account for role in roles}

    def kubeconfig(self) -> Path:
        """Write a kubeconfig that leads to the proxy, without any credentials."""
        config = yaml.safe_load(Path(self._cluster["kubeconfig"]).read_text())
        authority = base64.b64encode(Path(self._sandbox["ca_file"]).read_bytes()).decode()
        config["clusters"][0]["cluster"] = {
            "server": self.url,
            "certificate-authority-data": authority,
        }
        config["users"][0]["user"] = {}
        path = self._folder / "proxy.kubeconfig"
        write_private(path, yaml.safe_dump(config))
        return path


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command of this tool."""
    parser = commands.add_parser(
        "proxy",
        help="stand before a server and make answers go wrong",
        description=__doc__,
        epilog="faults:\n" + "\n".join(f"  {kind:13} {what}" for kind, what in KINDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("--fault", choices=KINDS, help="without it: only show the requests")
    parser.add_argument("--match", default="", help='pattern to find in "METHOD /path?query"')
    parser.add_argument("--nth", type=int, default=0, help="only the n-th of these")
    parser.add_argument("--every", type=int, default=1, help="only every k-th of these")
    parser.add_argument("--times", type=int, default=0, help="at most so often")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a silence")
    parser.add_argument("--retry-after", type=int, default=2, help="seconds that 429 asks for")
    parser.set_defaults(run=main)


def main(args: argparse.Namespace) -> int:
    """Stand there until Ctrl-C, and show each request."""
    sandbox = json.loads(RECORD.read_text(encoding="utf-8"))
    names = ("match", "nth", "every", "times", "seconds", "retry_after")
    settings = {name: getattr(args, name) for name in names}

    def told(seen: Seen) -> None:
        print(seen.line(), flush=True)

    with Proxy(sandbox, args.server, Path(sandbox["ca_file"]).parents[1], told=told) as proxy:
        proxy.breaks(*([Fault(args.fault, **settings)] if args.fault else []))
        print(f"{args.server} behind {proxy.url}; lead a run here with: {' '.join(proxy.options)}")
        with contextlib.suppress(KeyboardInterrupt):
            proxy.join()
    return 0
