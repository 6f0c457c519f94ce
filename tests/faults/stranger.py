"""A stranger who asks for other people's things all the time, and keeps every breach.

python -m tests.faults stranger --seconds 60
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import requests

PATHS = ("/alice/ogc-api/processes", "/alice/ogc-api/jobs", "/bob/ogc-api/jobs")
REFUSALS = frozenset({400, 401, 403, 404, 502, 503})


class Stranger(threading.Thread):
    """Asks without a token, ten times a second, while the `with` block runs.

    `asked` counts the answers of the gateway, `breaches` has a line for each that lets him in.
    """

    def __init__(
        self, sandbox: Mapping[str, Any], paths: Sequence[str] = PATHS, cluster: int = 0
    ) -> None:
        super().__init__(daemon=True)
        self._url = sandbox["clusters"][cluster]["gateway_url"]
        self._paths = paths
        self._session = requests.Session()
        self._session.verify = sandbox["ca_file"]
        self._session.trust_env = False
        self._over = threading.Event()
        self.asked = 0
        self.breaches: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Ask until told to stop."""
        while not self._over.wait(0.1):
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
