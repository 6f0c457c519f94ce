# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The one way to Keycloak: `_keycloak_login` gives the connection and the token, the rest is here.

    kc = connect(params, ctx)                        # no request yet; the first one logs in
    kc.request("GET", "clients", query={"clientId": "x"})
    kc.request("GET", "users", uid, absent=True)     # None when the answer is 404
    kc.create("groups", body={"name": "x"})          # id of what was made
    kc.client("x"), kc.client_secret("x"), kc.user("alice"), kc.user_exists("alice")
    kc.token_probe()                                 # who logged in, what is missing

Segments are below ``/admin/realms/{realm}`` and quoted here. What is repeated on transient faults
says ``_http``. A token that the server refuses is renewed once.

API: https://www.keycloak.org/docs-api/latest/rest-api/index.html
"""

from __future__ import annotations

import concurrent.futures
import json
import re
import threading
import time
import typing as t
from urllib.parse import quote

from ansible_collections.eoepca.oapip.plugins.module_utils import _http
from ansible_collections.eoepca.oapip.plugins.module_utils._cache import key_of
from ansible_collections.eoepca.oapip.plugins.module_utils._deps import require
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_login import (
    NO_SUCH_PATH,
    PARALLEL,
    WRONG_URL,
    Login,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_names import path_fault
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    OapipError,
    Params,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

Json = t.Dict[str, t.Any]
T = t.TypeVar("T")
R = t.TypeVar("R")

MASKED = "**********"
"""What Keycloak 26.8 shows instead of a secret to who may only view: unknown, never written."""

DENIALS = frozenset({"access_denied", "invalid_resource", "invalid_scope"})
"""Errors that are a decision: not granted, no such resource, no such scope at it (26.7.4)."""

ACCOUNT = (
    "server_url",
    "auth_realm",
    "auth_client_id",
    "auth_client_secret",
    "auth_username",
    "auth_password",
    "ca_path",
)
"""The options that a token depends on, beside whether the server has to prove itself."""

ATTEMPTS = 5
"""Plans a call makes at most: others may be faster with one object after another."""

MEETING = re.compile(
    r"/clients$|/authz/resource-server/(import|(permission|policy|resource)/[^/]+)$"
)
"""Where Keycloak 26.4 says 500 to one of two that do the same."""


class Keycloak:
    """One realm of one Keycloak, as the account of the options sees it.

    :param params: the options of :func:`_argspec.keycloak`.
    """

    def __init__(self, params: Params, ctx: t.Optional[Context] = None) -> None:
        require("requests", "python-keycloak")
        self.ctx = ctx or Context()
        self.url: str = params["server_url"].rstrip("/")
        self.realm: str = params["realm"]
        self.issuer = f"{self.url}/realms/{quote(self.realm, safe='')}"
        self.timeout: int = params.get("timeout") or 30
        self.sent = 0  # requests but logins, for the benches
        self._seen: t.Set[str] = set()  # kinds that the account surely sees
        self._params = params
        self._expires = 0.0
        self._lock = threading.Lock()
        self._login = Login(
            params,
            params.get("auth_realm") or "master",
            params.get("auth_client_id") or "admin-cli",
            params.get("auth_client_secret"),
        )
        trusted = params.get("validate_certs") is not False
        self._account = key_of(trusted, *(params.get(name) or "" for name in ACCOUNT))

    # ------------------------------------------------------------------ requests

    def request(
        self,
        method: str,
        *segments: str,
        query: t.Optional[t.Mapping[str, t.Any]] = None,
        body: t.Any = None,
        doing: str = "",
        absent: bool = False,
    ) -> t.Any:
        """Call the admin API below the realm; return the decoded answer, None where it is empty.

        :param doing: what for, in words for the error message.
        :param absent: return None where the server says 404 about the object (not about the realm).
        :raises OapipError: every other answer than a 2xx.
        """
        doing = doing or f"{method} {'/'.join(segments)}"
        response = self._answer(method, segments, query, body, doing)
        status = response.status_code
        if status == 404 and absent and self._is_absence(response):
            return None
        if not 200 <= status < 300:
            raise self._failed(response, method, segments, doing)
        if status == 204 or not response.content:
            return None
        return _http.json_of(response, self._at(doing))

    def create(
        self,
        *segments: str,
        body: t.Any,
        query: t.Optional[t.Mapping[str, t.Any]] = None,
        doing: str = "",
    ) -> str:
        """POST a new object and return its id, from ``Location`` or from the answer."""
        doing = doing or f"creating {'/'.join(segments)}"
        response = self._answer("POST", segments, query, body, doing)
        if response.status_code != 201:
            raise self._failed(response, "POST", segments, doing)
        location = response.headers.get("Location")
        if location:
            return str(location.rstrip("/").rsplit("/", 1)[-1])
        made = _http.json_of(response, self._at(doing))
        return str(made.get("_id") or made["id"])

    def _answer(
        self,
        method: str,
        segments: t.Sequence[str],
        query: t.Optional[t.Mapping[str, t.Any]],
        body: t.Any,
        doing: str,
    ) -> t.Any:
        whole = ("admin", "realms", self.realm, *segments)
        fault = next(filter(None, map(path_fault, whole)), "")
        if fault:  # it would be another path, and with it another answer
            raise OapipError(self._at(doing), fault, "Correct the name.")
        parts = "/".join(quote(part, safe="") for part in whole)
        for attempt in (1, 2):
            token = self._token()
            response = _http.send(
                self._login.wire,
                method,
                f"{self.url}/{parts}",
                self._at(doing),
                timeout=self.timeout,
                params=dict(query or {}),
                data=None if body is None else json.dumps(body),
            )
            self.sent += 1
            if response.status_code != 401 or attempt == 2:
                break
            self._forget(token)
        return response

    def each(self, function: t.Callable[[T], R], items: t.Sequence[T]) -> t.List[t.Tuple[T, R]]:
        """Call ``function`` for every item, a few at a time; return items with their results."""
        if len(items) < 2:
            return [(item, function(item)) for item in items]
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(lambda item: (item, function(item)), items))

    def look_again(self, error: OapipError, attempt: int) -> None:
        """Return where a conflict calls for a new look and plan; else raise the error.

        That is a 409; Keycloak 26.4 says 500 where two clients are made that have the same name, or
        where two imports or deletions of the same authorization objects meet.
        """
        met = error.status == 409 or (error.status == 500 and MEETING.search(error.path))
        if not met or attempt + 1 >= ATTEMPTS:
            raise error
        self.ctx.say(f"{error.doing}: somebody else was faster, looking again")

    def _at(self, doing: str) -> str:
        return f"{doing} in realm {self.realm} of Keycloak"

    @staticmethod
    def _is_absence(response: t.Any) -> bool:
        """Whether a 404 speaks of the object: not of the realm, not from a proxy."""
        if not response.content:
            return True
        try:
            said = _http.words(response.json())
        except ValueError:
            return False
        return "Realm" not in said and NO_SUCH_PATH not in said

    def _failed(
        self, response: t.Any, method: str, segments: t.Sequence[str], doing: str
    ) -> OapipError:
        status = response.status_code
        hint = ""
        if status == 403:
            hint = (
                f"The account needs the role {role_for(method, segments)} of {self._role_client()}."
            )
            if "role-mappings" in segments and method != "GET":
                hint += " Roles that administer the realm can be given by its administrators only."
        elif status == 404 and "Realm" in _http.message_of(response):
            hint = f"Create the realm {self.realm}, or give the right name with realm."
        elif status == 404 and not self._is_absence(response):
            hint = WRONG_URL
        elif status == 401:
            hint = (
                "The server refuses a token it has just given: check its clock and its host name."
            )
        elif status == 500:
            hint = "Keycloak's own log says more."
        return _http.failed(response, self._at(doing), hint)

    def _role_client(self) -> str:
        realm = self._params.get("auth_realm") or "master"
        if realm == self.realm:
            return f"the client realm-management in realm {realm}"
        return f"the client {self.realm}-realm in realm {realm}"

    # ------------------------------------------------------------------ token

    def _token(self) -> str:
        with self._lock:
            headers = self._login.headers
            if time.monotonic() >= self._expires:
                token, self._expires = self.ctx.cache.once(self._account, self._fresh_token)
                headers["Content-Type"] = "application/json"
                headers["Authorization"] = f"Bearer {token}"
            return str(headers["Authorization"])

    def _fresh_token(self) -> t.Tuple[str, float]:
        token = self._log_in()
        # renewed at 80 % of its life, so that it does not end between here and the server
        return str(token["access_token"]), 0.8 * float(token.get("expires_in", 60))

    def _forget(self, token: str) -> None:
        with self._lock:
            self.ctx.cache.forget(self._account, token.partition(" ")[2])
            if self._login.headers.get("Authorization") == token:
                self._expires = 0.0

    def _log_in(self) -> Json:
        params = self._params
        username, password = params.get("auth_username"), params.get("auth_password")
        realm = params.get("auth_realm") or "master"
        if username and not password:
            raise OapipError("logging in to Keycloak", "no password", "Give auth_password.")
        if not username and not params.get("auth_client_secret"):
            raise OapipError(
                "logging in to Keycloak",
                "no account",
                "Give auth_username and auth_password, or auth_client_id and auth_client_secret.",
            )
        who = username or params.get("auth_client_id")
        return self._login.token(username, password, f"logging in as {who} (realm {realm})")

    def user_token(
        self, client_id: str, username: str, password: str, secret: t.Optional[str] = None
    ) -> str:
        """Return an access token of a user of the realm, by the direct grant of ``client_id``.

        :raises OapipError: wrong password, or a client that may not do this.
        """
        login = Login(self._params, self.realm, client_id, secret)
        doing = f"getting a token for {username} with client {client_id} (realm {self.realm})"
        return self.ctx.secret(str(login.token(username, password, doing)["access_token"]))

    # ------------------------------------------------------------------ UMA

    def uma_decision(
        self, client_id: str, token: str, permissions: t.Sequence[str], **form: str
    ) -> t.Tuple[bool, str]:
        """Ask for the decision that a gateway asks for, with a user's own token.

        :param permissions: ids of resources, with ``#scope`` where one is meant; one is enough.
        :param form: more parameters of the request.
        :returns: whether it was granted, and Keycloak's words where not.
        :raises OapipError: an answer that is no decision.

        UMA 2.0 Grant, section 3.3.1; ``response_mode=decision`` is Keycloak's.
        """
        doing = f"asking for the decision on {', '.join(permissions)} of client {client_id}"
        http = _http.session(
            self._params.get("validate_certs") is not False, self._params.get("ca_path")
        )
        response = _http.send(
            http,
            "POST",
            f"{self.issuer}/protocol/openid-connect/token",
            self._at(doing),
            timeout=self.timeout,
            retry=True,  # it changes nothing
            headers={"Authorization": f"Bearer {token}"},
            data={
                "grant_type": "urn:ietf:params:oauth:grant-type:uma-ticket",
                "audience": client_id,
                "response_mode": "decision",
                "permission": permissions,
                **form,
            },
        )
        self.sent += 1
        if response.status_code == 200:
            return _http.json_of(response, self._at(doing)).get("result") is True, ""
        if response.status_code in (400, 403) and _error_of(response) in DENIALS:
            return False, _http.message_of(response)
        refused = response.status_code == 401 or _error_of(response) == "invalid_grant"
        hint = "The token is expired or of another realm." if refused else ""
        raise _http.failed(response, self._at(doing), hint)

    # ------------------------------------------------------------------ look-ups

    def client(self, client_id: str) -> t.Optional[Json]:
        """Return the representation of a client, None where there is none."""
        found = self.request(
            "GET", "clients", query={"clientId": client_id}, doing=f"reading client {client_id}"
        )
        if not found:
            self._check_sees("clients", f"reading client {client_id}")
        return next((one for one in found if one["clientId"] == client_id), None)

    def client_secret(self, client_id: str) -> t.Optional[str]:
        """Return the secret of a client, registered as a secret; None where there is no client.

        :raises OapipError: the account may not see it, or the client is public.
        """
        doing = f"reading the secret of client {client_id}"
        client = self.client(client_id)
        if client is None:
            return None
        secret = client.get("secret")
        if not secret:
            answer = self.request("GET", "clients", client["id"], "client-secret", doing=doing)
            secret = (answer or {}).get("value")
        if not secret:
            raise OapipError(self._at(doing), "the client has none", "Is it public?")
        if secret == MASKED:
            raise OapipError(
                self._at(doing),
                "the server shows it masked",
                f"The account needs the role manage-clients of {self._role_client()}.",
            )
        return self.ctx.secret(str(secret))

    def user(self, username: str) -> t.Optional[Json]:
        """Return the representation of a user, None where there is none. Names are lower case."""
        found = self.request(
            "GET",
            "users",
            query={"username": username, "exact": "true"},
            doing=f"looking for user {username}",
        )
        if not found:
            self._check_sees("users", f"looking for user {username}")
        wanted = username.lower()
        return next((one for one in found if one["username"].lower() == wanted), None)

    def _check_sees(self, kind: str, doing: str) -> None:
        """Check that an empty list means that nothing is there.

        Keycloak shows an empty one to who may query, but not view. Every realm has clients, and of
        the users it tells the number all the same.

        :raises OapipError: the account does not see what there is.
        """
        if kind in self._seen:
            return
        listed = self.request("GET", kind, query={"first": 0, "max": 1}, doing=doing)
        if self._is_hidden(kind, listed, doing):
            raise OapipError(
                self._at(doing),
                f"the account does not see the {kind}",
                f"The account needs the role view-{kind} of {self._role_client()}.",
            )
        self._seen.add(kind)

    def _is_hidden(self, kind: str, listed: t.Sequence[Json], doing: str) -> bool:
        if listed:
            return False
        return kind == "clients" or bool(self.request("GET", kind, "count", doing=doing))

    def user_exists(self, username: str) -> bool:
        """Whether the realm has a user of exactly this name."""
        return self.user(username) is not None

    def role(self, name: str) -> t.Optional[Json]:
        """Return a client's role (``client/role``), else one of the realm; None where none is."""
        doing = f"looking for role {name}"
        found: t.Optional[Json] = None
        client_id, slash, role = name.rpartition("/")
        client = self.client(client_id) if slash else None
        if client is not None:
            path = ("clients", client["id"], "roles", role)
            found = self.request("GET", *path, doing=doing, absent=True)
        if found is None:
            found = self.request("GET", "roles", name, doing=doing, absent=True)
        return found

    def check_may_manage_users(self) -> str:
        """Check the right to write users and groups, before something else is written.

        A realm without users does not tell.

        :returns: the id of a user, empty where there is none.
        :raises OapipError: the account lacks it.
        """
        doing = "checking the rights on users and groups"
        listed = self.request("GET", "users", query={"first": 0, "max": 1}, doing=doing)
        if self._is_hidden("users", listed, doing) or not _may_manage(listed):
            hint = f"The account needs the role manage-users of {self._role_client()}."
            raise OapipError(
                self._at(doing), "the account may only read them", f"{hint} Nothing was written."
            )
        return str(listed[0]["id"]) if listed else ""

    def token_probe(self) -> Json:
        """Log in and read; return ``missing``, the roles wanting, and the names seen on the way.

        :returns: ``realm``, ``issuer``, ``missing``, and ``users`` and ``clients``: names that are
            in the realm, not all of them.
        :raises OapipError: unreachable, wrong password, unknown realm.
        """
        missing: t.List[str] = []
        seen: t.Dict[str, t.List[Json]] = {"clients": [], "users": []}
        for role, kind in (("manage-clients", "clients"), ("manage-users", "users")):
            doing = f"reading the {kind}"
            try:
                query = {"first": 0, "max": 20}
                seen[kind] = self.request("GET", kind, query=query, doing=doing)
                hidden = self._is_hidden(kind, seen[kind], doing)
            except OapipError as error:
                if error.status != 403:
                    raise
                missing.append(role)
                continue
            if hidden or not _may_manage(seen[kind]):
                missing.append(role)
        if seen["clients"]:
            client = seen["clients"][0]["id"]
            try:
                self.request("GET", "clients", client, "authz", "resource-server", absent=True)
            except OapipError as error:
                if error.status != 403:
                    raise
                missing.append("manage-authorization")
        return {
            "realm": self.realm,
            "issuer": self.issuer,
            "missing": missing,
            "users": {str(one["username"]).lower() for one in seen["users"]},
            "clients": {str(one["clientId"]) for one in seen["clients"]},
        }


