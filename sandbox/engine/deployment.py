"""Deploy, replace, undeploy and read back packages (OGC API - Processes Part 2).

Source: D`DeployProcess.py`, K`service_json.c handlePackage`, K`caching.c isInCache`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass

import aiohttp
import yaml

from .answers import Answer, RefusedError, document, exception, html, printf, refuse
from .descriptions import ECHO, execute_link, is_hidden, summary
from .flavours import Flavour
from .packages import Package, PackageError, forbidden, read_package
from .processes import ProcessStore, execution_unit, stored

log = logging.getLogger(__name__)
_CWL = ("application/cwl", "application/cwl+yaml")
_JSON = ("application/json", "application/ogcapppkg+json")
_PACKAGE = "application/ogcapppkg+json"
_TIMEOUT = aiohttp.ClientTimeout(total=20)
NO_PROCESS = (
    "The value for <identifier> seems to be wrong ({}). Please specify one of the processes "
    "in the list returned by a GetCapabilities request."
)
_UNSUPPORTED = (
    "The Content-Type specified in the request is not supported by this ZOO-Kernel, "
    "please contact the service provider."
)
_DUPLICATED = "A service with the same identifier is already deployed"
_NO_PACKAGE = "Unable to find any package associated with this processId which is not mutable."


@dataclass(frozen=True)
class Upload:
    """A body to deploy: `code` is its CWL."""

    body: bytes
    kind: str
    code: str


class Deployment:
    """The four operations for one user of one engine."""

    def __init__(self, store: ProcessStore, flavour: Flavour, user: str, base: str) -> None:
        self._store = store
        self._flavour = flavour
        self._user = user
        self._base = base

    async def deploy(self, content_type: str, body: bytes, workflow: str | None) -> Answer:
        """POST /processes[?w=ID]."""
        upload = await self._upload(content_type, body)
        package = await self._package(upload.code, workflow)
        identifier = package.identifier
        location = f"{self._base}/processes/{identifier}"
        if identifier == ECHO or self._store.own(self._user, identifier):
            return exception("DuplicatedProcess", _DUPLICATED, 409).with_headers(Location=location)
        if self._flavour.refuses_separators and forbidden(identifier):
            raise _unreadable(f"id {identifier!r} holds a separator")
        left_over = self._store.code(self._user, identifier)
        if left_over is not None:
            self._store.save_row(self._user, identifier, left_over)
            raise _unreadable(f"the folder of {identifier} exists")
        self._save(identifier, upload)
        if "." in identifier or is_hidden(identifier, self._flavour):
            return html(500, "Internal Server Error")
        link = execute_link(self._base, identifier)
        found = document(summary(package, self._flavour, link), 201)
        return found.with_headers(Location=location)

    async def replace(self, identifier: str, content_type: str, body: bytes) -> Answer:
        """PUT /processes/{id}: no upsert; a shared process becomes a private copy."""
        upload = await self._upload(content_type, body)
        if identifier == ECHO:
            raise _unreadable("echo is static")
        if not self._store.find(self._user, identifier):
            return exception("NoSuchProcess", NO_PROCESS.format(identifier))
        await self._package(upload.code, identifier)
        self._save(identifier, upload)
        location = f"{self._base}/processes/{identifier}"
        return Answer(204).with_headers(Location=location)

    def undeploy(self, identifier: str, content_type: str) -> Answer:
        """DELETE /processes/{id}: with a JSON content type the .cwl file stays behind."""
        if not self._store.has_package(self._user, identifier):
            if identifier == ECHO or self._store.find(self._user, identifier):
                return exception("ImmutableProcess", "The process cannot be modified.", 403)
            return exception("NoSuchProcess", NO_PROCESS.format(identifier))
        kinds = ("json",) if _media_type(content_type) in _JSON else ("cwl", "json")
        for kind in kinds:
            self._store.package_file(self._user, identifier, kind).unlink(missing_ok=True)
        self._store.drop_row(self._user, identifier)
        self._store.drop_code(self._user, identifier)
        return Answer(204)

    def package(self, identifier: str, accept: str) -> Answer:
        """GET /processes/{id}/package: the stored body and one newline more."""
        if identifier == ECHO:
            return exception("ImmutableProcess", _NO_PACKAGE, 404)
        process = self._store.find(self._user, identifier)
        if process is None:
            return exception("NoSuchProcess", NO_PROCESS.format(identifier))
        if accept not in (*_CWL, "application/cwl+json", _PACKAGE):
            detail = "The resource is not available in the requested encoding"
            return exception("NotAcceptable", detail, 406)
        cwl = stored(self._store.package_file(process.owner, identifier, "cwl"))
        whole = stored(self._store.package_file(process.owner, identifier, "json"))
        if accept == _PACKAGE:
            return self._as_package(cwl, whole)
        if cwl is None and whole is not None:
            cwl = self._from_cache(whole)
        if cwl is None:
            return html(500, "Internal Server Error")
        if accept in _CWL:
            return Answer(200, cwl + "\n", accept)
        return Answer(200, printf(json.dumps(yaml.safe_load(cwl), indent=2)) + "\n", accept)

    def _as_package(self, cwl: str | None, whole: str | None) -> Answer:
        if whole is not None:
            return Answer(200, whole + "\n", _PACKAGE)
        media_type = "application/cwl+json"
        unit = {"value": yaml.safe_load(cwl or "{}"), "mediaType": media_type}
        return Answer(200, printf(json.dumps({"executionUnit": unit}, indent=2)) + "\n", media_type)

    def _from_cache(self, whole: str) -> str | None:
        unit = execution_unit(json.loads(whole)) or {}
        return stored(self._store.cached(str(unit["href"]))) if "href" in unit else None

    def _save(self, identifier: str, upload: Upload) -> None:
        self._store.package_file(self._user, identifier, upload.kind).write_bytes(upload.body)
        self._store.save_code(self._user, identifier, upload.code)
        self._store.save_row(self._user, identifier, upload.code)

    async def _package(self, code: str, workflow: str | None) -> Package:
        try:
            return await asyncio.to_thread(read_package, code, workflow)
        except PackageError as error:
            raise _unreadable(str(error)) from error

    async def _upload(self, content_type: str, body: bytes) -> Upload:
        media_type = _media_type(content_type)
        if media_type not in (*_CWL, *_JSON):
            raise refuse("UnsupportedMediaType", _UNSUPPORTED, 415)
        text = body.partition(b"\0")[0].decode(errors="surrogateescape")
        if media_type in _CWL:
            return Upload(body, "cwl", text)
        try:
            whole = json.loads(text)
        except ValueError as error:
            raise refuse(
                "InvalidParameterValue", f"ZOO-Kernel cannot parse your POST data: {error}"
            ) from error
        unit = execution_unit(whole) if isinstance(whole, dict) else None
        if unit is None:
            raise _unreadable("no usable executionUnit")
        if "href" in unit:
            return Upload(body, "json", await self._fetch(str(unit["href"])))
        value = unit["value"]
        return Upload(body, "json", value if isinstance(value, str) else json.dumps(value))

    async def _fetch(self, url: str) -> str:
        """GET a package by reference: once for ever."""
        kept = self._store.cached(url)
        if not kept.exists():
            try:
                async with (
                    aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                    session.get(url) as answer,
                ):
                    answer.raise_for_status()
                    kept.write_bytes(await answer.read())
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _unreadable(f"cannot fetch the package: {type(error).__name__}") from error
        return kept.read_text(errors="surrogateescape")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _unreadable(reason: str) -> RefusedError:
    """All reasons look alike to the client; the real one is in the log alone."""
    log.warning("deployment refused: %s", reason)
    return refuse("WorkflowNotFound", "file not found")
