"""Serve one cluster's engines on a unix socket until a signal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from aiohttp import web

from .app import App
from .cluster import KubeSettings


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.engine", description=__doc__)
    for name, text in (
        ("kubeconfig", "how to reach the API server that holds the deployed engines"),
        ("socket", "unix socket to listen on"),
        ("state", "folder for processes, jobs and their work"),
        ("ca-file", "authority of the sandbox's servers, trusted by the worker"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    asyncio.run(serve(options.kubeconfig, options.socket, options.state, options.ca_file))


async def serve(kubeconfig: Path, socket: Path, state: Path, ca_file: Path) -> None:
    """Serve until SIGTERM or SIGINT; running jobs are killed with their process groups."""
    source = KubeSettings(kubeconfig)
    runner = web.AppRunner(App(source, state, ca_file).web_app(), shutdown_timeout=2)
    await runner.setup()
    socket.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        socket.unlink()
    await web.UnixSite(runner, str(socket)).start()
    socket.chmod(0o600)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    logging.getLogger(__name__).info("engine stand-in listens on %s", socket.name)
    await stop.wait()
    await runner.cleanup()
    await source.close()


if __name__ == "__main__":
    main()
