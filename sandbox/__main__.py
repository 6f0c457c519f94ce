"""The sandbox's command line: python -m sandbox <command>."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from sandbox import lock
from sandbox.errors import SandboxError, explain
from sandbox.paths import LOCK, LOGS, ROOT, VENV
from sandbox.progress import Progress
from sandbox.servers import Sandbox
from sandbox.summary import status, summary


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    demo = commands.add_parser("demo", help="up, then site.yml, then what to look at")
    up = commands.add_parser("up", help="start every server that is not up")
    for command in (demo, up):
        command.add_argument(
            "--clusters",
            type=int,
            choices=range(1, 10),
            metavar="N",
            default=os.environ.get("CLUSTERS") or None,
            help="how many clusters (default: as many as last time, at first 1)",
        )
    down = commands.add_parser("down", help="stop every server")
    down.add_argument("--clean", action="store_true", help="and forget all data")
    commands.add_parser("status", help="the servers, their states and memory")
    commands.add_parser("summary", help="what runs where, and how to go on")
    logs = commands.add_parser("logs", help="names of the logs, or one of them")
    logs.add_argument("name", nargs="?", help="a server")
    logs.add_argument("--lines", type=int, default=50)
    return top


def main() -> int:
    """Run one command; 1 and an explanation when it fails."""
    options = parser().parse_args()
    try:
        return _run(options)
    except SandboxError as error:
        print(explain(error), file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: started servers go on (`make down` stops them)", file=sys.stderr)
    return 1


def _run(options: argparse.Namespace) -> int:
    if options.command in ("demo", "up", "down"):
        lock.take(LOCK, f"sandbox {options.command}")
    if options.command == "status":
        print(status())
    elif options.command == "summary":
        print(summary())
    elif options.command == "logs":
        print(_logs(options.name, options.lines))
    elif options.command == "down":
        with Progress() as progress:
            Sandbox().down(progress, clean=options.clean)
    else:
        with Progress() as progress:
            Sandbox(options.clusters).up(progress)
        if options.command == "demo":
            return _demo()
    return 0


def _demo() -> int:
    started = time.monotonic()
    print("\n» ansible-playbook site.yml", flush=True)
    failed = subprocess.run([VENV / "bin/ansible-playbook", "site.yml"], cwd=ROOT, check=False)
    seconds = time.monotonic() - started
    if failed.returncode != 0:
        what = f"site.yml failed after {seconds:.0f} s (its words are above)"
        raise SandboxError(f"{what}. The servers are up: mend the cause, then `make demo` again")
    print(f"✓ {'site.yml':<42} {seconds:6.1f} s")
    print(summary())
    return 0


def _logs(name: str | None, lines: int) -> str:
    names = sorted(path.stem for path in LOGS.glob("*.log"))
    if name is None:
        return f"{LOGS}:\n" + "\n".join(f"  {known}" for known in names)
    if name not in names:
        raise SandboxError(f"no log of {name!r}; there are: {', '.join(names) or 'none'}")
    text = (LOGS / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])


if __name__ == "__main__":
    sys.exit(main())
