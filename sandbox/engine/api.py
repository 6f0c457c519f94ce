"""OGC API - Processes, Parts 1 and 2, as the kernel's runRequest() routes it.

Source: K`zoo_service_loader.c runRequest`, K`service_json.c`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import descriptions as docs
from .answers import Answer, RefusedError, crash, document, exception, refuse
from .deployment import NO_PROCESS, Deployment
from .jobs import Job, JobStore, dismissed_info, select, status_info
from .packages import Package
from .processes import ProcessStore
from .runner import Order, Runner, SettingsReader, Watcher
from .settings import Settings
from .tokens import ANONYMOUS

_NO_JOB = "The JobID from the request does not match any of the Jobs running on this server"
_NO_RESOURCE = "The resource is not available"
_NO_SYNC = "The synchronous mode is not allowed for mutable services."
_NO_METHOD = "The request method is not allowed for this resource"
_NO_BROKER = "The service failed to send message through AMQP."
_UNPARSED = "ZOO-Kernel cannot parse your POST data: "
_ZCFG = "Unable to parse the ZCFG file: {}.zcfg (No message provided)"
_DEFAULT_LIMIT = 1000


@dataclass
class Engine:
    """State of one deployed engine."""

    processes: ProcessStore
    jobs: JobStore
    runner: Runner


@dataclass(frozen=True)
class Request:
    """A request behind the security filter."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    user: str
    prefix: str | None


