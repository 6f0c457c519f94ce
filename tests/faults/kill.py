"""Runs that are killed at random moments, and what the next run makes of it.

    python -m tests.faults kill --moments 20 --seed 7             first runs
    python -m tests.faults kill --moments 10 --seed 7 --removal   removals

A run is killed in one of two ways: the whole process tree at once, as when the machine dies, or the
controller's process group alone, which leaves Ansible's workers and helm to themselves. The next
run has to end well, in the state of a run that nobody killed, and no stranger may get in meanwhile.
Every third time the next run is one of the other kind: a removal after a first run, or a first run
after a removal. The sandbox ends deployed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.dump import Dump, difference, dump, holder, record
from tests.faults.stranger import Stranger
from tests.harness import ROOT, PlaybookRun, Running, start_playbook

SITE = ROOT / "site.yml"
REMOVE = ROOT / "playbooks" / "remove.yml"
WHOLE_TREE = "whole tree"
CONTROLLER = "controller's group"
ORPHANS_END = 5.0
"""Seconds in which everything that a killed run started has to be gone."""
DRAWS = 4
"""How often a moment is drawn before it is taken for sure that none will ever come."""


class KillError(Exception):
    """A killed run that the next one did not mend, with all that is known about it."""


@dataclass(frozen=True)
class Killed:
    """One kill: what was at work, when (seconds after the start) and in which way it was ended."""

    playbook: Path
    after: float
    way: str
    task: str
    """The task that was at work."""
    hit: bool
    """Whether the run was still at work then."""
    holder: str
    """Who holds the lock that was left behind, if one was."""

    def line(self) -> str:
        """Return what happened in words."""
        missed = "" if self.hit else ", when it had ended"
        when = f"{self.playbook.stem} killed after {self.after:.1f} s{missed}"
        return f"{when}, {self.way}: {self.task}"


Moment = Callable[[str], bool]
"""Tells from a run's output so far whether a moment has come."""


def at_once(_output: str) -> bool:
    """The start."""
    return True


def at_task(name: str) -> Moment:
    """The start of the task whose name ends so."""
    return lambda output: f"{name}] **" in output


def tasks(output: str) -> list[str]:
    """Return the headings of the tasks that a run has begun so far, those that are skipped too."""
    return re.findall(r"(?m)^TASK \[.*\]", output)


def at_nth_task(number: int) -> Moment:
    """The start of a task, counted from 1."""
    return lambda output: len(tasks(output)) >= number


def never(_output: str) -> bool:
    """No moment at all."""
    return False


@dataclass(frozen=True)
class Aim:
    """When to kill: so many seconds after a moment, but not later than another one."""

    after: float
    since: Moment = at_once
    until: Moment = never


def in_a_task(rng: random.Random, count: int, seconds: float) -> Callable[[], Aim]:
    """Return what draws a moment in one of so many tasks, in its first seconds."""

    def draw() -> Aim:
        number = rng.randint(1, count)
        return Aim(rng.uniform(0, seconds), at_nth_task(number), at_nth_task(number + 1))

    return draw


class Range:
    """One cluster of the sandbox on which runs are started and killed."""

    def __init__(self, sandbox: Mapping[str, Any], folder: Path) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._host = sandbox["clusters"][0]["name"]

    def state(self) -> Dump:
        """Return what is on the servers now."""
        return dump(self._sandbox, self._host)

    def start(self, playbook: Path, *options: str) -> Running:
        """Start a playbook on the cluster."""
        report = f"oapip_report_dir={self._folder}/reports"
        return start_playbook(playbook, self._folder, "-l", self._host, "-e", report, *options)

    def run(self, playbook: Path, *options: str) -> PlaybookRun:
        """Run a playbook to its end, which has to be a good one."""
        done = self.start(playbook, *options).wait()
        if done.code:
            raise KillError(f"{playbook.name} failed:\n{done.output[-6000:]}")
        return done

    def strike(self, playbook: Path, way: str, draw: Callable[[], Aim]) -> Killed:
        """Kill a run at a moment that is drawn; again, from the same state, if it ended before.

        :raises KillError: no run could be killed, or something that it started outlives it.
        """
        for _ in range(DRAWS):
            killed = self.kill(playbook, draw(), way)
            if killed.hit:
                return killed
            print(f"missed: {killed.line()}", flush=True)
            self.run(REMOVE if playbook == SITE else SITE)
        raise KillError(f"{killed.line()}\n{DRAWS} runs had ended before they could be killed")

    def kill(self, playbook: Path, aim: Aim, way: str) -> Killed:
        """Start a playbook and kill it.

        :raises KillError: something that it started outlives it.
        """
        running = self.start(playbook)
        begun = time.monotonic()
        while running.process.poll() is None and not aim.since(_text(running)):
            time.sleep(0.05)
        end = time.monotonic() + aim.after
        while (
            running.process.poll() is None
            and time.monotonic() < end
            and not aim.until(_text(running))
        ):
            time.sleep(0.02)
        after, hit = time.monotonic() - begun, running.process.poll() is None
        family = set(descendants(running.process.pid))
        if way == WHOLE_TREE:
            kill_tree(running.process.pid)
        running.kill()
        begun_tasks = tasks(_text(running))
        last = f"{len(begun_tasks)}. {begun_tasks[-1]}" if begun_tasks else "start"
        lock = holder(self._sandbox, self._host)
        killed = Killed(playbook, after, way, last, hit, lock)
        if left := outliving(family):
            raise KillError(f"{killed.line()}\nstill at work {ORPHANS_END} s later: {left}")
        return killed

    def mend(self, killed: Killed, playbook: Path, wanted: Dump | None = None) -> PlaybookRun:
        """Run a playbook after one that was killed; the state must be the wanted one then.

        :raises KillError: it is not, or the run failed or took a lock over without a word.
        """
        try:
            done = self.run(playbook)
        except KillError as error:
            raise KillError(f"{killed.line()}\nthen {error}") from None
        said = " ".join(done.output.split())  # warnings are wrapped
        if killed.holder and f"taken over from {killed.holder}" not in said:
            raise KillError(f"{killed.line()}\n{killed.holder}'s lock was taken over silently")
        if wanted is not None and (lines := difference(wanted, self.state())):
            raise KillError("\n".join([killed.line(), "the next run left:", *lines]))
        return done


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            yield child
            waiting.append(child)


