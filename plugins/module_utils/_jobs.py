# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Jobs on a server: start, look, results, dismiss, list (18-062r2 clauses 7.11 to 7.14, 11, 13)."""

from __future__ import annotations

import contextlib
import json
import math
import time
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _job, _ogc
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, unexpected
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

Document = t.Dict[str, t.Any]

BROKEN_SECONDS = 5.0
"""Results that are no document are read again for so long."""

LOST_LIMIT = 1000
"""Jobs of a process among which one is looked for whose start had no answer."""

ANYTHING = {"Accept": "application/json, */*;q=0.1"}
"""Results are of any kind, and a strict server refuses what is not accepted."""

PREFER = {"document": "return=representation", "raw": "return=minimal"}


class Started(t.NamedTuple):
    """A job as the server took it; with its results where it was ``over`` at once."""

    job_id: str
    status: Document
    over: bool = False
    results: t.Any = None


class Raw(t.NamedTuple):
    """Raw results that are no text: what is told of them, and what they are."""

    told: t.Any
    data: bytes


@contextlib.contextmanager
def holding(job_id: str, facts: t.Mapping[str, t.Any]) -> t.Iterator[None]:
    """Let each error tell the job that is there, whatever it is: a defect must not lose it either.

    :param facts: what the failed result has beside the id.
    :raises OapipError: with them.
    """
    try:
        yield
    except Exception as error:
        told = error if isinstance(error, OapipError) else defect(f"following job {job_id}", error)
        told.extra = {**({"job_id": job_id} if job_id else {}), **facts, **told.extra}
        if job_id not in told.text():
            told.hint = f"{told.hint} The job is {job_id}: go on with job_id.".strip()
        raise told from None


def defect(doing: str, error: Exception) -> OapipError:
    """Return an error that we did not foresee as one that a result can be added to."""
    return OapipError(doing, unexpected(error))


def start(
    server: _ogc.Server, process_id: str, body: Document, sync_seconds: t.Optional[float] = None
) -> Started:
    """Start a job, once.

    :param sync_seconds: run it synchronously, and wait so long for the answer.
    :raises OapipError: it was refused; or no answer came, so that it is unknown whether it runs.
    """
    doing = f"starting a job of process {process_id}"
    since = server.date
    try:
        return _started(server, process_id, body, sync_seconds, doing)
    except Exception as caught:
        error = caught if isinstance(caught, OapipError) else defect(doing, caught)
        unsure = error.status is None or error.status < 300 or error.status >= 500
        # not: getting a token
        if unsure and error.doing == doing and "job_id" not in error.extra:
            _look_for(server, process_id, since, error)
        raise error from None


def _look_for(
    server: _ogc.Server, process_id: str, since: t.Optional[float], error: OapipError
) -> None:
    """Put into an error which jobs began since: one may be the job, or another user's."""
    found: t.List[str] = []
    with contextlib.suppress(OapipError):
        filters = {"processID": process_id}
        found = [
            _job.job_id_of(one)
            for one in (listed(server, filters, LOST_LIMIT) if since is not None else [])
            if _job.began(one) >= t.cast("float", since) - 1  # answers tell whole seconds
        ]
    if found:
        error.extra["jobs"] = found
    seen = f" Begun since: {', '.join(found)}." if found else ""
    error.hint = (
        "It is not known whether the job was started, so it is not started again:"
        f" look with oapip_job_info, process_id={process_id}.{seen} {error.hint}"
    ).strip()


def _started(
    server: _ogc.Server,
    process_id: str,
    body: Document,
    sync_seconds: t.Optional[float],
    doing: str,
) -> Started:
    """Send the one request that starts a job, and read what is known of the job then."""
    # respond-async stands alone: pygeoapi compares the whole header, and `response` in the body
    # says the rest to ZOO-Project too
    prefer = "respond-async" if sync_seconds is None else PREFER[body["response"]]
    response = server.visit(
        "POST",
        server.url("processes", process_id, "execution"),
        doing,
        headers={"Prefer": prefer, **ANYTHING},
        timeout=sync_seconds,
        json=body,
        stream=True,  # the headers alone may name the job
    )
    named = _job.job_of(response.headers.get("Location", ""))
    with holding(named, {}):
        return _taken(response, process_id, body["response"], named, doing)


