"""A clock that moves only when somebody sleeps, or a test says so."""

from __future__ import annotations

from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Clock


class Simulated(Clock):
    """Starts at zero; `time` is in seconds."""

    def __init__(self) -> None:
        self.time = 0.0
        super().__init__(lambda: self.time, self.pass_by)

    def pass_by(self, seconds: float) -> None:
        assert seconds >= 0
        self.time += seconds
