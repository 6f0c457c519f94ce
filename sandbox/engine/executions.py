"""Executions and jobs of OGC API - Processes Part 1.

Source: K`zoo_service_loader.c runRequest` (near `respond-async`), K`service_json.c`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from . import descriptions as docs
from .answers import Answer, document, exception, refuse
from .deployment import NO_PROCESS
from .jobs import Job, dismissed_info, select, status_info
from .packages import Package
from .requests import DEFAULT_LIMIT, NO_RESOURCE, Call, not_allowed
from .runner import Order

_NO_JOB = "The JobID from the request does not match any of the Jobs running on this server"
_NO_SYNC = "The synchronous mode is not allowed for mutable services."
_NO_BROKER = "The service failed to send message through AMQP."
_UNPARSED = "ZOO-Kernel cannot parse your POST data: "


class Executions:
    """Starts jobs and answers for them."""

    def __init__(self, call: Call) -> None:
        self._engine = call.engine
        self._settings = call.settings
        self._flavour = call.settings.flavour
        self._request = call.request
        self._call = call
        self._base = call.base

    def execute(self, identifier: str) -> Answer:
        """POST /processes/{id}/execution."""
        body = self._execute_body()
        identifier = str(body.get("id") or identifier)
        prefer = self._request.headers.get("Prefer", "")
        asynchronous = "respond-async" in prefer or body.get("mode") == "async"
        given = body.get("inputs")
        inputs: dict[str, Any] = given if isinstance(given, dict) else {}
        document_wanted = body.get("response") == "document" or (
            "response" not in body and "return=representation" in prefer
        )
        if identifier == docs.ECHO:
            return self._echo(inputs, body, raw=not document_wanted, asynchronous=asynchronous)
        found = self._engine.processes.find(self._request.user, identifier)
        if found is None:
            return exception("NoSuchProcess", NO_PROCESS.format(identifier))
        if not asynchronous:
            return exception("None", _NO_SYNC)
        if not self._settings.broker_ready and self._flavour.reports_broker:
            return exception("InternalError", _NO_BROKER)
        job = self._new_job(identifier, body, raw=not document_wanted)
        if found.owner != self._request.user:
            job.fail("NoApplicableCode", f"ModuleNotFoundError: No module named '{identifier}'")
            self._engine.jobs.save(job)
        elif self._settings.broker_ready:
            self._start(job, found.package, inputs)
        return self._accepted(job, prefer)

    def _execute_body(self) -> dict[str, Any]:
        if not self._request.body.strip():
            raise refuse("BadRequest", "Unable to run the service: empty body.")
        try:
            body = json.loads(self._request.body)
        except ValueError as error:
            raise refuse("InvalidParameterValue", _UNPARSED + str(error)) from error
        if not isinstance(body, dict):
            raise refuse("InvalidParameterValue", _UNPARSED + "not an object")
        return body

    def _new_job(self, identifier: str, body: Mapping[str, Any], *, raw: bool) -> Job:
        subscriber = body.get("subscriber")
        job = Job(
            str(uuid.uuid1()),
            self._request.user,
            identifier,
            raw=raw,
            subscriber=subscriber if isinstance(subscriber, dict) else {},
        )
        self._engine.jobs.save(job)
        return job

    def _start(self, job: Job, package: Package, inputs: Mapping[str, Any]) -> None:
        order = Order(job, package, inputs, self._call.read_settings, self._call.watch)
        self._engine.runner.start(order)

    def _accepted(self, job: Job, prefer: str) -> Answer:
        location = f"{self._base}/jobs/{job.job_id}"
        found = document(status_info(job, self._flavour, self._base), 201)
        return found.with_headers(Location=location, Preference_Applied=prefer)

    def _echo(
        self, inputs: Mapping[str, Any], body: Mapping[str, Any], *, raw: bool, asynchronous: bool
    ) -> Answer:
        """The static process: the one that also runs synchronously."""
        wanted = body.get("outputs")
        unknown = [name for name in wanted if name != "a"] if isinstance(wanted, dict) else []
        if unknown:
            return exception("InvalidParameterValue", f"The output {unknown[0]} is not known")
        if "a" not in inputs and not asynchronous:
            return exception("NoApplicableCode", "The service echo failed: no value for a")
        value = inputs.get("a")
        if isinstance(value, dict) and "value" in value:
            value = value["value"]
        if not asynchronous:
            return Answer(200, str(value), "text/plain") if raw else document({"a": value})
        job = self._new_job(docs.ECHO, body, raw=raw)
        job.succeed({"a": value})
        self._engine.jobs.save(job)
        return self._accepted(job, self._request.headers.get("Prefer", ""))

    async def jobs(self, parts: list[str]) -> Answer:
        """Everything under /jobs."""
        method = self._request.method
        if not parts:
            return self._job_list() if method == "GET" else not_allowed()
        job = self._engine.jobs.get(parts[0])
        if method not in ("GET", "DELETE"):
            return not_allowed()
        if job is None:
            return exception("NoSuchJob", _NO_JOB)
        if len(parts) == 1 and method == "DELETE":
            await self._engine.runner.stop(job.job_id)
            self._engine.runner.forget(job)
            return document(dismissed_info(job, self._flavour, self._base))
        if method == "DELETE":
            return not_allowed()
        if len(parts) == 1:
            return document(status_info(job, self._flavour, self._base))
        if not self._flavour.result_by_output:
            return self._results(job, None)
        if parts[1] != "results" or len(parts) > 3:
            return exception("BadRequest", NO_RESOURCE)
        return self._results(job, parts[2] if len(parts) == 3 else None)

    def _job_list(self) -> Answer:
        query = self._request.query
        jobs = select(self._engine.jobs.listed(self._request.user), query)
        try:
            limit, skip = int(query.get("limit", DEFAULT_LIMIT)), int(query.get("skip", 0))
        except ValueError as error:
            raise refuse("InvalidQueryParameterValue", "limit or skip is not valid") from error
        href = f"{self._base}/jobs"
        links = [{"rel": "self", "type": "application/json", "href": href}]
        if skip > 0:
            back = f"{href}?limit={limit}&skip={max(0, skip - limit)}"
            links.append({"rel": "prev", "type": "application/json", "href": back})
        if skip + limit < len(jobs):
            more = f"{href}?limit={limit}&skip={skip + limit}"
            links.append({"rel": "next", "type": "application/json", "href": more})
        page = [status_info(job, self._flavour, self._base) for job in jobs[skip : skip + limit]]
        return document({"jobs": page, "links": links, "numberTotal": len(jobs)})

    def _results(self, job: Job, output: str | None) -> Answer:
        if job.running:
            return exception("ResultNotReady", "The job is still running.")
        if output is None or job.status == "failed":
            return Answer(200, json.dumps(job.document()))
        if output not in job.result:
            return exception("NoSuchOutput", f"The output {output} is not available")
        value = job.result[output]
        return Answer(200, json.dumps(value["value"] if isinstance(value, dict) else value))
