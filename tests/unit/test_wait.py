"""Deadlines and steps, on a simulated clock."""

from __future__ import annotations

from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Clock, Deadline, poll


class Simulated(Clock):
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0
        super().__init__(lambda: self.time, self.pass_by)

    def pass_by(self, seconds: float) -> None:
        self.time += seconds


def test_a_wait_ends_by_its_deadline() -> None:
    clock = Simulated()
    done, looks = poll(lambda: (False, clock.time), Deadline(100, clock))
    assert not done
    assert clock.time == 100
    assert looks == 100


def test_a_wait_is_late_by_a_tenth_and_asks_seldom() -> None:
    for ready in (3, 30, 300, 3600):
        clock = Simulated()
        looks = 0

        def look(ready: int = ready, clock: Simulated = clock) -> tuple[bool, float]:
            nonlocal looks
            looks += 1
            return clock.time >= ready, clock.time

        done, _ = poll(look, Deadline(7200, clock))
        assert done
        assert clock.time - ready <= max(1.2, 0.12 * ready)
        assert looks <= 130