class Api:
    """Answers one request of one user."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        request: Request,
        read_settings: SettingsReader,
        watch: Watcher,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._flavour = settings.flavour
        self._request = request
        self._read_settings = read_settings
        self._watch = watch
        self.base = docs.base_url(settings, request.prefix)

    async def answer(self) -> Answer:
        """Route the request."""
        parts = [part for part in self._request.path.split("/") if part]
        head = parts[0] if parts else ""
        if len(parts) <= 1 and head in ("", "conformance", "api", "api.html"):
            return self._page(head)
        if head not in ("processes", "jobs"):
            return exception("BadRequest", _NO_RESOURCE)
        self._engine.processes.folder(self._request.user)
        if not self._settings.database_ready:
            return crash()
        if head == "jobs":
            return await self._jobs(parts[1:])
        return await self._processes(parts[1:])

    def _page(self, name: str) -> Answer:
        if self._request.method not in ("GET", "HEAD"):
            return exception("InvalidMethod", _NO_METHOD, 405)
        if name == "api.html":
            location = f"{self._settings.host_url}/swagger-ui/oapip/"
            return Answer(302).with_headers(Location=location)
        if name == "api":
            return document(docs.openapi(self._settings, self.base))
        if name == "conformance":
            return document(docs.conformance(self._settings))
        return document(docs.landing(self._settings, self.base))

    # -- processes ---------------------------------------------------------------------------

    async def _processes(self, parts: list[str]) -> Answer:
        request, method = self._request, self._request.method
        deployment = Deployment(self._engine.processes, self._flavour, request.user, self.base)
        content_type = request.headers.get("Content-Type", "")
        if not parts:
            if method == "POST":
                return await deployment.deploy(content_type, request.body, request.query.get("w"))
            if method == "PUT":
                return exception("InternalError", _NO_METHOD)
            return self._list() if method == "GET" else _not_allowed()
        identifier = parts[0]
        if len(parts) == 1:
            if method == "PUT":
                return await deployment.replace(identifier, content_type, request.body)
            if method == "DELETE":
                return deployment.undeploy(identifier, content_type)
            return self._describe(identifier) if method in ("GET", "PATCH") else _not_allowed()
        if parts[1:] == ["package"] and method == "GET":
            return deployment.package(identifier, request.headers.get("Accept", ""))
        if parts[1:] == ["execution"] and method == "POST":
            return self._execute(identifier)
        if parts[1:] in (["package"], ["execution"]):
            return _not_allowed()
        return exception("BadRequest", _NO_RESOURCE)

    def _list(self) -> Answer:
        """The broken paging: deployed processes come all or not at all."""
        found, total = self._engine.processes.listed(self._request.user, self._flavour)
        href = f"{self.base}/processes"
        links = [{"rel": "self", "type": "application/json", "href": href}]
        try:
            limit = int(self._request.query.get("limit", _DEFAULT_LIMIT))
            skip = int(self._request.query.get("skip", 0))
        except ValueError:
            return document({"processes": [], "links": links, "numberTotal": total + 1})
        rows: list[dict[str, Any]] = []
        if skip < 1 <= limit:
            rows.append(docs.echo(docs.self_link(self.base, docs.ECHO), whole=False))
        if skip == 1 or (skip < 1 and limit > 1):
            rows += [
                docs.summary(
                    process.package,
                    self._flavour,
                    docs.self_link(self.base, process.package.identifier),
                )
                for process in found
            ]
        if skip < 1 and limit == 1 and found:
            links.append(
                {"rel": "next", "type": "application/json", "href": f"{href}?limit=1&skip=1"}
            )
        return document({"processes": rows, "links": links, "numberTotal": total + 1})

    def _describe(self, identifier: str) -> Answer:
        link = docs.execute_link(self.base, identifier)
        if identifier == docs.ECHO:
            return document(docs.echo(link, whole=True))
        if docs.is_hidden(identifier, self._flavour):
            return document({})
        found = self._engine.processes.find(self._request.user, identifier)
        if found is None or "." in identifier:
            return exception("NoSuchProcess", _ZCFG.format(identifier))
        return document(docs.description(found.package, self._flavour, link))

    # -- execution ---------------------------------------------------------------------------

    def _execute(self, identifier: str) -> Answer:
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
        order = Order(job, package, inputs, self._read_settings, self._watch)
        self._engine.runner.start(order)

    def _accepted(self, job: Job, prefer: str) -> Answer:
        location = f"{self.base}/jobs/{job.job_id}"
        found = document(status_info(job, self._flavour, self.base), 201)
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

    # -- jobs --------------------------------------------------------------------------------

    async def _jobs(self, parts: list[str]) -> Answer:
        method = self._request.method
        if not parts:
            return self._job_list() if method == "GET" else _not_allowed()
        job = self._engine.jobs.get(parts[0])
        if method not in ("GET", "DELETE"):
            return _not_allowed()
        if job is None:
            return exception("NoSuchJob", _NO_JOB)
        if len(parts) == 1 and method == "DELETE":
            await self._engine.runner.stop(job.job_id)
            self._engine.runner.forget(job)
            return document(dismissed_info(job, self._flavour, self.base))
        if method == "DELETE":
            return _not_allowed()
        if len(parts) == 1:
            return document(status_info(job, self._flavour, self.base))
        if not self._flavour.result_by_output:
            return self._results(job, None)
        if parts[1] != "results" or len(parts) > 3:
            return exception("BadRequest", _NO_RESOURCE)
        return self._results(job, parts[2] if len(parts) == 3 else None)

    def _job_list(self) -> Answer:
        query = self._request.query
        jobs = select(self._engine.jobs.listed(self._request.user), query)
        try:
            limit, skip = int(query.get("limit", _DEFAULT_LIMIT)), int(query.get("skip", 0))
        except ValueError as error:
            raise refuse("InvalidQueryParameterValue", "limit or skip is not valid") from error
        href = f"{self.base}/jobs"
        links = [{"rel": "self", "type": "application/json", "href": href}]
        if skip > 0:
            back = f"{href}?limit={limit}&skip={max(0, skip - limit)}"
            links.append({"rel": "prev", "type": "application/json", "href": back})
        if skip + limit < len(jobs):
            more = f"{href}?limit={limit}&skip={skip + limit}"
            links.append({"rel": "next", "type": "application/json", "href": more})
        page = [status_info(job, self._flavour, self.base) for job in jobs[skip : skip + limit]]
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


def prefix_of(user: str) -> str | None:
    """The anonymous user's links have no prefix."""
    return None if user == ANONYMOUS else user


def _not_allowed() -> Answer:
    return exception("InvalidMethod", _NO_METHOD, 405)


__all__ = ["Api", "Engine", "RefusedError", "Request", "prefix_of"]
