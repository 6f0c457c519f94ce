# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a stranger sees of a route: requests without token on paths that must be closed.

Requests are written with ``http.client``: every other library tidies a path up before it is sent,
and the untidy ones are those that have to be tried.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import socket
import ssl
import typing as t
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils._http import (
    USER_AGENT,
    retry_after,
    root_cause,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

CLOSED = "closed"
BREACH = "breach"
UNSURE = "unsure"

REFUSED = frozenset({400, 401, 403, 404})
BUSY = frozenset({429, 503})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
ENGINE_HEADERS = ("x-powered-by", "x-also-powered-by")
"""What the engine puts on every answer of its own: ``X-Powered-By: ZOO-Project-DRU``."""

CONFIRM_SECONDS = 1.0
LOOKS = 3
PARALLEL = 8


@dataclass(frozen=True)
class Door:
    """A request that must not come through. ``guarded``: even the guard itself must answer 400."""

    path: str
    headers: t.Tuple[t.Tuple[str, str], ...] = ()
    method: str = "GET"
    guarded: bool = False

    def __str__(self) -> str:
        extra = "".join(f" with header {name}" for name, _value in self.headers)
        return f"{self.method} {self.path}{extra}"


@dataclass(frozen=True)
class Answer:
    """Status (0: no answer came) and headers, names in lower case."""

    status: int
    headers: t.Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    def __str__(self) -> str:
        return f"HTTP {self.status}" if self.status else self.error


def doors(contexts: t.Sequence[str], opened: t.Sequence[str]) -> t.List[Door]:
    """Return what must be closed: contexts, the prefix trick, WPS, headers, odd paths."""
    names = [quote(name, safe="") for name in contexts]
    closed = [
        Door("/"),
        Door("/ogc-api/processes"),
        Door("/ogc-api/jobs"),
        Door("/ogc-api?service=WPS&request=GetCapabilities"),
        Door("/cgi-bin/zoo_loader.cgi?service=WPS&request=GetCapabilities"),
        Door("/swagger-ui/ogc-api/processes"),
        Door("/ogc-api/api/ogc-api/processes"),
        Door("/ogc-api/conformance/ogc-api/jobs"),
        Door("/ogc-api/processes", method="POST"),
        Door("/ogc-api/", method="POST"),
    ]
    closed += [Door(f"/{name}/ogc-api/{part}") for name in names for part in ("processes", "jobs")]
    return closed + guards(opened[0] if opened else "/", names[0] if names else "anyone")


def guards(path: str, name: str = "anyone") -> t.List[Door]:
    """Return the requests that the guard of every rule refuses with 400, on a path that is open."""
    return [
        Door(path, (("Services-Namespace", name),), guarded=True),
        Door(path, (("X_Http_Authorization", "Bearer x"),), guarded=True),
        Door(f"{path}..%2f{name}/ogc-api/processes", guarded=True),
        Door(f"{path}../{name}/ogc-api/processes", guarded=True),
        Door(f"{path}..;/{name}/ogc-api/processes", guarded=True),
    ]


def sample(contexts: t.Sequence[str], opened: t.Sequence[str]) -> t.List[Door]:
    """Return a door of each kind: for a route that was tried in full and did not change since.

    :param contexts: one of each mode, as each mode has a rule of its own.
    """
    names = [quote(name, safe="") for name in contexts]
    path = opened[0] if opened else "/"
    header, _underscored, encoded, *_plain = guards(path, names[0] if names else "anyone")
    return [
        Door("/ogc-api/processes"),
        *(Door(f"/{name}/ogc-api/processes") for name in names),
        header,
        encoded,
    ]


def verdict(door: Door, answer: Answer, issuer: str) -> str:
    """Judge one answer.

    :param issuer: URL of the realm; a redirect elsewhere is not a refusal.
    """
    if any(name in answer.headers for name in ENGINE_HEADERS):
        return BREACH
    unsure = answer.status in (0, 429) or answer.status >= 500
    if door.guarded:
        if answer.status == 400:
            return CLOSED
        # 404: the gateway has not taken the route yet
        return UNSURE if unsure or answer.status == 404 else BREACH
    if answer.status in REFUSED:
        return CLOSED
    if answer.status in REDIRECTS:
        where = answer.headers.get("location", "")
        return CLOSED if issuer and where.startswith(f"{issuer}/") else BREACH
    return UNSURE if unsure else BREACH


def wish(answers: t.Iterable[Answer]) -> float:
    """Return the longest time that a busy gateway asks for, in seconds."""
    asked = (
        retry_after(one.headers.get("retry-after"), one.headers.get("date"))
        for one in answers
        if one.status in BUSY
    )
    return max((seconds or 0.0 for seconds in asked), default=0.0)


class Stranger:
    """Somebody without token, outside the cluster.

    :param url: public base URL of the engine.
    :param address: ``host:port`` to connect to instead of what the URL resolves to.
    :param ca_path: authorities to trust; None: those of the system.
    """

    def __init__(
        self,
        url: str,
        validate_certs: bool = True,
        ca_path: t.Optional[str] = None,
        address: t.Optional[str] = None,
        timeout: float = 10.0,
    ) -> None:
        where = urlsplit(url)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise OapipError(f"probing {url}", "this is no http or https URL", "Correct probe_url.")
        self.host = where.hostname
        self.port = where.port or (443 if where.scheme == "https" else 80)
        there = urlsplit(f"//{address}") if address else where
        self.target = (there.hostname or self.host, there.port or self.port)
        self.timeout = timeout
        self.tls: t.Optional[ssl.SSLContext] = None
        if where.scheme == "https":
            try:
                self.tls = ssl.create_default_context(cafile=ca_path)
            except OSError as error:
                raise OapipError(
                    f"reading the authorities in {ca_path}", root_cause(error), "Correct ca_path."
                ) from None
            if not validate_certs:
                self.tls.check_hostname = False
                self.tls.verify_mode = ssl.CERT_NONE

    def knock(self, door: Door) -> Answer:
        """Send one request as it is written and return the answer's head."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            connection.sock = self._connect()
            headers = {"User-Agent": USER_AGENT, **dict(door.headers)}
            connection.request(door.method, door.path, headers=headers)
            answer = connection.getresponse()
            return Answer(
                answer.status, {name.lower(): value for name, value in answer.getheaders()}
            )
        except ssl.SSLCertVerificationError as error:
            return Answer(0, {}, f"the certificate is not trusted: {error.verify_message}")
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, {}, f"no answer: {root_cause(error)}")
        finally:
            connection.close()

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(self.target, self.timeout)
        if self.tls is None:
            return plain
        try:
            return self.tls.wrap_socket(plain, server_hostname=self.host)
        except OSError:
            plain.close()
            raise

    def knock_all(self, closed: t.Sequence[Door]) -> t.Dict[Door, Answer]:
        """Knock at every door, a few at a time."""
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            return dict(pool.map(lambda door: (door, self.knock(door)), closed))


@dataclass
class Report:
    """What is known after the probe.

    :param ready: every door has a verdict, and the gateway has taken the route.
    :param absent: the gateway says 404 to everything.
    """

    breaches: t.List[str] = field(default_factory=list)
    unsure: t.List[str] = field(default_factory=list)
    ready: bool = False
    absent: bool = False


def probe(stranger: Stranger, closed: t.Sequence[Door], issuer: str, deadline: Deadline) -> Report:
    """Knock until every door has a verdict and the route is seen, or the deadline passes.

    A gateway that has not yet taken the route answers 404 everywhere: that is closed, not ready.
    A breach counts when two more looks, a moment apart, see it again.
    """
    seen: t.Dict[Door, int] = {}
    while True:
        answers = stranger.knock_all(closed)
        verdicts = {door: verdict(door, answer, issuer) for door, answer in answers.items()}
        report = Report()
        report.unsure = [f"{d}: {answers[d]}" for d in closed if verdicts[d] == UNSURE]
        now = {door for door in closed if verdicts[door] == BREACH}
        seen = {door: seen.get(door, 0) + 1 for door in now}
        report.breaches = [f"{d}: {answers[d]}" for d in closed if seen.get(d, 0) >= LOOKS]
        report.absent = all(answer.status == 404 for answer in answers.values())
        report.ready = not report.unsure and not report.absent
        asked = wish(answers.values())
        late = deadline.over or asked > deadline.left
        if report.breaches or (report.ready and not now) or (late and not now):
            return report
        deadline.clock.sleep(max(asked, CONFIRM_SECONDS if now else 0.5))