def _error_of(response: t.Any) -> str:
    """Return the name of the error in an answer of the token endpoint (RFC 6749, section 5.2)."""
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("error")) if isinstance(body, dict) else ""


def _may_manage(listed: t.Sequence[Json]) -> bool:
    """Whether the account may write what is listed, as far as the list tells."""
    may = [
        bool(one["access"].get("manage") or one["access"].get("configure"))
        for one in listed
        if "access" in one
    ]
    return not may or any(may)


def refuse_rest(what: str, left: t.Sequence[Change]) -> None:
    """Fail where the server shows something else than was written."""
    if left:
        names = ", ".join(f"{one.kind} {one.name}" for one in left[:5])
        raise OapipError(
            f"reading back {what}",
            f"the server shows otherwise: {names}",
            "Somebody else may be changing the same objects, then run again; or this version of "
            "Keycloak does not know all of it (roles of contexts need 25).",
            extra={"left": [one.as_dict() for one in left]},
        )


def role_for(method: str, segments: t.Sequence[str]) -> str:
    """Return the realm-management role that a call needs."""
    verb = "view" if method == "GET" else "manage"
    if "authz" in segments:
        if segments[-1] == "settings":  # an export is for those who may import
            verb = "manage"
        elif segments[-1] == "evaluate":
            verb = "view"
        return f"{verb}-authorization"
    if segments and segments[0] in ("users", "groups", "group-by-path"):
        return f"{verb}-users"
    if segments and segments[0] in ("clients", "client-scopes"):
        return f"{verb}-clients"
    return f"{verb}-realm"


def connect(params: Params, ctx: t.Optional[Context] = None) -> Keycloak:
    """Return the client for the options of :func:`_argspec.keycloak`; no request is made yet."""
    return Keycloak(params, ctx)
