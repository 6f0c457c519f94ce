# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Jobs: what is sent, how long to wait between two looks, and what an answer means.

No I/O here: the wait takes a function that looks and a deadline with its clock.
"""

from __future__ import annotations

import difflib
import math
import random
import re
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import unquote

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import (
    SMALLEST,
    Deadline,
    Uniform,
    step,
)

Document = t.Dict[str, t.Any]

OVER = frozenset({"successful", "failed", "dismissed"})
"""The states of 18-062r2 table 17 that a job does not leave."""

STATES = OVER | {"accepted", "running"}

SAME: t.Dict[str, str] = {
    "queued": "accepted",
    "pending": "accepted",
    "started": "running",
    "processing": "running",
    "in progress": "running",
    "succeeded": "successful",
    "success": "successful",
    "completed": "successful",
    "finished": "successful",
    "canceled": "dismissed",
    "cancelled": "dismissed",
    "aborted": "dismissed",
    "exception": "failed",
    "error": "failed",
    "failure": "failed",
}
"""What servers call the states of table 17: those of WPS, Weaver (openEO's words too), others."""

NAMES = ("jobID", "jobId", "job_id", "id")
"""Members that hold a job's id: 18-062r2, what others make of it, 18-062r3 and openEO."""

ECHO = "Unable to run the Service. The message returned back by the Service was the following: "
"""What ZOO-Project writes before the detail that the results tell as well."""

GRACE = 15.0
"""Seconds in which a job that was started a moment ago may not be found yet."""

AGAIN = 2.0
"""Seconds after which a job that was not found is looked for again."""

PATIENCE = 300.0
"""Seconds without any usable answer after which a wait gives up."""


@dataclass(frozen=True)
class Look:
    """What one look at a job found: its status document, that it is gone, or nothing usable."""

    status: t.Optional[Document] = None
    gone: bool = False
    trouble: str = ""
    retry_after: t.Optional[float] = None


@dataclass
class Outcome:
    """How a wait ended: ``state`` is a state of the job, or ``timeout``."""

    state: str
    status: Document = field(default_factory=dict)
    looks: int = 0
    trouble: str = ""


def progress_of(status: Document) -> t.Optional[float]:
    """Return the progress in per cent, or None where it is missing or nonsense."""
    value = status.get("progress")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= 100 else None


def state_of(status: Document) -> str:
    """Return the state of a job in the word of table 17, or in the server's own; else nothing."""
    told = status.get("status")
    if not isinstance(told, str):
        return ""
    word = " ".join(re.sub(r"[\W_]+", " ", told.casefold()).split())[:40]
    return SAME.get(word, word)


def as_standard(status: Document) -> Document:
    """Return a status document with state and id as in 18-062r2, however the server writes them."""
    state, job_id = state_of(status), job_id_of(status)
    return {
        **status,
        **({"status": state} if state else {}),
        **({"jobID": job_id} if job_id else {}),
    }


def describe(status: Document) -> str:
    """Return a status in words: ``running 33 %``."""
    state = state_of(status) or "unknown"
    progress = progress_of(status)
    return f"{state} {progress:.0f} %" if progress is not None and state not in OVER else state


@dataclass
class _Pace:
    """Remembers how fast a job moves."""

    at: float = 0.0
    progress: float = 0.0

    def remaining(self, elapsed: float, progress: t.Optional[float]) -> t.Optional[float]:
        """Return the estimated seconds to the end where the progress moved since the last look."""
        if progress is None or progress <= self.progress or elapsed <= self.at:
            return None
        speed = (progress - self.progress) / (elapsed - self.at)
        self.at, self.progress = elapsed, progress
        return (100.0 - progress) / speed


def wait(
    look: t.Callable[[], Look],
    deadline: Deadline,
    tell: t.Callable[[str], None] = lambda _line: None,
    uniform: Uniform = random.uniform,
) -> Outcome:
    """Look at a job until it is over, gone, or the time is up.

    A job that was never seen may have been started just now, perhaps by another task, and a 404 may
    be early: it is gone after ``GRACE`` seconds.

    :param look: raises OapipError only for what waiting does not cure.
    :param tell: gets one line for each change of state or progress.
    :raises OapipError: nothing usable came for ``PATIENCE`` seconds.
    """
    seen = Outcome("timeout")
    pace = _Pace()
    told = ""
    good_at = deadline.elapsed
    missed = 0
    while True:
        found = look()
        seen.looks += 1
        remaining = None
        if found.status is not None:
            good_at, missed, seen.trouble = deadline.elapsed, 0, ""
            seen.status = found.status
            words = describe(found.status)
            if words != told:
                told = words
                tell(words)
            if state_of(found.status) in OVER:
                seen.state = state_of(found.status)
                return seen
            remaining = pace.remaining(deadline.elapsed, progress_of(found.status))
        elif found.gone:
            missed += 1
            seen.trouble = "the server does not know it"
            if missed > 1 and (seen.status or deadline.elapsed >= GRACE):
                seen.state = "dismissed"
                return seen
        else:
            seen.trouble = found.trouble
            if deadline.elapsed - good_at > PATIENCE:
                raise OapipError(
                    "waiting for the job",
                    f"no usable answer for {PATIENCE:.0f} seconds; the last: {found.trouble}",
                )
        if deadline.over:
            return seen
        pause = step(deadline.elapsed, remaining=remaining, uniform=uniform)
        if found.gone:
            pause = min(pause, AGAIN)
        if found.retry_after is not None:
            pause = max(found.retry_after, SMALLEST)
        deadline.sleep(pause)


def request_of(
    inputs: t.Mapping[str, t.Any],
    outputs: t.Optional[t.Mapping[str, t.Any]],
    response: str,
    subscriber: t.Optional[t.Mapping[str, t.Any]] = None,
) -> Document:
    """Return the execute request (18-062r2 7.11.2); an ``id`` in it would name another process."""
    body: Document = {"inputs": dict(inputs), "response": response}
    if outputs:
        body["outputs"] = {name: wish or {} for name, wish in outputs.items()}
    if subscriber:
        body["subscriber"] = dict(subscriber)
    return body


def job_id_of(body: t.Any, location: str = "") -> str:
    """Return the id of a started job: from the body, else from the ``Location`` header."""
    for key in NAMES if isinstance(body, dict) else ():
        told = body.get(key)
        if isinstance(told, (str, int)) and not isinstance(told, bool) and str(told).strip():
            return str(told)
    return job_of(location) or unquote(path_of(location)[-1])


def job_of(location: str) -> str:
    """Return the id in the address of a job, of its results, or the like; else nothing."""
    parts = path_of(location)
    found = [after for before, after in zip(parts, parts[1:]) if before == "jobs"]
    return unquote(found[-1]) if found else ""


def path_of(location: str) -> t.List[str]:
    """Return the segments of an address, which may be relative, or none at all."""
    return re.split(r"[?#]", location, maxsplit=1)[0].rstrip("/").split("/")


def moment_of(told: t.Any) -> t.Optional[float]:
    """Return a date with its time (RFC 3339) in seconds since the epoch; None where it is none."""
    if not isinstance(told, str):
        return None
    # Python 3.9 wants three or six digits of a second, and servers write any number
    text = re.sub(r"\.(\d+)", lambda found: f".{found[1]:0<6.6}", told.strip().upper())
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None


def interval_of(text: str) -> t.Tuple[float, float]:
    """Return the ends of an interval, a moment or a day (18-062r2, parameter ``datetime``).

    :raises ValueError: it is none.
    """
    first, split, last = text.partition("/")
    ends = [math.inf * sign for sign in (-1, 1)]
    for at, one in enumerate((first, last if split else first)):
        if split and one.strip() in ("", ".."):
            continue
        moment = moment_of(one)
        if moment is None:
            raise ValueError(f"{one} is no date")
        unit = 86400 if len(one.strip()) == 10 else 0 if split or "." in one else 1
        ends[at] = moment + at * max(0.0, unit - 1e-6)
    return ends[0], ends[1]


def created(status: Document) -> t.Optional[float]:
    """Return when a job was created, in seconds since the epoch; None where that is not told."""
    known = [moment_of(status.get(key)) for key in ("created", "started")]
    return next((one for one in known if one is not None), None)


def began(status: Document) -> float:
    """Return the second in which a job was created; 0 where that is not told."""
    return float(math.floor(created(status) or 0.0))


def lasted(status: Document, now: float) -> t.Optional[float]:
    """Return the seconds that a job took, or has taken until now; None where that is not told."""
    begin = moment_of(status.get("started"))
    begin = created(status) if begin is None else begin
    end: t.Optional[float] = now
    if state_of(status) in OVER:
        known = [moment_of(status.get(key)) for key in ("finished", "updated")]
        end = next((one for one in known if one is not None), None)
    return None if begin is None or end is None else end - begin


def is_status(body: t.Any) -> bool:
    """Whether a document is the status of a job, not its results.

    Outputs may be called ``id`` and ``status``; they are not called ``jobID`` or ``processID`` too.
    """
    if not isinstance(body, dict) or not state_of(body) or not job_id_of(body):
        return False
    return body["status"] in STATES or not {*NAMES[:-1], "processID"}.isdisjoint(body)


def modes_of(description: Document) -> t.List[str]:
    """Return the ``jobControlOptions`` of a process; without them, either mode may work."""
    given = description.get("jobControlOptions")
    if not isinstance(given, list):
        return ["sync-execute", "async-execute"]
    return [str(one) for one in given]


def check_inputs(description: Document, inputs: t.Mapping[str, t.Any]) -> t.List[str]:
    """Return what is wrong with the inputs of a job, by the process's own description.

    The engine accepts anything and lets the job fail later.
    """
    known = description.get("inputs")
    if not isinstance(known, dict):
        return []
    wrong: t.List[str] = []
    for name in inputs:
        if name not in known:
            near = difflib.get_close_matches(str(name), [str(one) for one in known], 1)
            guess = f" (did you mean {near[0]}?)" if near else ""
            wrong.append(f"{name}: the process has no such input{guess}")
    for name, about in known.items():
        if not isinstance(about, dict):
            continue
        if name not in inputs or inputs[name] is None:
            if is_required(about):
                wrong.append(f"{name}: it is required")
            continue
        fault = mismatch(about, inputs[name])
        if fault:
            wrong.append(f"{name}: {fault}")
    return wrong


def is_required(about: Document) -> bool:
    """Whether an input must be given (``minOccurs``, 18-062r2 7.10.2, is 1 by default)."""
    schema = about.get("schema")
    optional = isinstance(schema, dict) and (schema.get("nullable") is True or "default" in schema)
    return about.get("minOccurs", 1) not in (0, "0") and not optional


TYPES: t.Dict[str, t.Tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def mismatch(about: Document, value: t.Any) -> str:
    """Return why a value cannot be of an input's simple type; empty where it may be."""
    schema = about.get("schema")
    if not isinstance(schema, dict):
        return ""
    several = about.get("maxOccurs", 1) not in (1, "1")
    each = value if isinstance(value, list) and several else [value]
    if is_box(schema):
        good = all(fits_box(one) for one in each)
        return "" if good else "a bounding box wanted: bbox with 4 or 6 numbers, and its crs"
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        return ""  # a schema that only the server can judge
    for one in each:
        if isinstance(one, t.Mapping):  # a reference, or a qualified value
            continue
        if (isinstance(one, bool) and kind != "boolean") or not isinstance(one, TYPES[kind]):
            cure = {"integer": " (use the filter int)", "number": " (use the filter float)"}
            return f"{kind} wanted, {type(one).__name__} given{cure.get(kind, '')}"
        allowed = schema.get("enum")
        if isinstance(allowed, list) and allowed and one not in allowed:
            return f"it must be one of {', '.join(str(item) for item in allowed)}"
    return ""


def is_box(schema: Document) -> bool:
    """Whether an input is a bounding box (``ogc-bbox``, 18-062r2 table 13)."""
    parts = schema.get("allOf")
    every = [schema, *(parts if isinstance(parts, list) else [])]
    return any(isinstance(one, dict) and one.get("format") == "ogc-bbox" for one in every)


def fits_box(value: t.Any) -> bool:
    """Whether a value may be a bounding box (18-062r2 7.11.2.5), or refers to one."""
    if not isinstance(value, t.Mapping):
        return False
    if "bbox" not in value:
        return "href" in value or "value" in value
    box = value["bbox"]
    numbers = isinstance(box, list) and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) for one in box
    )
    return numbers and len(box) in (4, 6)


def reason_of(status: Document, results: t.Any) -> str:
    """Return why a job failed: the detail in its results, then the message of its status.

    The engine answers /results of a failed job with 200 and an exception document.
    """
    said = results if isinstance(results, dict) else {}
    found = [said.get(key) for key in ("title", "detail", "description")]
    parts = [text for text in found if isinstance(text, str) and text]
    message = status.get("message")
    if isinstance(message, str):
        message = message.removeprefix(ECHO)
    stale = "accepted to run your service"  # ZOO-Project leaves its first message on input errors
    if isinstance(message, str) and message and stale not in message:
        parts.append(message)
    return ": ".join(dict.fromkeys(parts))[:2000] or "the server gives no reason"


def logs_of(status: Document) -> t.List[str]:
    """Return the addresses of the related log files."""
    links = status.get("links")
    return [
        str(link["href"])
        for link in (links if isinstance(links, list) else [])
        if isinstance(link, dict) and link.get("rel") == "related" and link.get("href")
    ]
