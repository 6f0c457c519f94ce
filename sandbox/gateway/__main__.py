"""``python -m sandbox.gateway``: one gateway for one cluster."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from aiohttp import web

from sandbox.gateway.crs import ApiServer
from sandbox.gateway.identity import Identity
from sandbox.gateway.lua import Lua
from sandbox.gateway.plugins.base import Runtime
from sandbox.gateway.proxy import Proxy
from sandbox.gateway.tls import Certificates
from sandbox.gateway.translate import Translator


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sandbox.gateway", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True, help="TLS port on 127.0.0.1 and ::1")
    parser.add_argument("--ca-file", required=True, help="CA of Keycloak")
    parser.add_argument("--engine-socket", type=Path, required=True)
    parser.add_argument("--controller", choices=("2", "1.8"), default="2")
    parser.add_argument("--default-cert", type=Path)
    parser.add_argument("--default-key", type=Path)
    parser.add_argument("--debug", action="store_true")
    return parser.parse_args()


async def _publish(
    api: ApiServer, translator: Translator, proxy: Proxy, certificates: Certificates
) -> None:
    """Serve what the API server says, then say so in the objects' status."""
    while True:
        await api.changed.wait()
        await asyncio.sleep(0.05)  # changes come in bursts
        api.changed.clear()
        if not api.complete:
            continue
        published = translator.translate(api.objects)
        proxy.router = published.router
        certificates.publish(published.certificates)
        written = [await api.write(status) for status in published.statuses]
        if not all(written):
            asyncio.get_running_loop().call_later(1, api.changed.set)


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    api = ApiServer(options.kubeconfig)
    identity = Identity(options.ca_file)
    certificates = Certificates(options.default_cert, options.default_key)
    proxy = Proxy(options.engine_socket, options.port)
    translator = Translator(options.controller, Runtime(identity, Lua()), certificates.check)
    server = web.Server(
        proxy.handle, access_log=None, auto_decompress=False,
        max_line_size=32768, max_field_size=32768, max_headers=2000,
    )  # fmt: skip
    runner = web.ServerRunner(server, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "localhost", options.port, ssl_context=certificates.listener).start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [
        asyncio.create_task(api.watch()),
        asyncio.create_task(_publish(api, translator, proxy, certificates)),
    ]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in [*tasks, stopped]:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    await runner.cleanup()
    await proxy.close()
    await identity.close()
    for task in done - {stopped}:
        task.result()  # a watcher ends by an error only: let it be seen


def main() -> int:
    """Entry point; logs go to stderr."""
    options = _arguments()
    logging.basicConfig(
        level=logging.DEBUG if options.debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    asyncio.run(run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
