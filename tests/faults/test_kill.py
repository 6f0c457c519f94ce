"""A run that is killed at any moment is mended by the next one."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context
from ansible_collections.eoepca.oapip.plugins.modules import oapip_lock
from tests.faults.kill import (
    CONTROLLER,
    REMOVE,
    SITE,
    WHOLE_TREE,
    Range,
    campaign,
    descendants,
    in_a_task,
    outliving,
    tasks,
)
from tests.faults.stranger import Stranger
from tests.harness import start_playbook
from tests.unit_params import params_of

TASKS_OF_A_FIRST_RUN = 41
TASKS_OF_A_REMOVAL = 19
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
    """What is drawn from must be all tasks that there are: the run that mends has them too."""
    there = place.state()
    ways = rng.sample((WHOLE_TREE, CONTROLLER), 2)
    with Stranger(sandbox) as stranger:
        removal = place.strike(REMOVE, ways[0], in_a_task(rng, TASKS_OF_A_REMOVAL, WITHIN))
        print(removal.line())
        mended = place.mend(removal, REMOVE)
        if removal.holder:  # it was killed neither before it had begun nor after its end
            assert len(tasks(mended.output)) == TASKS_OF_A_REMOVAL
        ours = [name for name in place.state() if sandbox["clusters"][0]["name"] in name]
        assert ours == []
        first_run = place.strike(SITE, ways[1], in_a_task(rng, TASKS_OF_A_FIRST_RUN, WITHIN))
        print(first_run.line())
        mended = place.mend(first_run, SITE, there)
        if first_run.holder:
            assert len(tasks(mended.output)) == TASKS_OF_A_FIRST_RUN
    assert removal.hit
    assert first_run.hit
    assert stranger.asked > 20
    assert stranger.breaches == []


def test_a_worker_ends_with_its_controller(sandbox: dict[str, Any], tmp_path: Path) -> None:
    """Ansible's workers have a session of their own: nobody but the kernel ends them."""
    given = {"kubeconfig": sandbox["clusters"][0]["kubeconfig"], "namespace": "killed-worker"}
    first = oapip_lock.run(params_of(oapip_lock, given), Context())
    try:
        task = {"name": "wait", "eoepca.oapip.oapip_lock": {**given, "wait": 60}}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
        playbook = tmp_path / "wait.yml"
        playbook.write_text(json.dumps([play]))
        running = start_playbook(playbook, tmp_path, "-i", "localhost,")
        until = time.monotonic() + 60
        while "waiting for the lock" not in running.output.read_text():
            assert time.monotonic() < until
            time.sleep(0.1)
        workers = set(descendants(running.process.pid))
        running.kill()
        assert workers
        assert outliving(workers) == []
    finally:
        oapip_lock.run(
            params_of(oapip_lock, {**given, "holder": first["holder"], "state": "released"}),
            Context(),
        )


@pytest.mark.full
def test_many_kills(place: Range, seed: int) -> None:
    assert campaign(place, first_runs=20, removals=10, seed=seed) == 0
