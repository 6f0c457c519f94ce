"""The rig as commands: `python -m tests.faults <tool> --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.faults import drift, dump, kill, proxy, secrets, stranger

# Each tool adds its own commands and sets `run`, which takes the arguments and returns exit code.
TOOLS = (drift, dump, kill, proxy, secrets, stranger)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line of every tool."""
    made = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    commands = made.add_subparsers(required=True, metavar="tool")
    for tool in TOOLS:
        tool.add_to(commands)
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Run the tool that is named; return its exit code."""
    args = parser().parse_args(words)
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
