# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Time: deadlines that no wait outlives, and the steps between two looks."""

from __future__ import annotations

import random
import time
import typing as t
from dataclasses import dataclass, field

T = t.TypeVar("T")
Uniform = t.Callable[[float, float], float]

SHARE = 0.1
"""The longest wait between two looks, as a share of the time that has passed."""

SMALLEST, LARGEST = 1.0, 60.0
"""Seconds between two looks."""


@dataclass
class Clock:
    """The two things a wait needs of time; tests give a simulated one."""

    now: t.Callable[[], float] = time.monotonic
    sleep: t.Callable[[float], None] = time.sleep


@dataclass
class Deadline:
    """A point in monotonic time, ``seconds`` after its making."""

    seconds: float
    clock: Clock = field(default_factory=Clock)
    start: float = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.clock.now()

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return self.clock.now() - self.start

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.seconds - self.elapsed)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.left <= 0

    def sleep(self, seconds: float) -> None:
        """Sleep, but not past the deadline."""
        self.clock.sleep(min(seconds, self.left))


def step(
    elapsed: float,
    smallest: float = SMALLEST,
    largest: float = LARGEST,
    remaining: t.Optional[float] = None,
    uniform: Uniform = random.uniform,
) -> float:
    """Return the seconds to the next look: a tenth of what has passed, or a little less.

    So a wait is late by a tenth at most and asks seldom where it lasts long; chance keeps many
    waits apart.

    :param elapsed: seconds since the wait began.
    :param remaining: the estimated seconds to the end, where that has just become known.
    """
    wait = min(max(smallest, SHARE * elapsed), largest)
    if remaining is not None:
        # never much shorter than the plain step: an estimate that keeps moving must not flood
        wait = min(wait, max(smallest, wait / 3, remaining / 4))
    return wait * uniform(0.8, 1.0)


def poll(
    look: t.Callable[[], t.Tuple[bool, T]],
    deadline: Deadline,
    smallest: float = SMALLEST,
    largest: float = LARGEST,
) -> t.Tuple[bool, T]:
    """Call ``look`` until it says done or the deadline passes; return its last answer."""
    while True:
        done, seen = look()
        if done or deadline.over:
            return done, seen
        deadline.sleep(step(deadline.elapsed, smallest, largest))
