# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the tasks of one run may know from each other: a token, the version of a program."""

from __future__ import annotations

import hashlib
import json
import time
import typing as t

Make = t.Callable[[], t.Tuple[str, float]]
"""Finds a value out, and says for how many seconds it holds."""


class Cache:
    """The cache of a module process, which ends with its one task: nothing is kept."""

    def once(self, key: str, make: Make) -> t.Tuple[str, float]:
        """Return a value and until when it holds, on the clock of ``time.monotonic``."""
        del key
        value, seconds = make()
        return value, time.monotonic() + seconds

    def forget(self, key: str, value: str) -> None:
        """Let a value be found out anew, unless another one has taken its place already."""


def key_of(*parts: t.Any) -> str:
    """Return the key for what depends on these; it does not show them."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
