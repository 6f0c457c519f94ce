# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The decision on a user's token, asked for as APISIX's authz-keycloak does on our routes.

With ``lazy_load_paths`` it looks the path up with the client's own account, refuses by itself where
nothing is found (``ENFORCING``), and else asks about all that it found with the user's token. That
needs the client's secret. Who may not read it has Keycloak look for the path
(``permission_resource_format=uri``), which has no look-up that could fail by itself.

API: ``/realms/{realm}/authz/protection/resource_set`` (Federated Authorization for UMA 2.0, section
3.2), UMA 2.0 Grant, section 3.3.1
"""

from __future__ import annotations

import base64
import json
import threading
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _http
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_login import Login
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params

T = t.TypeVar("T")
BY_PATH = {"permission_resource_format": "uri", "permission_resource_matching_uri": "true"}


class Bearer:
    """A token, got anew where Keycloak says that it has ended.

    :param token: one that was given, and that nobody can get anew.
    :param get: gets one, where none was given.
    """

    def __init__(self, get: t.Callable[[], str], token: t.Optional[str] = None) -> None:
        self._get = None if token else get
        self._lock = threading.Lock()
        self.token = token or get()

    def use(self, ask: t.Callable[[str], T]) -> T:
        """Return what ``ask`` returns for the token, or for the next one.

        :raises OapipError: as ``ask`` does; or a token that was given has ended.
        """
        fresh = False
        while True:
            token = self.token
            try:
                return ask(token)
            except OapipError as error:
                if fresh or not _has_ended(error):
                    raise
                if self._get is None:
                    error.hint = "The token has ended or is of another realm: give a new one."
                    raise
            with self._lock:
                fresh = self.token == token  # else another thread got one, maybe long ago
                if fresh:
                    self.token = self._get()

    def check_owner(self, username: str, user_id: str) -> None:
        """Check that it is a token of this user: of the id, or of the name.

        :raises OapipError: it is somebody else's, or no token of Keycloak.
        """
        doing = f"using the token of {username}"
        try:
            payload = self.token.split(".")[1]
            claims: Json = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            owner = str(claims.get("preferred_username") or claims.get("sub") or "nobody")
        except (IndexError, ValueError, AttributeError):
            raise OapipError(doing, "it is no token of Keycloak", "Give an access token.") from None
        if claims.get("sub") != user_id and owner.lower() != username:
            raise OapipError(
                doing, f"it belongs to {owner}", "Give each user's own token in credentials."
            )


def _has_ended(error: OapipError) -> bool:
    # 401, 400 invalid_grant "Invalid bearer token", 403 invalid_bearer_token of the look-up, or 400
    # "Invalid identity." where it ends between two looks of Keycloak's
    told = error.reason.lower()
    return error.status == 401 or "bearer" in told or "invalid identity" in told


class Gateway:
    """Asks about one client as its gateway does.

    :param params: the options of :func:`_argspec.keycloak`.
    """

    def __init__(self, kc: Keycloak, params: Params, client_id: str) -> None:
        self._kc = kc
        self._client_id = client_id
        self._http = _http.session(params.get("validate_certs") is not False, params.get("ca_path"))
        self._found: t.Dict[str, t.List[str]] = {}
        self._account: t.Optional[Bearer] = None
        secret = _secret(kc, client_id)
        if secret:
            login = Login(params, kc.realm, client_id, secret)
            doing = f"logging in as client {client_id} (realm {kc.realm}), as APISIX does,"
            self._account = Bearer(
                lambda: kc.ctx.secret(str(login.token(None, None, doing)["access_token"]))
            )

    def prepare(self, paths: t.Sequence[str]) -> None:
        """Look the paths up, where that is the way, a few at a time."""
        account = self._account
        if account is not None:
            self._found.update(self._kc.each(lambda path: self.look_up(account, path), paths))

    def look_up(self, account: Bearer, path: str) -> t.List[str]:
        """Return the ids of what protects a path, in the eyes of the client's own account.

        :raises OapipError: the account may not look; then APISIX answers 503 to everybody.
        """
        doing = f"looking up {path} as APISIX does, with the account of client {self._client_id}"

        def ask(token: str) -> t.List[str]:
            response = _http.send(
                self._http,
                "GET",
                f"{self._kc.issuer}/authz/protection/resource_set",
                doing,
                timeout=self._kc.timeout,
                headers={"Authorization": f"Bearer {token}"},
                params={"uri": path, "matchingUri": "true"},
            )
            self._kc.sent += 1
            if response.status_code != 200:
                hint = f"It needs the role uma_protection of client {self._client_id}."
                raise _http.failed(response, doing, hint if response.status_code == 403 else "")
            return [str(one) for one in _http.json_of(response, doing)]

        return account.use(ask)

    def decide(self, path: str, scope: str, user: Bearer) -> t.Tuple[bool, str, t.List[str]]:
        """Return whether the user gets in, why not, and the ids of what the look-up found.

        :raises OapipError: an answer that is no decision, or a path that cannot be asked about.
        """
        wanted = f"#{scope}" if scope else ""
        found, more = self._found.get(path, []), {}
        permissions = [f"{one}{wanted}" for one in found]
        if self._account is None:
            if "#" in path:  # what follows it would be read as a scope
                raise OapipError(
                    f"asking for the decision on {path} of client {self._client_id}",
                    "a path with # cannot be asked about by its path",
                    "Let the account read the client's secret (manage-clients).",
                )
            permissions, more = [f"{path}{wanted}"], BY_PATH
        elif not found:
            return False, "the gateway's look-up finds no resource at this path", []
        granted, said = user.use(
            lambda token: self._kc.uma_decision(self._client_id, token, permissions, **more)
        )
        return granted, said, found


def _secret(kc: Keycloak, client_id: str) -> t.Optional[str]:
    """Return the client's secret; None where the account may not see it, or there is none."""
    try:
        return kc.client_secret(client_id)
    except OapipError as error:
        if error.status == 403 or (error.status is None and not error.path):  # masked, or public
            return None
        raise
