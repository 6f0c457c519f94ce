"""`python -m tests.bench`: what a task, a run, a deployment, contexts, a fleet and waits cost.

It needs the sandbox up with its engine deployed (`make demo`).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from sandbox.paths import RECORD
from tests.bench import contexts, converged, deploy, fleet, measure, modules, waits
from tests.bench.measure import Budget

PARTS = ("modules", "converged", "deploy", "contexts", "fleet", "waits")


def machine() -> str:
    """Return what the figures were measured on, in one line."""
    memory = psutil.virtual_memory().total / (1 << 30)
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {python}, load {load:.1f} at the start"


def main() -> int:
    """Measure, print the table, return 1 when a budget is not kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="times that each thing is measured")
    parser.add_argument("--clusters", type=int, default=50, help="size of the fleet")
    parser.add_argument("--keep", action="store_true", help="leave the fleet for the next bench")
    parser.add_argument("--quick", action="store_true", help="once, no baseline, no fleet")
    args = parser.parse_args()
    if wrong := set(args.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(wrong))}: there are {', '.join(PARTS)}")
    if not RECORD.exists():
        parser.error("no sandbox is up: run `make demo` first")
    sandbox = json.loads(RECORD.read_text(encoding="utf-8"))
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="oapip-bench-") as name:
        folder = Path(name)
        rounds = 1 if args.quick else args.rounds
        compare = functools.partial(converged.compare, sandbox, folder, rounds)
        counts = functools.partial(converged.counts, sandbox, folder)
        every: dict[str, Callable[[], Iterator[Budget]]] = {
            "modules": functools.partial(modules.measure, sandbox, folder, rounds),
            "converged": counts if args.quick else compare,
            "deploy": functools.partial(deploy.measure, sandbox, folder),
            "contexts": functools.partial(contexts.measure, sandbox, folder),
            "fleet": functools.partial(
                fleet.measure, sandbox, folder, args.clusters, rounds, keep=args.keep
            ),
            "waits": functools.partial(waits.measure, folder),
        }
        wanted = args.parts or (PARTS[:2] if args.quick else PARTS)
        rows: list[Budget] = []
        try:
            for part in wanted:
                print(f"bench: {part} ...", file=sys.stderr, flush=True)
                rows.extend(every[part]())
        finally:  # what was measured before something failed
            print(measure.table(rows))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
