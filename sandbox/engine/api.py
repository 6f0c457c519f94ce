"""OGC API - Processes, Parts 1 and 2, as the kernel's runRequest() routes it.

Source: K`zoo_service_loader.c runRequest`, K`service_json.c`.
"""

from __future__ import annotations

from typing import Any

from . import descriptions as docs
from .answers import Answer, crash, document, exception
from .deployment import Deployment
from .executions import Executions
from .requests import DEFAULT_LIMIT, NO_METHOD, NO_RESOURCE, Call, not_allowed

_ZCFG = "Unable to parse the ZCFG file: {}.zcfg (No message provided)"


class Api:
    """Answers one request of one user."""

    def __init__(self, call: Call) -> None:
        self._engine = call.engine
        self._settings = call.settings
        self._flavour = call.settings.flavour
        self._request = call.request
        self._base = call.base
        self._executions = Executions(call)

    async def answer(self) -> Answer:
        """Route the request."""
        parts = [part for part in self._request.path.split("/") if part]
        head = parts[0] if parts else ""
        if len(parts) <= 1 and head in ("", "conformance", "api", "api.html"):
            return self._page(head)
        if head not in ("processes", "jobs"):
            return exception("BadRequest", NO_RESOURCE)
        self._engine.processes.folder(self._request.user)
        if not self._settings.database_ready:
            return crash()
        if head == "jobs":
            return await self._executions.jobs(parts[1:])
        return await self._processes(parts[1:])

    def _page(self, name: str) -> Answer:
        if self._request.method not in ("GET", "HEAD"):
            return exception("InvalidMethod", NO_METHOD, 405)
        if name == "api.html":
            location = f"{self._settings.host_url}/swagger-ui/oapip/"
            return Answer(302).with_headers(Location=location)
        if name == "api":
            return document(docs.openapi(self._settings, self._base))
        if name == "conformance":
            return document(docs.conformance(self._settings))
        return document(docs.landing(self._settings, self._base))

    async def _processes(self, parts: list[str]) -> Answer:
        request, method = self._request, self._request.method
        deployment = Deployment(self._engine.processes, self._flavour, request.user, self._base)
        content_type = request.headers.get("Content-Type", "")
        if not parts:
            if method == "POST":
                return await deployment.deploy(content_type, request.body, request.query.get("w"))
            if method == "PUT":
                return exception("InternalError", NO_METHOD)
            return self._list() if method == "GET" else not_allowed()
        identifier = parts[0]
        if len(parts) == 1:
            if method == "PUT":
                return await deployment.replace(identifier, content_type, request.body)
            if method == "DELETE":
                return deployment.undeploy(identifier, content_type)
            return self._describe(identifier) if method in ("GET", "PATCH") else not_allowed()
        if parts[1:] == ["package"] and method == "GET":
            return deployment.package(identifier, request.headers.get("Accept", ""))
        if parts[1:] == ["execution"] and method == "POST":
            return self._executions.execute(identifier)
        if parts[1:] in (["package"], ["execution"]):
            return not_allowed()
        return exception("BadRequest", NO_RESOURCE)

    def _list(self) -> Answer:
        """The broken paging: deployed processes come all or not at all."""
        found, total = self._engine.processes.listed(self._request.user, self._flavour)
        href = f"{self._base}/processes"
        links = [{"rel": "self", "type": "application/json", "href": href}]
        try:
            limit = int(self._request.query.get("limit", DEFAULT_LIMIT))
            skip = int(self._request.query.get("skip", 0))
        except ValueError:
            return document({"processes": [], "links": links, "numberTotal": total + 1})
        rows: list[dict[str, Any]] = []
        if skip < 1 <= limit:
            rows.append(docs.echo(docs.self_link(self._base, docs.ECHO), whole=False))
        if skip == 1 or (skip < 1 and limit > 1):
            rows += [
                docs.summary(
                    process.package,
                    self._flavour,
                    docs.self_link(self._base, process.package.identifier),
                )
                for process in found
            ]
        if skip < 1 and limit == 1 and found:
            links.append(
                {"rel": "next", "type": "application/json", "href": f"{href}?limit=1&skip=1"}
            )
        return document({"processes": rows, "links": links, "numberTotal": total + 1})

    def _describe(self, identifier: str) -> Answer:
        link = docs.execute_link(self._base, identifier)
        if identifier == docs.ECHO:
            return document(docs.echo(link, whole=True))
        if docs.is_hidden(identifier, self._flavour):
            return document({})
        found = self._engine.processes.find(self._request.user, identifier)
        if found is None or "." in identifier:
            return exception("NoSuchProcess", _ZCFG.format(identifier))
        return document(docs.description(found.package, self._flavour, link))
