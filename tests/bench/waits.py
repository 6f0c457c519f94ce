"""Many hosts that each wait for a job of their own, on the engine stand-in without a gateway."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context
from ansible_collections.eoepca.oapip.plugins.modules import oapip_process
from tests.bench import measure as measuring
from tests.bench.measure import Budget, CommandError
from tests.engine_stand import CWL, Stand, running
from tests.harness import ANSIBLE, ROOT
from tests.unit_params import params_of

COUNT, FORKS, THROTTLE = 100, 50, 20
SECONDS = 20.0
"""How long a job takes: long enough for all workers to wait at the same time."""
MEGABYTES = 700


@contextmanager
def engine(folder: Path, seconds: float) -> Iterator[Stand]:
    """Run an engine whose jobs succeed by themselves, without work, after so many seconds."""
    over = threading.Event()

    def end() -> None:
        while not over.wait(0.2):
            for job in stand.jobs.listed("alice"):
                age = datetime.now(UTC) - datetime.fromisoformat(job.created)
                if job.running and age.total_seconds() >= seconds:
                    stand.end(job.job_id)

    stand = Stand()
    with running(stand, folder):
        stand.never_runs()
        params = params_of(oapip_process, {"url": stand.url, "content": CWL})
        oapip_process.run(params, Context())
        ending = threading.Thread(target=end)
        ending.start()
        try:
            yield stand
        finally:
            over.set()
            ending.join()


def tasks(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return the ways to run a job and wait for it: in one task, or in two."""
    job = {"url": url, "process_id": "sleeper", "inputs": {"seconds": 1}, "quiet": True}
    both = {"name": "Run a job", "eoepca.oapip.oapip_job": job}
    start = {
        "name": "Start a job",
        "eoepca.oapip.oapip_job": {**job, "state": "started"},
        "register": "job",
    }
    wait = {
        "name": "Wait for it",
        "eoepca.oapip.oapip_job": {"url": url, "job_id": "{{ job.job_id }}", "quiet": True},
        "throttle": THROTTLE,
    }
    return {"one task": [both], f"started, then {THROTTLE} wait at a time": [start, wait]}


def playbook(folder: Path, given: list[dict[str, Any]], count: int) -> list[str]:
    """Write a playbook with these tasks for so many hosts; return its command."""
    play = {"name": "Jobs", "hosts": "all", "gather_facts": False, "tasks": given}
    (folder / "jobs.yml").write_text(yaml.safe_dump([play]))
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {f"host-{number:03}": common for number in range(count)}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    return [str(ANSIBLE), "-i", str(folder / "hosts.yml"), str(folder / "jobs.yml")]


def measure(
    folder: Path, count: int = COUNT, forks: int = FORKS, seconds: float = SECONDS
) -> Iterator[Budget]:
    """Yield the memory of all processes of such a run, and what it asked the engine."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    for number, how in enumerate(tasks("")):
        place = folder / f"waits-{number}"
        place.mkdir()
        with engine(place, seconds) as stand:
            command = [*playbook(place, tasks(stand.url)[how], count), "-f", str(forks)]
            before = len(stand.asked)
            cost = measuring.run(command, environment, place / "output", memory=True)
            reads = [path for method, path in stand.asked[before:] if method == "GET"]
            started = len(stand.jobs.listed("alice"))
        if started != count:
            raise CommandError(f"{started} jobs for {count} hosts")
        what = f"{count} jobs of {seconds:.0f} s, {forks} forks, {how}"
        yield Budget(f"{what}: memory of all processes", cost.pss, "MB", MEGABYTES)
        yield Budget(f"{what}: wall time", cost.wall, "s")
        yield Budget(f"{what}: Ansible's CPU time a job", cost.cpu / count, "s")
        yield Budget(f"{what}: reads of the engine a job", len(reads) / count)
