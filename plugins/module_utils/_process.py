# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Deployed processes: what is there, what shall be there, and how to get there (20-044, Part 2)."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils import _cwl, _http, _ogc, _pack
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline, poll

Document = t.Dict[str, t.Any]

APPPKG = "application/ogcapppkg+json"
"""An OGC Application Package (20-044 7.3)."""

SETTLE = 10.0
"""Seconds that a server may go on to show the package before the one that it took."""

HOPS = 5
"""Redirects from ``src`` that are followed."""

DONE = frozenset({200, 201, 202, 204})
ACCEPTED = 202

FOR_ALL = "workflownotfound"
"""What the engine calls everything that is wrong with a package, or in its way."""

LIST = "oapip_process_info lists what is there."

ZOO_LOG = (
    "The engine keeps the reason to itself: see the log of its Deployment zoo-project-dru-zookernel"
    " (it clones the cookiecutter template at every deployment)."
)


@dataclass(frozen=True)
class Current:
    """A process as the server has it; ``package`` is None where the server does not tell it.

    ``stale``: two packages are stored, by media type, and nobody tells which of them runs.
    ``engine``: the server says that it is ZOO-Project.
    """

    exists: bool
    description: Document = field(default_factory=dict)
    package: t.Optional[str] = None
    stale: bool = False
    engine: bool = False

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
    return look_at(server, process_id)[0]


def look_at(server: _ogc.Server, process_id: str) -> t.Tuple[t.Optional[Document], bool]:
    """Return the description of a process, or None, and whether the engine gave it.

    :raises OapipError: as :func:`describe`.
    """
    if process_id in (".", "..") or re.search("[\ud800-\udfff]", process_id):
        reason = f"the id {process_id!a} cannot stand in an address"
        raise OapipError("reading a process", reason, "Use another id.")
    doing = f"reading process {process_id}"
    response = server.ask("GET", ["processes", process_id], doing)
    if _ogc.absent(response):
        return None, is_engine(response)
    if response.status_code != 200:
        raise _ogc.failed(response, doing)
    body = _ogc.document(response, doing)
    if not isinstance(body, dict) or not body.get("id"):
        raise OapipError(
            doing,
            "the server hides a process of this id (an empty answer)",
            f"The id {_cwl.id_fault(process_id) or 'is one that the engine keeps for itself'}."
            " Use another one; what is deployed so goes with state=absent and force=true.",
            extra={"hidden": True},
        )
    return body, is_engine(response)


def is_engine(response: t.Any) -> bool:
    """Whether an answer is one of ZOO-Project.

    Where a gateway drops its header, the reason why a process is not there names its file.
    """
    if "zoo-project" in response.headers.get("X-Powered-By", "").lower():
        return True
    return response.status_code == 404 and "ZCFG" in _http.message_of(response)


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
    about, engine = look_at(server, process_id)
    if about is None:
        return Current(False, engine=engine)
    if not package or about.get("mutable") is False:
        return Current(True, about, engine=engine)
    text, _kind = shown_package(server, process_id, _cwl.MEDIA_TYPE)
    # this type is given only to what was uploaded so: else it is made of the CWL, and garbled
    twin, kind = shown_package(server, process_id, APPPKG)
    stale = kind == APPPKG and None not in (text, twin) and not _cwl.same(str(text), str(twin))
    return Current(True, about, twin if text is None else text, stale, engine)


def id_warning(current: Current, package: _cwl.Package) -> str:
    """Return what to say of an id that the engine breaks, on a server that is not known to be it.

    :raises OapipError: it is the engine.
    """
    fault = _cwl.id_fault(package.id)
    if fault and current.engine:
        raise _cwl.wrong(f"the id {package.id[:60]} {fault}", "Rename the Workflow.")
    return f"on the engine (ZOO-Project) this id would fail: it {fault}" if fault else ""


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


def apply(server: _ogc.Server, change: Change, ctx: Context, engine: bool = False) -> None:
    """Make one change and see that the server took it.

    :param engine: whether the server is known to be the engine.
    :raises OapipError: it did not.
    """
    if change.action == "delete":
        undeploy(server, change.name)
        return
    package: _cwl.Package = change.payload
    write = Writer(server, ctx, package, engine)
    try:
        answer = write.replace() if change.action == "update" else write.create()
    except OapipError as error:
        # no answer: the server may have done it all the same, and looking is free
        if error.status not in (None, 502, 503, 504):
            raise
        seen = settled(server, package, SETTLE)
        if not (seen.exists and seen.runs(package)):
            raise
        return
    seen = write.settled(answer)
    if write.engine and seen.exists and answer.status_code != ACCEPTED and not seen.runs(package):
        # the engine shows one stored under another media type instead of the one just sent
        undeploy(server, package.id)
        answer = write.create()
        seen = write.settled(answer)
    write.verify(answer, seen)