def _taken(response: t.Any, process_id: str, shape: str, named: str, doing: str) -> Started:
    """Return what the answer to an execution says.

    :param named: the job that its header names.
    """
    code = response.status_code
    if code in _ogc.REDIRECTS and not (code == 303 and named):
        raise _ogc.redirected(response, doing)
    if not _http.whole(response):
        if code < 300 and named:
            return Started(named, {})
        raise OapipError(doing, "the connection broke inside the answer")
    if code not in (200, 201, 202, 204, 303):
        raise _ogc.failed(response, doing)
    status = _ogc.quiet_json(response)
    # a job that ran synchronously may have a Location too, and an output may be called "id"
    over = code in (200, 204) and not _job.is_status(status)
    results = _content_of(response, shape, doing) if over else None
    if over:
        ids = {"jobID": named} if named else {}
        return Started(
            named, {"processID": process_id, "status": "successful", **ids}, over, results
        )
    job_id = _job.job_id_of(status, response.headers.get("Location", ""))
    if not job_id:
        raise OapipError(doing, "the answer names no job", status=code)
    return Started(job_id, _job.as_standard(status) if isinstance(status, dict) else {})


def _content_of(response: t.Any, shape: str, doing: str) -> t.Any:
    """Return the results in an answer.

    :raises OapipError: a page, or half a document, where a results document has to come.
    """
    kind = response.headers.get("Content-Type", "")
    if response.status_code == 200 and shape == "document" and ("html" in kind or "json" in kind):
        return _http.json_of(response, doing)
    return content(response)


def content(response: t.Any) -> t.Any:
    """Return an answer's content: JSON parsed, text as text, else :class:`Raw`.

    Raw results by reference are links in the header, by output (18-062r2,
    /req/core/process-execute-sync-raw-ref).
    """
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if not response.content:
        links = {rel: {"href": link["url"], **_typed(link)} for rel, link in response.links.items()}
        return links if response.status_code == 204 and links else None
    if "json" in kind:
        parsed = _ogc.quiet_json(response)
        if parsed is not None:
            return parsed
    if kind.startswith("text/") or not kind or "json" in kind or "xml" in kind:
        text = response.content.decode("utf-8", "replace")
        return text if text.encode() == response.content else Raw(text, response.content)
    return Raw({"type": kind, "size": len(response.content)}, response.content)


def _typed(link: t.Mapping[str, str]) -> t.Dict[str, str]:
    return {"type": link["type"]} if "type" in link else {}


def looker(server: _ogc.Server, job_id: str, deadline: Deadline) -> t.Callable[[], _job.Look]:
    """Return the function that looks at a job once, for :func:`_job.wait`."""
    doing = f"looking at job {job_id}"
    least = min(2.0, max(1.0, 0.1 * deadline.seconds))  # by which a wait outlives its deadline

    def look() -> _job.Look:
        patience = min(server.timeout, max(least, deadline.left))
        try:
            response = server.ask("GET", ["jobs", job_id], doing, timeout=patience, retry=False)
        except OapipError as error:
            lasting = error.extra.get("token") or "certificate" in error.reason.lower()
            if lasting or (error.status is not None and 300 <= error.status < 429):
                raise
            return _job.Look(trouble=error.reason)
        told = response.headers
        after = _http.retry_after(told.get("Retry-After"), told.get("Date"))
        code = response.status_code
        if _ogc.absent(response):
            return _job.Look(gone=True)
        if code in (404, 408, 425, 429) or code >= 500:
            return _job.Look(
                trouble=f"HTTP {code}: {_http.message_of(response)}", retry_after=after
            )
        if code != 200:
            raise _ogc.failed(response, doing)
        body = _ogc.quiet_json(response)
        if not isinstance(body, dict) or not isinstance(body.get("status"), str):
            return _job.Look(trouble="an answer that is no job status", retry_after=after)
        return _job.Look(status=_job.as_standard(body), retry_after=after)

    return look


def status_of(server: _ogc.Server, job_id: str) -> t.Optional[Document]:
    """Return the status document of a job, or None where the server says there is none."""
    doing = f"reading job {job_id}"
    response = server.ask("GET", ["jobs", job_id], doing)
    if _ogc.absent(response):
        return None
    if response.status_code != 200:
        raise _ogc.failed(response, doing)
    body = _ogc.document(response, doing)
    if not isinstance(body, dict):
        raise OapipError(doing, "the answer is no status document", "Check url.")
    return _job.as_standard(body)


