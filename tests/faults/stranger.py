"""A stranger who asks for other people's things all the time, and keeps every breach.

    python -m tests.faults stranger --seconds 60

Exit 1 if he got in somewhere, or if nobody answered him.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from tests.faults.dump import record
from tests.faults.meanwhile import Meanwhile

PATHS = ("/alice/ogc-api/processes", "/alice/ogc-api/jobs", "/bob/ogc-api/jobs")
REFUSALS = frozenset({400, 401, 403, 404, 502, 503})


class Stranger(Meanwhile):
    """Asks without a token, ten times a second, while the `with` block runs.

    `asked` counts the answers of the gateway, `breaches` has a line for each that lets him in.
    """

    def __init__(
        self, sandbox: Mapping[str, Any], paths: Sequence[str] = PATHS, cluster: int = 0
    ) -> None:
        super().__init__()
        self._url = sandbox["clusters"][cluster]["gateway_url"]
        self._paths = paths
        self._session = requests.Session()
        self._session.verify = sandbox["ca_file"]
        self._session.trust_env = False
        self.asked = 0
        self.breaches: list[str] = []

    def go(self) -> None:
        """Ask until told to stop."""
        while not self.over.wait(0.1):
            for path in self._paths:
                self._ask(path)

    def _ask(self, path: str) -> None:
        try:
            answer = self._session.get(self._url + path, timeout=10, allow_redirects=False)
        except requests.RequestException:
            return
        self.asked += 1
        theirs = [name for name in answer.headers if name.lower().startswith("x-also-")]
        if answer.status_code not in REFUSALS or theirs:
            at = time.strftime("%H:%M:%S")
            self.breaches.append(f"{at} {path}: {answer.status_code} {theirs}")


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `stranger`."""
    parser = commands.add_parser(
        "stranger",
        help="ask for other people's things without a token; exit 1 if one is given",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--cluster", type=int, default=0, help="number of the cluster, from 0")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    with Stranger(record(), cluster=args.cluster) as stranger:
        time.sleep(args.seconds)
    for breach in stranger.breaches:
        print(breach)
    print(f"{stranger.asked} answers, {len(stranger.breaches)} of them let him in")
    return 1 if stranger.breaches or not stranger.asked else 0