def kill_tree(pid: int) -> None:
    """Stop a process and all its descendants, then kill them: none sees another one die."""
    stopped: set[int] = set()
    while new := {pid, *descendants(pid)} - stopped:
        for one in new:
            _send(one, signal.SIGSTOP)
        stopped |= new
    for one in stopped:
        _send(one, signal.SIGKILL)


def outliving(family: set[int]) -> list[str]:
    """Return the command lines of the processes that are still there after a while."""
    until = time.monotonic() + ORPHANS_END
    while (left := [line for pid in family if (line := _command(pid))]) and (
        time.monotonic() < until
    ):
        time.sleep(0.1)
    return left


def _text(running: Running) -> str:
    return running.output.read_text(encoding="utf-8", errors="replace")


def _send(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def _command(pid: int) -> str:
    """Return how a process was called; nothing of one that ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    except OSError:
        return ""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `kill`."""
    parser = commands.add_parser(
        "kill",
        help="kill runs at random moments; the next one has to mend it",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--task", default="", help="always at this task, within its first 5 s")
    parser.add_argument("--removal", action="store_true", help="kill removals, not first runs")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return campaign(
            Range(record(), Path(folder)),
            first_runs=0 if args.removal else args.moments,
            removals=args.moments if args.removal else 0,
            seed=args.seed,
            task=args.task,
        )


def campaign(place: Range, first_runs: int, removals: int, seed: int, task: str = "") -> int:
    """Kill so many first runs and removals, each followed by one that has to mend; 0 when all did.

    Moments are uniform over the time that a run takes which nobody kills, or are those of one task.
    """
    rng = random.Random(seed)
    print(f"seed {seed}")
    failures = asked = 0
    killed: Counter[Path] = Counter()
    wanted, takes = {}, {}
    place.run(REMOVE)
    for playbook in (SITE, REMOVE):
        started = time.monotonic()
        place.run(playbook)
        takes[playbook] = time.monotonic() - started
        wanted[playbook] = place.state()
        print(f"{playbook.stem} takes {takes[playbook]:.1f} s", flush=True)
    moments = [
        (number, playbook)
        for number in range(max(first_runs, removals))
        for playbook, count in ((SITE, first_runs), (REMOVE, removals))
        if number < count
    ]
    last = REMOVE
    for number, playbook in moments:
        other = REMOVE if playbook == SITE else SITE
        if last == playbook:
            place.run(other)
        last = other if number % 3 == 2 else playbook
        seconds, since = (5.0, at_task(task)) if task else (takes[playbook], at_once)

        def draw(seconds: float = seconds, since: Moment = since) -> Aim:
            return Aim(rng.uniform(0, seconds), since)

        told = []
        try:
            with Stranger(record()) as stranger:
                one = place.strike(playbook, (WHOLE_TREE, CONTROLLER)[number % 2], draw)
                killed[playbook] += 1
                place.mend(one, last, wanted[last])
        except KillError as error:
            told = [str(error)]
        else:
            print(f"ok {one.line()}; then {last.stem}", flush=True)
        told += [f"a stranger got in: {breach}" for breach in stranger.breaches]
        if not stranger.asked:
            told.append("nobody answered the stranger")
        for line in told:
            print(f"FAILED {line}", flush=True)
        failures += len(told)
        asked += stranger.asked
    place.run(SITE)
    if lines := difference(wanted[SITE], place.state()):
        failures += 1
        print("\n".join(["FAILED at the end:", *lines]))
    print(f"{killed[SITE]} first runs and {killed[REMOVE]} removals killed, {failures} failures")
    print(f"a stranger asked {asked} times")
    return 1 if failures else 0
