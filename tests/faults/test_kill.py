"""A run that is killed at any moment is mended by the next one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.kill import CONTROLLER, REMOVE, SITE, WHOLE_TREE, Range, at_nth_task, campaign
from tests.faults.stranger import Stranger

TASKS_OF_A_FIRST_RUN = 45
TASKS_OF_A_REMOVAL = 17
WITHIN = 1.0
"""Seconds into the task."""


@pytest.fixture
def place(sandbox: dict[str, Any], tmp_path: Path) -> Iterator[Range]:
    """A cluster that is deployed and proved when the test begins, and when it has ended."""
    here = Range(sandbox, tmp_path)
    here.run(SITE)
    yield here
    here.run(SITE)


def test_a_removal_and_a_first_run_that_are_killed(
    place: Range, sandbox: dict[str, Any], rng: random.Random
) -> None:
    there = place.state()
    ways = rng.sample((WHOLE_TREE, CONTROLLER), 2)
    with Stranger(sandbox) as stranger:
        number = rng.randint(1, TASKS_OF_A_REMOVAL)
        removal = place.kill(REMOVE, rng.uniform(0, WITHIN), ways[0], at_nth_task(number))
        print(removal.line())
        place.mend(removal, REMOVE)
        ours = [name for name in place.state() if sandbox["clusters"][0]["name"] in name]
        assert ours == []
        number = rng.randint(1, TASKS_OF_A_FIRST_RUN)
        first_run = place.kill(SITE, rng.uniform(0, WITHIN), ways[1], at_nth_task(number))
        print(first_run.line())
        place.mend(first_run, SITE, there)
    assert stranger.asked > 20
    assert stranger.breaches == []


def test_many_kills(place: Range, full: bool, seed: int) -> None:
    if not full:
        return
    assert campaign(place, first_runs=20, removals=10, seed=seed) == 0
