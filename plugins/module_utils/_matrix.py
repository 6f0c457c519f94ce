# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Who must get in and who must not: the checks of a protected engine, as data. No I/O.

Two contexts with one owner each are enough: what a stranger tries on one, the owner of the other
tries too. The raw paths are those that real APISIX and Keycloak let through without the guard.
"""

from __future__ import annotations

import typing as t

Check = t.Dict[str, t.Any]

ENGINE_HEADERS = [
    "X-Powered-By",
    "X-Also-Powered-By",
    "X-Also-Also-Powered-By",
    "X-Also-Also-Also-Powered-By",
]
"""Sent by the engine with every answer: with a refusal, they tell that it was reached."""

GUARD = [400]
CLOSED = [400, 401, 403, 404]
"""Answers that are no breach where it is not settled which of the gateway's parts refuses."""

ROOMS = ["ogc-api/processes", "ogc-api/jobs"]
"""What an owner sees of a context, and nobody else."""


class Subject(t.TypedDict, total=False):
    """Whose doors are tried."""

    own: str
    other: str
    user: str
    other_user: str
    issuer: str
    bearer_only: bool
    guard: bool


def check(
    name: str,
    path: str,
    expect: t.Sequence[int],
    user: t.Optional[str] = None,
    method: str = "GET",
    headers: t.Optional[t.Mapping[str, str]] = None,
) -> Check:
    """Return one check; a refusal must not come from the engine."""
    refusal = not any(200 <= code < 300 for code in expect)
    return {
        "name": name,
        "method": method,
        "path": path,
        "user": user,
        "headers": dict(headers or {}),
        "expect": list(expect),
        "forbid_headers": ENGINE_HEADERS if refusal else [],
    }


def crossings(own: str, other: str) -> t.List[t.Tuple[str, str]]:
    """Return named raw paths that two parsers read differently, each into the other's context.

    With the guard on the route, each is answered 400 before anything else.
    """
    room = ROOMS[0]
    return [
        ("parent segment", f"/{own}/../{other}/{room}"),
        ("parent segment, decided as own", f"/{other}/../{own}/{room}"),
        ("encoded parent", f"/{own}/%2e%2e/{other}/{room}"),
        ("encoded parent, decided as own", f"/{other}/%2e%2e/{own}/{room}"),
        ("encoded parent, upper case", f"/{other}/%2E%2E/{own}/{room}"),
        ("encoded slash after parent", f"/{own}/..%2f{other}/{room}"),
        ("encoded slash after parent, decided as own", f"/{other}/..%2f{own}/{room}"),
        ("encoded slash, upper case", f"/{other}/..%2F{own}/{room}"),
        ("encoded slash", f"/{other}%2f{room}"),
        ("matrix parameter after parent, decided as own", f"/{other}/..;/{own}/{room}"),
        ("matrix parameter", f"/{other};x=1/{room}"),
        ("double encoded parent", f"/{own}/%252e%252e/{other}/{room}"),
        ("double encoded parent, decided as own", f"/{other}/%252e%252e/{own}/{room}"),
        ("double encoded slash", f"/{other}/..%252f{own}/{room}"),
        ("double slash", f"//{other}/{room}"),
        ("double slash inside", f"/{other}//{room}"),
        ("current segment", f"/./{other}/{room}"),
        ("current segment inside", f"/{other}/./{room}"),
        ("encoded letter", f"/{escape(other)}/{room}"),
        ("backslash", f"/{own}\\..\\{other}/{room}"),
        ("encoded backslash", f"/{other}/..%5c{own}/{room}"),
        ("encoded blank", f"/{other}/a%20b/{room}"),
        ("encoded null", f"/{other}%00/{room}"),
        ("temporary files", f"/{own}/temp/..%2f..%2f{other}/temp/"),
    ]


def escape(name: str) -> str:
    """Return a name with its first letter percent-encoded."""
    return f"%{ord(name[0]):02x}{name[1:]}"


def namespace_headers(victim: str) -> t.List[t.Mapping[str, str]]:
    """Return headers that make the engine work in another context, or as another user."""
    return [
        {"Services-Namespace": victim},
        {"X-Services-Namespace": victim},
        {"services_namespace": victim},
        {"X-SERVICES_NAMESPACE": victim},
        {"Zz-Services-Namespace-Zz": victim},
        {"X-Http-Authorization": "Bearer e30.e30.e30"},
        {"Http_Authorization": "Bearer e30.e30.e30"},
    ]


