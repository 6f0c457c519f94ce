"""The converged site.yml on one cluster, and the same work with stock modules."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import writes
from tests.bench import measure
from tests.bench.measure import Budget, Cost
from tests.harness import ANSIBLE, ROOT, PlaybookRun, run_playbook
from tests.lint import venvs

SITE = ROOT / "site.yml"
HERE = Path(__file__).parent
CLUSTER = "sandbox-1"
SHARE = 0.2
"""Part of the baseline's wall time that we may take."""
TASKS = 20
REQUESTS = 60


@dataclass(frozen=True)
class Counted:
    """What a converged run did: tasks of its host, requests by server, writes."""

    tasks: int
    requests: Mapping[str, int]
    writes: list[str]

    def rows(self, who: str, *, limits: bool) -> Iterator[Budget]:
        """Yield the figures, with their limits or without."""
        servers = ", ".join(f"{server} {count}" for server, count in sorted(self.requests.items()))
        figures = (
            (f"{who}: tasks of a host", self.tasks, TASKS),
            (f"{who}: HTTP requests ({servers})", sum(self.requests.values()), REQUESTS),
            (f"{who}: writes", len(self.writes), 0),
        )
        for what, value, limit in figures:
            yield Budget(what, value, "", limit if limits else None)


def count(
    sandbox: Mapping[str, Any], folder: Path, run: Callable[[Mapping[str, str]], PlaybookRun]
) -> Counted:
    """Count what a run does that has nothing left to do; `run` takes further environment."""
    record = folder / "requests"
    record.unlink(missing_ok=True)
    servers = writes.Servers(sandbox)
    mark = servers.mark()
    done = run({"PYTHONPATH": str(HERE / "hooks"), "OAPIP_BENCH_REQUESTS": str(record)})
    tasks = [result for result in done.results if result.status != "skipped"]
    cluster = sandbox["clusters"][0]
    names = {
        urlsplit(url).port: name
        for name, url in (
            ("Kubernetes", cluster["server"]),
            ("gateway", cluster["gateway_url"]),
            ("Keycloak", sandbox["keycloak"]["url"]),
            ("S3", sandbox["s3"]["endpoint"]),
        )
    }
    ports = (int(line.split()[0]) for line in record.read_text().splitlines())
    requests = collections.Counter(names[port] for port in ports)
    return Counted(len(tasks), requests, [write.line() for write in servers.since(mark)])


class Site:
    """site.yml as a user runs it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self.options = ("-e", f"oapip_report_dir={folder}/reports", *options)

    def run(self, environment: Mapping[str, str] | None = None) -> PlaybookRun:
        """Run it, its results as data."""
        return good(run_playbook(SITE, self._folder, *self.options, environment=environment))

    def cost(self, environment: Mapping[str, str] | None = None, *, memory: bool = False) -> Cost:
        """Run it and measure."""
        config = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        return measure.run(
            [str(ANSIBLE), *self.options, str(SITE)],
            {**os.environ, **config, **(environment or {})},
            self._folder / "site.txt",
            memory=memory,
        )


class Baseline:
    """The same work with stock modules, in a virtual environment of its own."""

    def __init__(self, folder: Path, playbook: str = "site.yml", *options: str) -> None:
        """Choose one of the folder `baseline`, with options for `ansible-playbook`."""
        self._folder = folder
        venv = venvs.ensure(
            "venv-bench", "bench/requirements.txt", "-c", str(ROOT / "constraints.txt")
        )
        self._ansible = venv / "bin" / "ansible-playbook"
        self._playbook = HERE / "baseline" / playbook
        self._options = options
        self._environment = {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(next(venv.glob("lib/python3*/site-packages"))),
            "ANSIBLE_DEPRECATION_WARNINGS": "false",
            "ANSIBLE_PIPELINING": "true",  # a module process without files on their way to it
            "PATH": os.pathsep.join([str(venv / "bin"), os.environ["PATH"]]),
        }

    def run(self, environment: Mapping[str, str] | None = None) -> PlaybookRun:
        """Run it, its results as data."""
        return good(
            run_playbook(
                self._playbook,
                self._folder,
                *self._options,
                environment={**self._environment, **(environment or {})},
                ansible=self._ansible,
            )
        )

    def cost(self) -> Cost:
        """Run it as a user does and measure."""
        return measure.run(
            [str(self._ansible), *self._options, str(self._playbook)],
            {**os.environ, **self._environment},
            self._folder / "baseline.txt",
        )


def good(done: PlaybookRun) -> PlaybookRun:
    """Return the run that ended well.

    :raises CommandError: it did not.
    """
    if done.code:
        failed = [
            f"{one.host}: {one.result.get('msg')}" for one in done.results if one.status == "failed"
        ]
        raise measure.CommandError("\n".join([*failed, done.output[-3000:]]))
    return done


def counts(sandbox: Mapping[str, Any], folder: Path) -> Iterator[Budget]:
    """Yield what a converged site.yml does; it is settled and proved before."""
    site = Site(folder, "-l", CLUSTER)
    site.run()
    yield from count(sandbox, folder, site.run).rows("site.yml", limits=True)


def compare(sandbox: Mapping[str, Any], folder: Path, rounds: int) -> Iterator[Budget]:
    """Yield the counts of both, then wall time, CPU and memory, measured by turns."""
    yield from counts(sandbox, folder)
    variables = HERE / "baseline" / "vars.yml"
    baseline = Baseline(folder, "site.yml", "-l", CLUSTER, "-e", f"@{variables}")
    baseline.run()
    yield from count(sandbox, folder, baseline.run).rows("stock modules", limits=False)
    site = Site(folder, "-l", CLUSTER)
    ours, theirs = measure.by_turns(rounds, site.cost, baseline.cost)
    for who, one in (("site.yml", ours), ("stock modules", theirs)):
        yield Budget(f"{who}: wall time", one.wall, "s")
        yield Budget(f"{who}: CPU time", one.cpu, "s")
        yield Budget(f"{who}: largest process", one.rss, "MB")
    share = ours.wall / theirs.wall
    yield Budget("site.yml: part of the stock modules' wall time", share, "", SHARE)
    yield Budget("site.yml: part of the stock modules' CPU time", ours.cpu / theirs.cpu)