def settled(
    server: _ogc.Server,
    package: _cwl.Package,
    seconds: float,
    patience: float = 0.0,
) -> Current:
    """Return the process when it is the package, or as it is when the time is over.

    :param seconds: for it to be there.
    :param patience: seconds for it to be this package, where it is there.
    """
    differs = Deadline(patience)

    def look() -> t.Tuple[bool, Current]:
        seen = observe(server, package.id)
        return seen.exists and (seen.runs(package) or differs.over), seen

    return poll(look, Deadline(seconds))[1]


def told_ids(response: t.Any) -> t.Set[str]:
    """Return the ids that the answer to a deployment gives the process (20-044: its summary).

    They stand in the body and in ``Location``; either may speak of something else, a job.
    """
    body = _ogc.quiet_json(response)
    top = body if isinstance(body, dict) else {}
    nodes = (top, top.get("process"), top.get("processSummary"))
    ids = {node.get("id") for node in nodes if isinstance(node, dict) and "jobID" not in node}
    try:
        path = urlsplit(response.headers.get("Location", "")).path
    except ValueError:
        path = ""
    found = re.search(r"/processes/([^/]+)/?$", path)
    ids.add(unquote(found.group(1)) if found else "")
    return {one for one in ids if isinstance(one, str) and one}


class Writer:
    """Deploys and replaces one package by value: the engine caches references for ever."""

    def __init__(
        self, server: _ogc.Server, ctx: Context, package: _cwl.Package, engine: bool
    ) -> None:
        self._server = server
        self._ctx = ctx
        self._package = package
        self.engine = engine
        self._seconds = max(SETTLE, server.timeout)

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
        self.engine = self.engine or is_engine(response)
        warn_context(self._server, response, self._ctx)
        return response

    def _post(self, doing: str) -> t.Any:
        return self._send("POST", ["processes"], doing, params={"w": self._package.id})

    def create(self, turned: bool = False) -> t.Any:
        """Deploy; replace where somebody was faster; clean up once what is left and in the way.

        :param turned: the server has just said that there is nothing to replace.
        """
        doing = f"deploying process {self._package.id}"
        response = self._post(doing)
        if self.engine and _ogc.code_of(response) == FOR_ALL:
            undeploy(self._server, self._package.id)
            response = self._post(doing)
        if response.status_code == 409 and not turned:
            return self.replace(response)
        return self._done(response, doing, response if turned else None)

    def replace(self, refusal: t.Any = None) -> t.Any:
        """Replace; where the process is gone meanwhile, deploy.

        :param refusal: the answer that said that there is something to replace.
        """
        doing = f"replacing process {self._package.id}"
        response = self._send("PUT", ["processes", self._package.id], doing)
        if _ogc.absent(response) and refusal is None:
            return self.create(turned=True)
        return self._done(response, doing, refusal)

    def _done(self, response: t.Any, doing: str, conflict: t.Any) -> t.Any:
        """Return a good answer.

        :param conflict: the 409, where the server was also asked for the opposite.
        :raises OapipError: it is none.
        """
        if response.status_code in DONE:
            return response
        if conflict is None or response.status_code not in (404, 409):
            raise refused(self._server, response, doing)
        name = self._package.id
        others = ", ".join(sorted(told_ids(conflict) - {name}))
        raise _http.wrong(
            response,
            doing,
            f"the server says that {name} is there (409), and that it is not (404)",
            f"It may know the package under another id{others and ': '}{others}. {LIST}",
        )

    def settled(self, response: t.Any) -> Current:
        """Return the process when the server is done with what it took."""
        name = self._package.id
        later = response.status_code == ACCEPTED
        seconds = self._seconds
        if later:
            self._ctx.say(f"process {name}: accepted, not there yet")
        elif told_ids(response) and name not in told_ids(response):
            seconds = 0.0  # it has another id
        patience = seconds if later else 0.0 if self.engine else SETTLE
        return settled(self._server, self._package, seconds, patience)

    def verify(self, response: t.Any, seen: Current) -> None:
        """See that the process is there, and is the package.

        :raises OapipError: it is not.
        """
        name = self._package.id
        doing = f"verifying process {name}"
        others = sorted(told_ids(response) - {name})
        if seen.exists and seen.runs(self._package):
            return
        if seen.exists and not self.engine and response.status_code != ACCEPTED:
            self._ctx.warn(
                f"process {name}: the server shows another text than was sent. It may keep packages"
                " in a form of its own; then they are sent at every run"
            )
            return
        if seen.exists:
            reason = "the server accepted the package but shows another one"
            hint = "Run again; else undeploy the process and look into the server's log."
        elif others:
            reason = f"the server deployed it as {others[0]}, not as {name}"
            hint = (
                f"It forms ids itself, and each run would deploy one more. Call the Workflow"
                f" {others[0]}, or undeploy that with state=absent and workflow={others[0]}."
            )
        else:
            reason = (
                "the server accepted the package, but there is no such process after"
                f" {self._seconds:.0f} s"
            )
            hint = f"It may still be at it: run again later, or raise timeout. {LIST}"
        raise _http.wrong(response, doing, reason, hint)