def results_of(server: _ogc.Server, job_id: str, shape: str = "raw") -> t.Any:
    """Return the results of a successful job.

    :param shape: ``document`` where they have to be one: what is not, or is cut, is read again.
    :raises OapipError: there are none, or an exception with status 200.
    """
    doing = f"reading the results of job {job_id}"
    attempts = _http.Attempts(True, BROKEN_SECONDS)
    while True:
        response = server.ask("GET", ["jobs", job_id, "results"], doing, ANYTHING)
        if response.status_code not in (200, 204):
            raise _ogc.failed(response, doing)
        try:
            found = _content_of(response, shape, doing)
            break
        except OapipError:
            if not attempts.again():
                raise
    if _ogc.is_exception(found):
        raise OapipError(doing, _http.words(found), "The job has no results.", 200)
    return found


def why_failed(server: _ogc.Server, job_id: str, status: Document) -> str:
    """Return why a job failed; the answer of /results may have any status."""
    doing = f"reading the reason of job {job_id}"
    try:
        reason = _ogc.quiet_json(server.ask("GET", ["jobs", job_id, "results"], doing, ANYTHING))
    except OapipError:
        reason = None
    return _job.reason_of(status, reason)


def dismiss(server: _ogc.Server, job_id: str, seconds: t.Optional[float] = None) -> bool:
    """Dismiss a job, or delete a finished one with its results; return whether there was one.

    :param seconds: for the one attempt that there is time for.
    """
    doing = f"dismissing job {job_id}"
    retry = None if seconds is None else False
    response = server.ask("DELETE", ["jobs", job_id], doing, timeout=seconds, retry=retry)
    if _ogc.absent(response):
        return False
    if response.status_code not in (200, 202, 204):
        raise _ogc.failed(response, doing, server.lacks(response, "dismiss", "to dismiss jobs"))
    # pygeoapi calls its JSON text/html here
    if "html" in response.headers.get("Content-Type", "") and _ogc.quiet_json(response) is None:
        raise _http.wrong(response, doing, "a web page came in place of an answer")
    return True


def listed(server: _ogc.Server, filters: t.Mapping[str, t.Any], limit: int) -> t.List[Document]:
    """Return at most ``limit`` jobs; the filters are applied here too: some servers ignore them.

    :param filters: query parameters of 18-062r2, class job-list; ``status`` is a list.
    :raises OapipError: the interval of ``datetime`` is none, or the server has no such list.
    """
    states = filters.get("status") or []
    fits = _filter(filters)
    picky = any(filters.get(key) is not None for key in TOLD)
    kept: t.Dict[str, Document] = {}  # jobs that come or go meanwhile move others between pages
    for state in states or [None]:  # one at a time: servers differ in how several are written
        wanted = {**filters, "status": state, "limit": limit}
        query = [(key, str(value)) for key, value in wanted.items() if value is not None]
        for page in server.pages("jobs", query):
            for told in page:
                one = _job.as_standard(told)
                if picky and "jobID" in one and set(told) <= set(_job.NAMES):
                    one = status_of(server, one["jobID"]) or {}  # Weaver lists the ids alone
                if fits(one, server.date or time.time()):
                    kept.setdefault(_job.job_id_of(one) or str(len(kept)), one)
            if len(kept) >= limit:
                return list(kept.values())[:limit]
    return list(kept.values())


TOLD = ("status", "datetime", "minDuration", "maxDuration")
"""Filters by what a job has to tell: without it, it is left out."""


def _filter(filters: t.Mapping[str, t.Any]) -> t.Callable[[Document, float], bool]:
    """Return what says whether a job passes the filters, at a time by the server's clock."""
    process, states = filters.get("processID"), filters.get("status")
    least, most = filters.get("minDuration"), filters.get("maxDuration")
    try:
        span = _job.interval_of(filters["datetime"]) if filters.get("datetime") else None
    except ValueError as error:
        hint = "Write a date with its time as of RFC 3339, or two with a slash; .. is an open end."
        raise OapipError("reading the option datetime", str(error), hint) from None

    def fits(one: Document, now: float) -> bool:
        if process and one.get("processID", process) != process:
            return False
        if states and one.get("status") not in states:
            return False
        moment = _job.created(one)
        if span and (moment is None or not span[0] <= moment <= span[1]):
            return False
        if least is None and most is None:
            return True
        took = _job.lasted(one, now)
        return took is not None and (least or 0) <= took <= (math.inf if most is None else most)

    return fits


def told(results: t.Any) -> t.Any:
    """Return what a result shows of results: all, or what they are and how long."""
    return results.told if isinstance(results, Raw) else results


def saved(results: t.Any) -> bytes:
    """Return what is saved of results: JSON with sorted keys, anything else as it came."""
    if isinstance(results, Raw):
        return results.data
    if isinstance(results, str):
        return results.encode()
    return (json.dumps(results, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
