# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""python-keycloak as :mod:`_keycloak` uses it: the connection of a client, and its access tokens.

Its errors hide the cause, and its own login hides what the server asks for (``Retry-After``) as
well, so the request for a token is written here.

API: RFC 6749, sections 4.3 and 4.4
"""

from __future__ import annotations

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
        server = params["server_url"].rstrip("/")
        self._url = f"{server}/realms/{quote(realm, safe='')}/protocol/openid-connect/token"
        self._client = {"client_id": client_id, **({"client_secret": secret} if secret else {})}
        self._timeout: int = params.get("timeout") or 30
        connection = keycloak.ConnectionManager(
            base_url=f"{server}/",
            verify=_http.trust(params.get("validate_certs") is not False, params.get("ca_path")),
            timeout=self._timeout,
            max_retries=0,
            pool_maxsize=PARALLEL,
        )
        self.wire = _Wire(connection)
        self.headers: t.Dict[str, str] = connection.headers

    def token(self, username: t.Optional[str], password: t.Optional[str], doing: str) -> Json:
        """Ask for a token; a refusal is never repeated, as it counts towards a lock-out.

        :param username: None for the client's own account.
        :raises OapipError: refused, unreachable, or not Keycloak.
        """
        user = {"grant_type": "client_credentials"}
        if username:
            user = {"grant_type": "password", "username": username, "password": password or ""}
        # what the last login left would go along: its token, and the type of another body
        self.headers.clear()
        where = f"{doing} at Keycloak"
        response = _http.send(
            self.wire,
            "POST",
            self._url,
            where,
            timeout=self._timeout,
            retry=True,  # it changes nothing
            data={**self._client, **user, "scope": "openid"},
        )
        if response.status_code != 200:
            raise _refused(response, where)
        try:
            token: Json = response.json()
            token["access_token"]
        except (ValueError, KeyError, TypeError):  # a page, or half an answer
            raise _no_keycloak(response, where) from None
        return token


class _Wire:
    """python-keycloak's connection, with the face of a ``requests.Session``."""

    def __init__(self, connection: t.Any) -> None:
        self.connection = connection
        self.verify = connection.verify

    def request(self, method: str, url: str, data: t.Any = None, **kwargs: t.Any) -> t.Any:
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


def _refused(response: t.Any, where: str) -> OapipError:
    """Return the error for a login that the server refused, in its own words."""
    if response.status_code in _http.TRANSIENT:
        return _http.failed(response, where)
    try:
        body = response.json()
    except ValueError:
        return _no_keycloak(response, where)
    hint = HINTS.get(str(body.get("error")), "")
    said = _http.words(body)
    if response.status_code == 404:
        hint = WRONG_URL if NO_SUCH_PATH in said else "Check auth_realm."
    elif "not fully set up" in said:
        hint = "The account lacks an email, a name or an action that its owner has to do first."
    return _http.failed(response, where, hint)


def _no_keycloak(response: t.Any, where: str) -> OapipError:
    return _http.wrong(response, where, NOT_KEYCLOAK, WRONG_URL)
