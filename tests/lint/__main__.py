"""`python3 -m tests.lint [GATE...]`: all gates side by side, one table, one exit code.

Needs nothing but Python: tools are installed into the sandbox's cache on first use.
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import tree
from .gates import GATES, WORKERS, Gate
from .venvs import ROOT, VenvError

_LOGS = ROOT / ".sandbox" / "logs"
_ERROR = re.compile(r"^(ERROR|FATAL): ")
_screen = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What became of a gate, and after how many seconds."""

    gate: Gate
    passed: bool
    seconds: float
    log: Path


def _say(text: str) -> None:
    with _screen:
        print(text, flush=True)


def _run(gate: Gate) -> Outcome:
    start = time.monotonic()
    path = _LOGS / f"lint-{gate.name}.log"
    _say(f"lint: {gate.name} ...")
    with path.open("w+") as log:
        try:
            passed = gate.run(log)
        except (VenvError, OSError, ValueError) as error:
            log.write(f"{error}\n")
            passed = False
    outcome = Outcome(gate, passed, time.monotonic() - start, path)
    _say(f"lint: {gate.name} {'ok' if passed else 'FAILED'} ({outcome.seconds:.0f} s)")
    return outcome


def _tail(log: Path) -> list[str]:
    """Return the lines that name errors when there are such lines, else the last ones."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if _ERROR.search(line)][:60] or lines[-60:]


def main() -> int:
    """Run the gates named on the command line, or all of them."""
    names = [gate.name for gate in GATES]
    parser = argparse.ArgumentParser(prog="python3 -m tests.lint", description=__doc__)
    parser.add_argument("gates", nargs="*", metavar="GATE", help=", ".join(names))
    asked = parser.parse_args().gates
    unknown = sorted(set(asked) - set(names))
    if unknown:
        parser.error(f"no gate named {', '.join(unknown)}; there are {', '.join(names)}")
    _LOGS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    tree.sync()
    with ThreadPoolExecutor(WORKERS) as pool:
        outcomes = list(pool.map(_run, [gate for gate in GATES if not asked or gate.name in asked]))
    for outcome in outcomes:
        if not outcome.passed:
            where = outcome.log.relative_to(ROOT)
            _say(f"\n--- {outcome.gate.name} (whole log: {where})")
            _say("\n".join(_tail(outcome.log)))
    _say("\ngate            result  seconds")
    for outcome in outcomes:
        verdict = "ok" if outcome.passed else "FAILED"
        _say(f"{outcome.gate.name:<15} {verdict:<6} {outcome.seconds:>8.1f}")
    failed = sum(not outcome.passed for outcome in outcomes)
    _say(f"{len(outcomes) - failed} passed, {failed} failed in {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


sys.exit(main())
