"""Jobs: records on disk, status documents, filters of the list.

Source: K`service_json.c createStatus`, K`sqlapi.c`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .answers import exception_body, refuse
from .descriptions import RESULTS
from .flavours import Flavour
from .tokens import ANONYMOUS

ACCEPTED = "ZOO-Kernel accepted to run your service!"
SUCCEEDED = "ZOO-Kernel successfully run your service!"
DISMISSED = "ZOO-Kernel successfully dismissed your service!"
FAILED = "Unable to run the Service. The message returned back by the Service was the following: "
_JSON = "application/json"
_LOG = "text/plain"


def now() -> str:
    """UTC with milliseconds, as the kernel writes times."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Job:
    """One job's record.

    Attributes:
        result: the stored results document; an exception body when the job failed.
        raw: results are given bare, not by output.
        logs: names of log files in the user's temp folder.
    """

    job_id: str
    user: str
    process_id: str
    raw: bool = True
    status: str = "running"
    progress: int = 0
    message: str = ACCEPTED
    created: str = field(default_factory=now)
    finished: str | None = None
    updated: str = field(default_factory=now)
    result: Any = None
    logs: list[str] = field(default_factory=list)
    subscriber: dict[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        return self.status == "running"

    def advance(self, progress: int, message: str) -> None:
        """Move on; never back."""
        self.progress, self.message = max(self.progress, progress), message
        self.updated = now()

    def succeed(self, outputs: dict[str, Any]) -> None:
        """End with the outputs by id."""
        self.status, self.message, self.result = "successful", SUCCEEDED, outputs
        self.finished = self.updated = now()

    def fail(self, code: str, detail: str, message: str | None = None) -> None:
        """End with an exception; the reason is in the results, not always in the message."""
        self.status, self.result = "failed", exception_body(code, detail)
        self.message = FAILED + detail if message is None else message
        self.finished = self.updated = now()

    def document(self) -> Any:
        """Body of /results: bare for a single raw output."""
        if self.status == "successful" and self.raw and len(self.result) == 1:
            only = next(iter(self.result.values()))
            return only["value"] if isinstance(only, dict) and "value" in only else only
        return self.result


class JobStore:
    """Jobs of one engine, one folder each; jobs that ran when it stopped have failed."""

    def __init__(self, root: Path) -> None:
        self.root = root / "jobs"
        self._jobs: dict[str, Job] = {}
        for path in sorted(self.root.glob("*/job.json")):
            job = Job(**json.loads(path.read_text()))
            self._jobs[job.job_id] = job
            if job.running:
                job.fail("NoApplicableCode", "The engine was restarted while the job was running.")
                self.save(job)

    def folder(self, job_id: str) -> Path:
        """A job's folder: its record, package, inputs and work."""
        return self.root / job_id

    def save(self, job: Job) -> None:
        """Write the record, unless the job was dismissed meanwhile."""
        if self._jobs.setdefault(job.job_id, job) is not job:
            return
        folder = self.folder(job.job_id)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "job.part"
        partial.write_text(json.dumps(asdict(job)))
        partial.replace(folder / "job.json")

    def get(self, job_id: str) -> Job | None:
        """Any user's job: the kernel does not look whose it is."""
        return self._jobs.get(job_id)

    def remove(self, job_id: str) -> None:
        """Forget a job and all its files."""
        self._jobs.pop(job_id, None)
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def listed(self, user: str) -> list[Job]:
        """Own and anonymous jobs, newest first."""
        seen = [job for job in self._jobs.values() if job.user in (user, ANONYMOUS)]
        return sorted(seen, key=lambda job: job.created, reverse=True)


def status_info(job: Job, flavour: Flavour, base: str) -> dict[str, Any]:
    """StatusInfo of a job under a user's base URL."""
    location = f"{base}/jobs/{job.job_id}"
    found: dict[str, Any] = {"id": job.job_id} if flavour.status_has_id else {}
    if job.running:
        found["progress"] = job.progress
    found |= {"jobID": job.job_id, "type": "process", "processID": job.process_id}
    found |= {"created": job.created, "started": job.created}
    if job.finished:
        found["finished"] = job.finished
    found |= {"updated": job.updated, "status": job.status, "message": job.message}
    links = [_link("Status location", "monitor", location)]
    if job.status == "successful":
        links.append(_link("Result location", RESULTS, f"{location}/results"))
    temp = f"{base.removesuffix('/ogc-api')}/temp"
    links += [_link(f"Tool log {n}", "related", f"{temp}/{n}", _LOG) for n in job.logs]
    return found | {"links": links}


def dismissed_info(job: Job, flavour: Flavour, base: str) -> dict[str, Any]:
    """The one answer in which a job is `dismissed`."""
    found = status_info(job, flavour, base) | {"status": "dismissed", "message": DISMISSED}
    found.pop("progress", None)
    title = "The job list for the current process"
    return found | {"links": [_link(title, "parent", f"{base}/jobs")]}


def _link(title: str, rel: str, href: str, kind: str = _JSON) -> dict[str, str]:
    return {"title": title, "rel": rel, "type": kind, "href": href}


def select(jobs: Iterable[Job], query: Mapping[str, str]) -> list[Job]:
    """Apply the filters of GET /jobs, without limit and skip.

    Raises:
        RefusedError: a duration is no number.
    """
    wanted = {
        "process_id": query.get("processID") or query.get("processid"),
        "status": query.get("status"),
    }
    found = list(jobs)
    for name, value in wanted.items():
        if value:
            found = [job for job in found if getattr(job, name) in value.split(",")]
    if query.get("type"):
        found = [job for job in found if "process" in query["type"].split(",")]
    least, most = _duration(query, "minDuration"), _duration(query, "maxDuration")
    if least is not None:
        found = [job for job in found if _seconds(job) >= least]
    if most is not None:
        found = [job for job in found if _seconds(job) <= most]
    if query.get("datetime"):
        start, slash, end = query["datetime"].partition("/")
        end = end if slash else start
        found = [job for job in found if _within(job.created, start, end)]
    return found


def _duration(query: Mapping[str, str], name: str) -> float | None:
    try:
        return float(query[name]) if query.get(name) else None
    except ValueError as error:
        detail = f"The value for {name} is not valid"
        raise refuse("InvalidQueryParameterValue", detail) from error


def _seconds(job: Job) -> float:
    end = datetime.fromisoformat(job.finished or now())
    return (end - datetime.fromisoformat(job.created)).total_seconds()


def _within(created: str, start: str, end: str) -> bool:
    """ISO texts in UTC sort as times; `..` is open, a shorter text covers its whole span."""
    after = start in ("", "..") or created >= start.rstrip("Z")
    before = end in ("", "..") or created[: len(end.rstrip("Z"))] <= end.rstrip("Z")
    return after and before