def prefixes(room: str = "ogc-api/processes") -> t.List[str]:
    """Return paths in which something stands before ``/ogc-api``: the engine takes any prefix."""
    jobs = "ogc-api/jobs"
    return [
        f"/swagger-ui/{room}",
        f"/swagger-ui/oapip/{room}",
        f"/ogc-api/api/{room}",
        f"/ogc-api/api.html/{room}",
        f"/ogc-api/conformance/{room}",
        f"/conformance/{jobs}",
        f"/nobody-is-here/{room}",
        f"/{room}",
        f"/{jobs}",
        "/cgi-bin/zoo_loader.cgi?processes",
        "/temp/",
    ]


def wps(context: str = "") -> t.List[str]:
    """Return the addresses of the engine's WPS, which never meets its own security filter."""
    before = f"/{context}" if context else ""
    query = "service=WPS&request=GetCapabilities"
    return [
        f"{before}/ogc-api?{query}",
        f"{before}/ogc-api?{query}&version=2.0.0",
        f"{before}/ogc-api/?{query}",
        f"{before}/cgi-bin/zoo_loader.cgi?{query}",
    ]


def wps_landing(path: str) -> bool:
    """Whether a WPS address is the landing page's path, which may be open to everybody."""
    return path.startswith("/ogc-api/?")


