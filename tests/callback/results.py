"""A callback that writes each task's result as one line of JSON; used by tests/harness.py."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: results
type: aggregate
short_description: Each task's result as a line of JSON
description:
  - Appends to the file named by the environment variable OAPIP_TEST_RESULTS.
requirements: []
options: {}
"""


class CallbackModule(CallbackBase):
    """Append `{host, task, action, status, seconds, result}` for every task that ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[tuple[str, str], float] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A task is given to a worker."""
        self._begun[host.get_name(), task._uuid] = time.monotonic()

    def _write(self, status: str, result: Any) -> None:
        now = time.monotonic()
        key = (result._host.get_name(), result._task._uuid)
        line = {
            "host": result._host.get_name(),
            "task": result._task.get_name(),
            "action": result._task.action,
            "status": status,
            "seconds": now - self._begun.get(key, now),
            "result": result._result,
        }
        with Path(os.environ["OAPIP_TEST_RESULTS"]).open("a") as out:
            out.write(json.dumps(line, default=str, sort_keys=True) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well."""
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed."""
        self._write("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task was skipped."""
        self._write("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._write("unreachable", result)
