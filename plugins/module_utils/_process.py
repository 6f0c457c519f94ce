# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Deployed processes: what is there, what shall be there, and how to get there (20-044, Part 2)."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils import _cwl, _http, _ogc, _pack
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline, poll

Document = t.Dict[str, t.Any]

APPPKG = "application/ogcapppkg+json"
"""An OGC Application Package (20-044 7.3)."""

SETTLE = 10.0
"""Seconds that a server may take to show what it accepted."""

FOR_ALL = "workflownotfound"
"""What the engine calls everything that is wrong with a package, or in its way."""

ZOO_LOG = (
    "The engine keeps the reason to itself: see the log of its Deployment zoo-project-dru-zookernel"
    " (it clones the cookiecutter template at every deployment)."
)


@dataclass(frozen=True)
class Current:
    """A process as the server has it; ``package`` is None where the server does not tell it.

    ``stale``: two packages are stored, by media type, and nobody tells which of them runs.
    """

    exists: bool
    description: Document = field(default_factory=dict)
    package: t.Optional[str] = None
    stale: bool = False

    def runs(self, package: _cwl.Package) -> bool:
        """Whether it is this package, as far as the server tells."""
        return self.package is None or (not self.stale and _cwl.same(self.package, package.text))

    @property
    def mutable(self) -> bool:
        """Whether the process can be replaced and undeployed."""
        return self.description.get("mutable") is not False


def describe(server: _ogc.Server, process_id: str) -> t.Optional[Document]:
    """Return the description of a process, or None where the server says there is none.

    :raises OapipError: the process is hidden (``{}``), or the server fails.
    """
    doing = f"reading process {process_id}"
    response = server.ask("GET", ["processes", process_id], doing)
    if _ogc.absent(response):
        return None
    if response.status_code != 200:
        raise _ogc.failed(response, doing)
    body = _ogc.document(response, doing)
    if not isinstance(body, dict) or not body.get("id"):
        raise OapipError(
            doing,
            "the server hides a process of this id (an empty answer)",
            "The id is part of a name that the engine keeps for itself: undeploy it with"
            " state=absent and force=true, and use another id.",
            extra={"hidden": True},
        )
    return body


def shown_package(
    server: _ogc.Server, process_id: str, accept: str
) -> t.Tuple[t.Optional[str], str]:
    """Return the package that the server shows for a media type, None for none, and its own type.

    :raises OapipError: no answer, or no access.
    """
    doing = f"reading the package of process {process_id}"
    path = ["processes", process_id, "package"]
    response = server.ask("GET", path, doing, headers={"Accept": accept})
    if response.status_code in (401, 403):
        raise _ogc.failed(response, doing)
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if response.status_code != 200 or kind == "text/html":
        return None, kind
    text = response.content.decode("utf-8", "replace")
    if "json" not in kind:
        return _cwl.from_server(text), kind
    body = _ogc.quiet_json(response)
    if isinstance(body, dict) and "cwlVersion" in body:
        return _cwl.from_server(text), kind
    return _cwl.from_ogcapppkg(body), kind


def read_package(server: _ogc.Server, process_id: str) -> t.Optional[str]:
    """Return the stored package of a process, or None where the server does not tell it."""
    text, _kind = shown_package(server, process_id, _cwl.MEDIA_TYPE)
    return shown_package(server, process_id, APPPKG)[0] if text is None else text


def observe(server: _ogc.Server, process_id: str, package: bool = True) -> Current:
    """Return a process as the server has it."""
    about = describe(server, process_id)
    if about is None:
        return Current(False)
    if not package or about.get("mutable") is False:
        return Current(True, about)
    text, _kind = shown_package(server, process_id, _cwl.MEDIA_TYPE)
    # this type is given only to what was uploaded so: else it is made of the CWL, and garbled
    twin, kind = shown_package(server, process_id, APPPKG)
    stale = kind == APPPKG and None not in (text, twin) and not _cwl.same(str(text), str(twin))
    return Current(True, about, twin if text is None else text, stale)


def plan(
    current: Current, process_id: str, desired: t.Optional[_cwl.Package], force: bool = False
) -> t.List[Change]:
    """Return what makes the process as it shall be (None: absent).

    :raises OapipError: the process cannot be changed by anyone.
    """
    before = {"package": current.package if current.package is not None else "<unknown>"}
    if current.exists and not current.mutable:
        raise OapipError(
            f"managing process {process_id}",
            "it is immutable: built into the server, or shared by it with everyone",
            "Use another id.",
        )
    if desired is None:
        if current.exists:
            return [Change("delete", "process", process_id, before)]
        return []
    after = {"package": desired.text}
    if not current.exists:
        return [Change("create", "process", process_id, None, after, desired)]
    if current.runs(desired) and not force:
        return []
    return [Change("update", "process", process_id, before, after, desired)]


def apply(server: _ogc.Server, change: Change, ctx: Context) -> None:
    """Make one change and see that the server took it.

    :raises OapipError: it did not.
    """
    if change.action == "delete":
        undeploy(server, change.name)
        return
    package: _cwl.Package = change.payload
    replace = change.action == "update"
    write = Writer(server, ctx, package)
    try:
        write.replace() if replace else write.create()
    except OapipError as error:
        # no answer: the server may have done it all the same, and looking is free
        if error.status not in (None, 502, 503, 504) or not _took(server, package):
            raise
    if _took(server, package):
        return
    # a package stored under another media type is shown instead of the one just sent
    undeploy(server, package.id)
    write.create()
    if not _took(server, package):
        raise OapipError(
            f"verifying process {package.id}",
            "the server accepted the package but shows another one",
            "Run again; else undeploy the process and look into the server's log.",
        )