class Matrix:
    """Makes the checks for one subject."""

    def __init__(self, subject: Subject) -> None:
        self.own, self.other = subject["own"], subject["other"]
        self.user = subject["user"]
        self.other_user = subject.get("other_user")
        self.issuer = subject.get("issuer") or ""
        self.bearer_only = bool(subject.get("bearer_only", True))
        self.guard = GUARD if subject.get("guard", True) else CLOSED

    def anonymous(
        self,
        name: str,
        path: str,
        method: str = "GET",
        headers: t.Optional[t.Mapping[str, str]] = None,
        also: t.Sequence[int] = (),
    ) -> Check:
        """Return the check that a stranger is refused, or sent to the issuer and nowhere else."""
        login = [] if self.bearer_only else [302]
        made = check(name, path, [401, *login, *also], None, method, headers)
        if login:
            made["location_prefix"] = self.issuer
        return made

    def allowed(self) -> t.Iterator[Check]:
        """Owners on their contexts."""
        for room in ["ogc-api/", *ROOMS]:
            yield check(f"owner, {room}", f"/{self.own}/{room}", [200], self.user)
        if self.other_user:
            for room in ROOMS:
                yield check(f"other owner, {room}", f"/{self.other}/{room}", [200], self.other_user)

    def plain(self) -> t.Iterator[Check]:
        """Others and strangers on the plain paths."""
        pairs = [(self.other, self.own, self.user)]
        if self.other_user:
            pairs.append((self.own, self.other, self.other_user))
        for context, mine, user in pairs:
            # without its slash a context may have no route, or one of its own
            yield check("not the owner, no slash", f"/{context}", [403, 404], user)
            for tail in ["/", "/ogc-api/", *(f"/{room}" for room in ROOMS), "/temp/"]:
                yield check(f"not the owner, {tail}", f"/{context}{tail}", [403], user)
            for label, tail in (
                ("query", f"/{ROOMS[0]}?x=/{mine}/"),
                ("query that climbs", f"/{ROOMS[0]}?/../../../{mine}/{ROOMS[0]}"),
                ("own name after it", f"/{mine}/{ROOMS[0]}"),
                # Keycloak looks for the very text among the patterns before it matches any
                ("the pattern itself", "/*"),
            ):
                yield check(f"not the owner, {label}", f"/{context}{tail}", [403], user)
                yield self.anonymous(f"stranger, {label}", f"/{context}{tail}")
            for method, tail in (
                ("HEAD", "ogc-api/processes"),
                ("POST", "ogc-api/processes"),
                ("PUT", "ogc-api/processes/echo"),
                ("PATCH", "ogc-api/processes/echo"),
                ("DELETE", "ogc-api/jobs/00000000-0000-0000-0000-000000000000"),
            ):
                # a method that no route takes is 404 (APISIX), 405 (nginx itself)
                yield check(
                    f"not the owner, {method}",
                    f"/{context}/{tail}",
                    [403, 404, 405],
                    user,
                    method,
                )
        for context in (self.own, self.other):
            yield self.anonymous("stranger, no slash", f"/{context}", also=[404])
            for tail in ["/", "/ogc-api/", *(f"/{room}" for room in ROOMS)]:
                yield self.anonymous(f"stranger, {tail}", f"/{context}{tail}")
        for method, tail in (("POST", "processes"), ("DELETE", "processes/echo")):
            yield self.anonymous(
                f"stranger, {method}",
                f"/{self.own}/ogc-api/{tail}",
                method,
                also=[403, 404, 405],
            )

    def names(self) -> t.Iterator[Check]:
        """Names near a context's, and paths that no context covers."""
        room = ROOMS[0]
        for label, path in (
            ("longer name", f"/{self.own}x/{room}"),
            ("upper case", f"/{self.own.upper()}/{room}"),
            ("upper case of the other", f"/{self.other.upper()}/{room}"),
        ):
            yield check(f"user, {label}", path, [403, 404], self.user)
            yield self.anonymous(f"stranger, {label}", path, also=[403, 404])

    def crossed(self) -> t.Iterator[Check]:
        """Paths that two parsers read differently."""
        for label, path in crossings(self.own, self.other):
            yield check(f"user, {label}", path, self.guard, self.user)
            yield self._unread(label, path)
        for opened in ("/ogc-api", "/swagger-ui"):
            for middle in ("/../", "/..;/", "/%2e%2e/", "/..%2f", "/%252e%252e/"):
                path = f"{opened}{middle}{self.own}/{ROOMS[0]}"
                yield self._unread(f"from an open path, {opened}{middle}", path)

    def _unread(self, label: str, path: str) -> Check:
        return self.anonymous(f"stranger, {label}", path, also=[400, 403, 404])

    def headed(self) -> t.Iterator[Check]:
        """Headers that choose a context or a user, and tokens that are none."""
        own = f"/{self.own}/{ROOMS[0]}"
        for headers in namespace_headers(self.other):
            label = next(iter(headers), "")
            yield check(f"user, header {label}", own, self.guard, self.user, headers=headers)
            yield self.anonymous(f"stranger, header {label}", own, headers=headers, also=[400])
        for headers in namespace_headers(self.own)[:2]:
            label = f"open path, header {next(iter(headers), '')}"
            yield self.anonymous(label, "/ogc-api/", headers=headers, also=[400, 403, 404])
        theirs = f"/{self.other}/{ROOMS[0]}"
        for name in ("X-Original-URL", "X-Rewrite-URL"):
            yield check(f"user, header {name}", theirs, [403], self.user, headers={name: own})
        for label, token in (
            ("no JWT", "Bearer abc"),
            ("unsigned JWT", "Bearer eyJhbGciOiJub25lIn0.eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJhIn0."),
            ("empty", "Bearer"),
            ("Basic", "Basic YTpi"),
        ):
            yield self.anonymous(
                f"stranger, token {label}", own, headers={"Authorization": token}, also=[400]
            )
        for name in ("X-Access-Token", "X-ID-Token", "X-Userinfo"):
            yield self.anonymous(f"stranger, only {name}", own, headers={name: "abc"})

    def prefixed(self) -> t.Iterator[Check]:
        """The API under other prefixes, and its WPS."""
        for path in [*prefixes(), *wps(), *wps(self.other)]:
            if wps_landing(path):
                # an open landing page answers 200 by design; WPS must not answer in its place
                made = self.anonymous(f"stranger, {path}", path, also=[200, 400, 403, 404])
                yield {**made, "forbid_text": ["Capabilities"], "forbid_headers": []}
                continue
            yield self.anonymous(f"stranger, {path}", path, also=[400, 403, 404])
            yield check(f"user, {path}", path, [400, 403, 404], self.user)

    def all(self) -> t.List[Check]:
        """Return every check, each once."""
        made: t.List[Check] = []
        for part in (
            self.allowed,
            self.plain,
            self.names,
            self.crossed,
            self.headed,
            self.prefixed,
        ):
            made.extend(part())
        return made


def generate(subject: Subject) -> t.List[Check]:
    """Return the allow/deny matrix of a protected engine.

    :param subject: two contexts (``own``, ``other``), the owner of the first (``user``) and of the
        second (``other_user``, may be missing), the ``issuer`` to which a stranger may be sent
        where not ``bearer_only``, and whether the routes carry the ``guard``.
    """
    return Matrix(subject).all()
