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


def step(elapsed: float, smallest: float = 1.0, largest: float = 60.0, share: float = 0.1) -> float:
    """Return the seconds to the next look: a share of what has passed, with 20 % jitter.

    So a wait is late by at most that share, and asks few times where it lasts long.
    """
    return min(max(smallest, share * elapsed), largest) * random.uniform(0.8, 1.2)


def poll(
    look: t.Callable[[], t.Tuple[bool, T]],
    deadline: Deadline,
    smallest: float = 1.0,
    largest: float = 60.0,
) -> t.Tuple[bool, T]:
    """Call ``look`` until it says done or the deadline passes; return its last answer."""
    while True:
        done, seen = look()
        if done or deadline.over:
            return done, seen
        deadline.sleep(step(deadline.elapsed, smallest, largest))