def _took(server: _ogc.Server, package: _cwl.Package) -> bool:
    """Whether the server shows the package that was sent, or at least the process."""

    def look() -> t.Tuple[bool, Current]:
        seen = observe(server, package.id)
        return seen.exists, seen

    exists, seen = poll(look, Deadline(SETTLE))
    return exists and seen.runs(package)


class Writer:
    """Deploys and replaces one package by value: the engine caches references for ever."""

    def __init__(self, server: _ogc.Server, ctx: Context, package: _cwl.Package) -> None:
        self._server = server
        self._ctx = ctx
        self._package = package

    def _send(self, method: str, segments: t.Sequence[str], doing: str, **kwargs: t.Any) -> t.Any:
        text = self._package.text
        unit = {"executionUnit": {"value": text, "mediaType": _cwl.MEDIA_TYPE}}
        for kind, body in ((_cwl.MEDIA_TYPE, text), (APPPKG, json.dumps(unit))):
            headers = {"Content-Type": kind}
            response = self._server.ask(
                method, segments, doing, headers=headers, data=body.encode(), **kwargs
            )
            if response.status_code != 415:
                break
        warn_context(self._server, response, self._ctx)
        return response

    def create(self, again: bool = True) -> None:
        """Deploy; replace where somebody was faster; clean up once what is left and in the way."""
        name = self._package.id
        doing = f"deploying process {name}"
        response = self._send("POST", ["processes"], doing, params={"w": name})
        if response.status_code in (200, 201, 202, 204):
            return
        if response.status_code == 409:
            self.replace()
        elif again and _ogc.code_of(response) == FOR_ALL:
            undeploy(self._server, name, missing_ok=True)
            self.create(again=False)
        else:
            raise refused(self._server, response, doing)

    def replace(self) -> None:
        """Replace; where the process is gone meanwhile, deploy."""
        name = self._package.id
        doing = f"replacing process {name}"
        response = self._send("PUT", ["processes", name], doing)
        if _ogc.absent(response):
            self.create()
        elif response.status_code not in (200, 201, 202, 204):
            raise refused(self._server, response, doing)


def undeploy(server: _ogc.Server, process_id: str, missing_ok: bool = True) -> bool:
    """Undeploy a process and return whether there was one.

    Without a Content-Type: with one, the engine removes half of the process.
    """
    doing = f"undeploying process {process_id}"
    response = server.ask("DELETE", ["processes", process_id], doing)
    if missing_ok and _ogc.absent(response):
        return False
    if response.status_code not in (200, 202, 204):
        raise refused(server, response, doing)
    return True


def without_part_2(server: _ogc.Server) -> str:
    """Return the words for a server whose /conformance has no class of Part 2; else none."""
    try:
        body = server.read(["conformance"], "reading the conformance of the server")
    except OapipError:
        return ""  # it explains another error, or none
    classes = body.get("conformsTo") if isinstance(body, dict) else None
    if not isinstance(classes, list) or any("ogcapi-processes-2" in str(one) for one in classes):
        return ""
    return "The server's /conformance names no class of Part 2 (deploy, replace, undeploy)."


def refused(server: _ogc.Server, response: t.Any, doing: str) -> OapipError:
    """Return the error for a write that the server does not do."""
    hint = ZOO_LOG if _ogc.code_of(response) == FOR_ALL else ""
    if response.status_code in (404, 405, 501):
        hint = without_part_2(server)
    return _ogc.failed(response, doing, hint)


def warn_context(server: _ogc.Server, response: t.Any, ctx: Context) -> None:
    """Warn where the server says that it worked in another context than the URL's.

    A token's user name wins over the context in the path.
    """
    location = response.headers.get("Location", "")
    asked, got = _ogc.context_of(server.base + "/"), _ogc.context_of(location)
    if location and asked and got and asked != got and "/ogc-api" in urlsplit(location).path:
        ctx.warn(
            f"the server worked in the context {got}, not in {asked} of url:"
            " the token's user name decides"
        )


def listed(server: _ogc.Server) -> t.List[Document]:
    """Return the summaries of all processes; no limit is asked for: the engine's is broken."""
    return [one for page in server.pages("processes") for one in page]


def fetch_source(src: str, timeout: float, http: t.Any) -> str:
    """Return the text of a package with the files that it refers to.

    :param src: a file of the controller, or an address: fetched here, since the engine would keep
        its first answer for ever.
    :raises OapipError: one of them cannot be read.
    """

    def read(location: str) -> str:
        doing = f"reading {location.split('?', 1)[0]}"
        if _pack.is_url(location):
            response = _http.send(http, "GET", location, doing, timeout, auth=_ogc.bearer(""))
            if response.status_code != 200:
                raise _http.failed(response, doing, "Check src.")
            return _cwl.decode(response.content)
        try:
            with open(location, "rb") as file:
                return _cwl.decode(file.read())
        except (OSError, ValueError) as error:  # the latter for a name that cannot be one
            reason = getattr(error, "strerror", None) or "it cannot be read"
            raise OapipError(doing, reason, "Check src.") from None

    return _pack.packed(src, read(src), read)