def undeploy(server: _ogc.Server, process_id: str, missing_ok: bool = True) -> bool:
    """Undeploy a process and return whether there was one.

    Without a Content-Type: with one, the engine removes half of the process.
    """
    doing = f"undeploying process {process_id}"
    response = server.ask("DELETE", ["processes", process_id], doing)
    if missing_ok and _ogc.absent(response):
        return False
    if response.status_code not in DONE:
        raise refused(server, response, doing)
    if response.status_code == ACCEPTED:

        def look() -> t.Tuple[bool, None]:
            return describe(server, process_id) is None, None

        if not poll(look, Deadline(server.timeout))[0]:
            reason = f"the server accepted it, but it is still there after {server.timeout:.0f} s"
            raise _http.wrong(response, doing, reason, "Run again later, or raise timeout.")
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
    asked = _ogc.context_of(server.base + "/")
    try:
        got = _ogc.context_of(response.headers.get("Location", ""))
    except ValueError:
        return  # it is no address
    if asked and got and asked != got:
        ctx.warn(
            f"the server worked in the context {got}, not in {asked} of url:"
            " the token's user name decides"
        )


def listed(server: _ogc.Server) -> t.List[Document]:
    """Return the summaries of all processes; no limit is asked for: the engine's is broken."""
    return [one for page in server.pages("processes") for one in page]


def with_packages(
    server: _ogc.Server, found: t.Sequence[Document], ctx: Context
) -> t.List[Document]:
    """Return processes with the ``package`` of each deployed one, None where it is not told."""
    deployed = [about for about in found if about.get("mutable") is not False]
    words = without_part_2(server) if deployed else ""
    if words:
        ctx.warn(f"packages cannot be read. {words}")

    def told(about: Document) -> t.Optional[str]:
        name = str(about.get("id"))
        text = None if words else read_package(server, name)
        if text is None and not words:
            ctx.warn(f"the server does not tell the package of {name}")
        return text

    return [{**about, "package": told(about)} if about in deployed else about for about in found]


def fetch_source(src: str, timeout: float, http: t.Any) -> str:
    """Return the text of a package with the files that it refers to.

    :param src: a file of the controller, or an address: fetched here, since the engine would keep
        its first answer for ever.
    :raises OapipError: one of them cannot be read.
    """

    moved: t.Dict[str, str] = {}

    def read(location: str) -> str:
        doing = f"reading {_pack.address(location) if _pack.is_url(location) else location}"
        if _pack.is_url(location):
            response, there = follow(http, location, doing, timeout)
            if response.status_code != 200:
                raise _http.failed(response, doing, "Check src.")
            if there != location:
                moved[location] = there
            return _cwl.decode(response.content)
        try:
            with open(location, "rb") as file:
                return _cwl.decode(file.read())
        except (OSError, ValueError) as error:  # the latter for a name that cannot be one
            reason = getattr(error, "strerror", None) or "it cannot be read"
            raise OapipError(doing, reason, "Check src.") from None

    return _pack.packed(src, read(src), read, moved)


def follow(http: t.Any, url: str, doing: str, timeout: float) -> t.Tuple[t.Any, str]:
    """Return the answer at the end of all redirects, and its address; nobody is logged in.

    :raises OapipError: no answer, or a redirect that is not followed.
    """
    for hop in range(HOPS + 1):
        response = _http.send(http, "GET", url, doing, timeout, auth=_ogc.bearer(""))
        if response.status_code not in _ogc.REDIRECTS:
            break
        there = next_hop(doing, url, response.headers.get("Location", ""))
        if hop == HOPS:
            raise turned_away(doing, url, there, f"these are more than {HOPS} redirects")
        url = there
    return response, url


def next_hop(doing: str, here: str, location: str) -> str:
    """Return where a redirect leads.

    :raises OapipError: to no web address, or out of TLS.
    """
    try:
        there = urldefrag(urljoin(here, location)).url
        scheme, host, _port = _ogc.origin(there)
    except ValueError:
        scheme, host, there = "", "", location
    if not location or not host or scheme not in ("http", "https"):
        raise turned_away(doing, here, there, "that is no web address")
    if scheme == "http" and here.lower().startswith("https:"):
        raise turned_away(doing, here, there, "that would leave TLS")
    return there


def turned_away(doing: str, here: str, there: str, why: str) -> OapipError:
    """Return the error for a redirect that is not followed."""
    reason = f"redirected from {_pack.address(here)} to {_pack.address(there)}: {why}"
    return OapipError(doing, reason, "Check src, or give the address that it leads to.")
