"""Deadlines and steps, on a simulated clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _wait
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline, poll
from tests.simulated_clock import Simulated


def test_a_wait_ends_by_its_deadline() -> None:
    clock = Simulated()
    done, looks = poll(lambda: (False, clock.time), Deadline(100, clock))
    assert not done
    assert clock.time == 100
    assert looks == 100


@pytest.mark.parametrize("ready", [3, 30, 300, 3600, 21600])
def test_a_wait_is_late_by_a_tenth_and_asks_seldom(ready: int) -> None:
    clock = Simulated()
    looks = 0

    def look() -> tuple[bool, float]:
        nonlocal looks
        looks += 1
        return clock.time >= ready, clock.time

    done, _ = poll(look, Deadline(30_000, clock))
    assert done
    assert clock.time - ready <= max(1.0, 0.1 * ready)
    assert looks <= 130 * max(1, ready / 3600)


@given(
    st.floats(0, 1e6),
    st.floats(0.1, 2),
    st.floats(5, 100),
    st.none() | st.floats(0, 1e7),
    st.floats(0, 1),
)
def test_steps_stay_within_their_bounds(
    elapsed: float, smallest: float, largest: float, left: float | None, chance: float
) -> None:
    def uniform(low: float, high: float) -> float:
        return low + (high - low) * chance

    plain = _wait.step(elapsed, smallest, largest, uniform=uniform)
    step = _wait.step(elapsed, smallest, largest, left, uniform)
    assert 0.8 * smallest <= step <= plain <= min(largest, max(smallest, 0.1 * elapsed))
    assert step >= plain / 3 * 0.999
