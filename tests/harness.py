"""Run tasks and playbooks as a user does, and read their results as data."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ANSIBLE = Path(sys.executable).parent / "ansible-playbook"

# What differs between a call in the worker and a module process without meaning anything.
_VOLATILE = {
    "ansible_async_watchdog_pid",
    "ansible_facts",
    "ansible_job_id",
    "deprecations",
    "finished",
    "invocation",
    "results_file",
    "started",
    "stderr",
    "stderr_lines",
    "stdout",
    "stdout_lines",
    "warnings",
}


@dataclass(frozen=True)
class TaskResult:
    """One task on one host: `status` is ok, failed, ignored, skipped or unreachable.

    `seconds` is the wall time from where Ansible gives it to a worker to where its result is seen.
    """

    host: str
    task: str
    status: str
    result: dict[str, Any]
    seconds: float = 0.0

    def contract(self) -> dict[str, Any]:
        """Return the result without what may differ from one way of running to another."""
        kept = {
            key: value
            for key, value in self.result.items()
            if key not in _VOLATILE and not key.startswith("_ansible")
        }
        return {"failed": False, "changed": False, **kept}


@dataclass(frozen=True)
class PlaybookRun:
    """The end of one ansible-playbook process."""

    code: int
    output: str
    results: list[TaskResult]

    def of(self, task: str) -> TaskResult:
        """Return the one result of the task with this name."""
        (found,) = [result for result in self.results if result.task == task]
        return found


def run_playbook(
    playbook: Path,
    folder: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    timeout: float = 600,
    ansible: Path = ANSIBLE,
) -> PlaybookRun:
    """Run a playbook with the checkout's ansible.cfg; `folder` takes the results file."""
    started = start_playbook(playbook, folder, *options, environment=environment, ansible=ansible)
    return started.wait(timeout)


def start_playbook(
    playbook: Path,
    folder: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    ansible: Path = ANSIBLE,
) -> Running:
    """Start a playbook in a process group of its own; `folder` takes results and output."""
    record = folder / f"{playbook.stem}.results.jsonl"
    record.unlink(missing_ok=True)
    output = folder / f"{playbook.stem}.output"
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".sandbox" / "collections"),
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "results",
        "ANSIBLE_NOCOLOR": "1",
        "OAPIP_TEST_RESULTS": str(record),
        **(environment or {}),
    }
    with output.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(
            [str(ansible), *options, str(playbook)],
            env=env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(process, record, output)


@dataclass(frozen=True)
class Running:
    """A playbook at work, the leader of its process group."""

    process: subprocess.Popen[bytes]
    record: Path
    output: Path

    def wait(self, timeout: float = 600) -> PlaybookRun:
        """Return its end; after `timeout` seconds it is killed and TimeoutExpired is raised."""
        try:
            self.process.wait(timeout)
        except BaseException:
            self.kill()
            raise
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        results = [
            TaskResult(line["host"], line["task"], line["status"], line["result"], line["seconds"])
            for line in map(json.loads, lines)
        ]
        text = self.output.read_text(encoding="utf-8", errors="replace")
        return PlaybookRun(self.process.returncode, text, results)

    def kill(self) -> None:
        """Send SIGKILL to the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def run_tasks(
    folder: Path, tasks: Sequence[Mapping[str, Any]], *options: str, **keywords: Any
) -> PlaybookRun:
    """Run named tasks on localhost, each whether the one before failed or not.

    :param keywords: more keywords of the play.
    """
    play = {
        "name": "Tasks of a test",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        **keywords,
        "tasks": [{"ignore_errors": True, **task} for task in tasks],
    }
    playbook = folder / "tasks.yml"
    playbook.touch(mode=0o600)
    playbook.write_text(yaml.safe_dump([play], sort_keys=False))
    return run_playbook(playbook, folder, "-i", "localhost,", *options)


def both_ways(
    folder: Path, module: str, params: Mapping[str, Any], *options: str
) -> tuple[TaskResult, TaskResult]:
    """Run one module in Ansible's worker, then as a child process, with the same parameters.

    A task with an environment is never run in the worker: see plugin_utils/_in_process.py.
    """
    task = {f"eoepca.oapip.{module}": dict(params)}
    sent = {**task, "name": "sent", "environment": {"OAPIP_TEST_SENT": "1"}}
    done = run_tasks(folder, [{**task, "name": "here"}, sent], *options)
    return done.of("here"), done.of("sent")
