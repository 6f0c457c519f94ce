# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""python-keycloak as :mod:`_keycloak` uses it: a client's connection, and its access tokens.

Its errors hide the cause, and its login is no request that could be repeated: this mends both.
"""

from __future__ import annotations

import json
import typing as t
from urllib.parse import quote, urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils import _http
from ansible_collections.eoepca.oapip.plugins.module_utils._deps import keycloak, requests
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params

Json = t.Dict[str, t.Any]

PARALLEL = 8
"""Requests under way at once, at most."""

WRONG_URL = "Check server_url: the base URL, with the path where Keycloak has one (/auth)."
NOT_KEYCLOAK = "the answer is not Keycloak's"
NO_SUCH_PATH = "Unable to find matching"  # what the server says of a path that it does not know
HINTS = {
    "invalid_grant": "Check auth_username, auth_password and auth_realm.",
    "invalid_client": "Check auth_client_id and auth_client_secret.",
    "unauthorized_client": "Check auth_client_id, auth_client_secret and its grants.",
}


class Login:
    """A client of a realm, that can log in itself or a user.

    :param params: the options of :func:`_argspec.keycloak`, for the server and its trust.
    """

    def __init__(
        self, params: Params, realm: str, client_id: str, secret: t.Optional[str] = None
    ) -> None:
        verify: t.Union[bool, str] = params.get("ca_path") or True
        if params.get("validate_certs") is False:
            verify = False
            import urllib3

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._server = params["server_url"].rstrip("/")
        self._realm = quote(realm, safe="")
        self._openid = keycloak.KeycloakOpenID(
            server_url=f"{self._server}/",
            realm_name=self._realm,
            client_id=client_id,
            client_secret_key=secret,
            verify=verify,
            timeout=params.get("timeout") or 30,
            max_retries=0,
            pool_maxsize=PARALLEL,
        )
        self.wire = _Wire(self._openid.connection)
        self.headers: t.Dict[str, str] = self._openid.connection.headers

    def token(self, username: t.Optional[str], password: t.Optional[str], doing: str) -> Json:
        """Ask for a token; a refusal is never repeated, as it counts towards a lock-out.

        :param username: None for the client's own account.
        :raises OapipError: refused, unreachable, or not Keycloak.
        """
        path = urlsplit(f"{self._server}/realms/{self._realm}/protocol/openid-connect/token").path
        where, server = f"{doing} at Keycloak", _http.server_of(self._server)
        grant = _Grant(self._openid, username, password)
        try:
            answer = _http.send(grant, "GET", f"{self._server}{path}", where)
        except keycloak.exceptions.KeycloakError as error:
            raise _refused(error, where, path, server) from None
        except TypeError:  # no token but a page, or half an answer
            raise OapipError(where, NOT_KEYCLOAK, WRONG_URL, 200, path, server=server) from None
        return t.cast("Json", answer.token)


class _Wire:
    """python-keycloak's connection, with the face of a ``requests.Session``."""

    def __init__(self, connection: t.Any) -> None:
        self.connection = connection
        self.verify = connection.verify

    def request(
        self, method: str, url: str, data: t.Optional[str] = None, **kwargs: t.Any
    ) -> t.Any:
        call = getattr(self.connection, f"raw_{method.lower()}")
        arguments = (url,) if method == "GET" else (url, data)
        try:
            response = call(*arguments, **(kwargs.get("params") or {}))
        except keycloak.exceptions.KeycloakConnectionError as error:
            raise error.__cause__ or error from None
        if response.history:
            there = urlsplit(response.url)
            raise requests.exceptions.InvalidURL(
                f"the server sends callers on to {there.scheme}://{there.netloc}"
            )
        return response


class _Token(t.NamedTuple):
    """A good login in the shape that :func:`_http.send` looks at."""

    token: Json
    status_code: int = 200
    headers: t.Mapping[str, str] = {}


class _Grant:
    """python-keycloak's login with the face of a session, for :func:`_http.send` to repeat."""

    def __init__(self, openid: t.Any, username: t.Optional[str], password: t.Optional[str]) -> None:
        self.verify = openid.connection.verify
        self.openid = openid
        self.username = username or ""
        self.password = password or ""

    def request(self, method: str, url: str, **kwargs: t.Any) -> _Token:
        """Log in once; the arguments are those of the request that this stands for."""
        del method, url, kwargs
        grant = "password" if self.username else "client_credentials"
        try:
            return _Token(self.openid.token(self.username, self.password, grant_type=grant))
        except keycloak.exceptions.KeycloakConnectionError as error:
            raise error.__cause__ or error from None
        except keycloak.exceptions.KeycloakError as error:
            if error.response_code not in _http.TRANSIENT:
                raise
            said = f"the server answers {error.response_code}"
            raise requests.exceptions.ConnectionError(said) from None


def _refused(error: t.Any, where: str, path: str, server: str) -> OapipError:
    """Return the error for a login that the server refused, in its own words."""
    try:
        body = json.loads(error.response_body or b"")
    except ValueError:
        hint = WRONG_URL
        return OapipError(where, NOT_KEYCLOAK, hint, error.response_code, path, server=server)
    hint = HINTS.get(str(body.get("error")), "")
    said = _http.words(body)
    if error.response_code == 404:
        hint = WRONG_URL if NO_SUCH_PATH in said else "Check auth_realm."
    elif "not fully set up" in said:
        hint = "The account lacks an email, a name or an action that its owner has to do first."
    return OapipError(where, said or "refused", hint, error.response_code, path, server=server)
