"""`python -m sandbox <command>`: the sandbox's command line."""

from __future__ import annotations

import argparse
import sys

from sandbox import lock
from sandbox.errors import SandboxError, explain
from sandbox.paths import LOCK
from sandbox.progress import Progress


def main() -> int:
    """Run one command; 1 and an explanation when it fails."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start every server that is not up")
    down = commands.add_parser("down", help="stop every server")
    down.add_argument("--clean", action="store_true", help="forget all data, too")
    up.add_argument("--clusters", type=int, metavar="N")
    options = parser.parse_args()
    from sandbox.servers import Sandbox
    try:
        lock.take(LOCK, f"sandbox {options.command}")
        with Progress() as progress:
            if options.command == "up":
                Sandbox(options.clusters).up(progress)
            else:
                Sandbox().down(progress, clean=options.clean)
    except SandboxError as error:
        print(explain(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
