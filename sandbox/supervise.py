"""Process supervision by supervisor (PyPI): its configuration, and the few calls we make."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from sandbox import child
from sandbox.errors import SandboxError
from sandbox.paths import ROOT, write_private

STOP_SECONDS = 8
GONE = {"STOPPED", "EXITED", "FATAL"}


@dataclass(frozen=True)
class Program:
    """One server. `storage` programs stop last, when their clients are gone."""

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    storage: bool = False
    #: Files it reads once, at its start: a change of their content restarts it.
    reads: Sequence[Path] = ()
    stop_seconds: int = STOP_SECONDS


def render(programs: Iterable[Program], run: Path, logs: Path) -> str:
    """supervisord.conf: a private Unix socket, one section a program, nothing started by itself."""
    lines = [
        "[supervisord]",
        f"logfile={_escape(logs / 'supervisord.log')}",
        f"pidfile={_escape(run / 'supervisord.pid')}",
        "logfile_backups=1",
        "umask=077",
        "[unix_http_server]",
        f"file={_escape(run / 'supervisor.sock')}",
        "chmod=0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in programs:
        words = [sys.executable, "-I", child.__file__, *program.command]
        environment = ",".join(f"{k}={_quote(v)}" for k, v in _environment(program))
        lines += [
            f"[program:{program.name}]",
            f"command={_escape(shlex.join(str(word) for word in words))}",
            f"directory={_escape(ROOT)}",
            f"environment={_escape(environment)}",
            f"stdout_logfile={_escape(logs / (program.name + '.log'))}",
            "stdout_logfile_maxbytes=20MB",
            "stdout_logfile_backups=1",
            "redirect_stderr=true",
            "autostart=false",
            "autorestart=true",
            "startsecs=1",
            "startretries=8",
            f"stopwaitsecs={program.stop_seconds}",
            "killasgroup=true",
        ]
    return "\n".join(lines) + "\n"


def _environment(program: Program) -> list[tuple[str, str]]:
    variables = dict(program.environment)
    if program.reads:
        content = b"".join(path.read_bytes() for path in program.reads)
        variables["SANDBOX_CONFIGURATION"] = hashlib.sha256(content).hexdigest()
    return sorted(variables.items())


def _escape(value: object) -> str:
    """supervisor expands %(...)s and cuts at ` ;`."""
    text = str(value)
    if "\n" in text or " ;" in text:
        raise ValueError(f"not expressible in supervisor's configuration: {text!r}")
    return text.replace("%", "%%")


def _quote(value: str) -> str:
    if '"' in value:
        raise ValueError("a quote in a server's environment")
    return f'"{value}"'


class Supervisor:
    """The sandbox's supervisord, by its socket."""

    def __init__(self, run: Path, logs: Path) -> None:
        self.run, self.logs = run, logs
        self.configuration = run / "supervisord.conf"

    def is_running(self) -> bool:
        """A socket file without a listener (after a kill or a reboot) does not count."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.run / "supervisor.sock"))
            except OSError:
                return False
        return True

    def call(self, method: str, *arguments: object) -> Any:
        """One XML-RPC call (a new connection each: callers are threads)."""
        address = f"unix://{self.run / 'supervisor.sock'}"
        transport = SupervisorTransport(None, None, address)
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def ensure(self, programs: Sequence[Program]) -> None:
        """Have supervisord run with exactly these programs; changed ones are stopped."""
        self.logs.mkdir(parents=True, exist_ok=True)
        write_private(self.configuration, render(programs, self.run, self.logs))
        if not self.is_running():
            for stale in ("supervisor.sock", "supervisord.pid"):
                (self.run / stale).unlink(missing_ok=True)
            command: list[str | Path] = [
                sys.executable,
                "-m",
                "supervisor.supervisord",
                "-c",
                self.configuration,
            ]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise SandboxError(f"supervisord did not start: {done.stderr.strip()[-500:]}")
            deadline = time.monotonic() + 20
            while not self.is_running():
                if time.monotonic() > deadline:
                    log = self.logs / "supervisord.log"
                    raise SandboxError("supervisord does not answer on its socket", log)
                time.sleep(0.05)
            return
        added, changed, removed = self.call("reloadConfig")[0]
        self.stop([*changed, *removed])
        for name in [*changed, *removed]:
            self.call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self.call("addProcessGroup", name)

    def states(self) -> dict[str, str]:
        """Program name to supervisor's state name (RUNNING, FATAL ...)."""
        return {info["name"]: info["statename"] for info in self.call("getAllProcessInfo")}

    def pid(self, name: str) -> int:
        """Process id of a program, 0 when it does not run."""
        return int(self.call("getProcessInfo", name)["pid"])

    def start(self, *names: str) -> None:
        """Start what does not run yet; does not wait."""
        states = self.states()
        for name in names:
            if states[name] in GONE:
                self.call("startProcess", name, False)

    def stop(self, names: Iterable[str]) -> None:
        """SIGTERM to all at once, SIGKILL after STOP_SECONDS (by supervisor), and wait."""
        names = set(names)
        for name in names:
            if self.states()[name] not in GONE:
                try:
                    self.call("stopProcess", name, False)
                except xmlrpc.client.Fault:
                    continue  # it ended by itself in between
        deadline = time.monotonic() + STOP_SECONDS + 10
        while alive := {n for n, s in self.states().items() if n in names and s not in GONE}:
            if time.monotonic() > deadline:
                raise SandboxError(f"still running after SIGKILL: {', '.join(sorted(alive))}")
            time.sleep(0.1)

    def wait(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Poll `ready` until it is true; a server that gave up fails at once."""
        deadline = time.monotonic() + seconds
        log = self.logs / f"{name}.log"
        while not ready():
            if self.states()[name] in GONE:
                raise SandboxError(f"{name} stopped while it was starting", log)
            if time.monotonic() > deadline:
                raise SandboxError(f"{name} was not ready after {seconds:.0f} s", log)
            time.sleep(0.2)

    def shutdown(self, storage: Iterable[str]) -> None:
        """Stop everything in order, then supervisord, and wait until it is gone."""
        pid = int(self.call("getPID"))
        last = set(storage)
        everything = set(self.states())
        self.stop(everything - last)
        self.stop(everything & last)
        self.call("shutdown")
        deadline = time.monotonic() + 15
        while _alive(pid):
            if time.monotonic() > deadline:
                raise SandboxError(f"supervisord (process {pid}) does not end")
            time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
