"""The realm a deployer finds: two users and a public client to get tokens with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox import local_http
from sandbox.errors import SandboxError

REALM = "eoepca"
TOKEN_CLIENT = "oapip-cli"
USERS = ("alice", "bob")


class Admin:
    """Keycloak's admin API, as the bootstrap administrator."""

    def __init__(self, url: str, user: str, password: str, ca_file: Path) -> None:
        self.url = url
        self.session = local_http.session(ca_file)
        form = {"grant_type": "password", "client_id": "admin-cli"}
        token = self.session.post(
            f"{url}/realms/master/protocol/openid-connect/token",
            data={**form, "username": user, "password": password},
            timeout=30,
        )
        if token.status_code != 200:
            message = (
                f"Keycloak refuses its own administrator: {token.status_code} {token.text[:200]}"
            )
            raise SandboxError(message)
        self.session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def call(self, method: str, path: str, body: Any = None, accept: tuple[int, ...] = ()) -> Any:
        """One request below /admin; the JSON answer, None for an accepted status or no body."""
        answer = self.session.request(method, f"{self.url}/admin{path}", json=body, timeout=60)
        if answer.status_code in accept:
            return None
        if not answer.ok:
            message = f"Keycloak: {method} {path}: {answer.status_code} {answer.text[:300]}"
            raise SandboxError(message)
        return answer.json() if answer.content else None


def is_ready(management_url: str, ca_file: Path) -> bool:
    """Whether Keycloak's own health check says so (its database and its start are done)."""
    return local_http.status(f"{management_url}/health/ready", ca_file) == 200


def ensure(admin: Admin, passwords: Mapping[str, str]) -> None:
    """Create the realm with its users and client; an existing one is left as it is."""
    if admin.call("GET", f"/realms/{REALM}", accept=(404,)) is None:
        admin.call("POST", "/realms", representation(passwords))


def representation(passwords: Mapping[str, str]) -> dict[str, Any]:
    """The realm, in the words of Keycloak's RealmRepresentation."""
    return {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "all",
        "adminEventsEnabled": True,
        "adminEventsDetailsEnabled": True,
        "users": [_user(name, passwords[name]) for name in USERS],
        "clients": [
            {
                "clientId": TOKEN_CLIENT,
                "name": "Tokens for people and scripts",
                "publicClient": True,
                "directAccessGrantsEnabled": True,
                "standardFlowEnabled": False,
            }
        ],
    }


def _user(name: str, password: str) -> dict[str, Any]:
    return {
        "username": name,
        "enabled": True,
        "email": f"{name}@example.org",
        "emailVerified": True,
        "firstName": name.capitalize(),
        "lastName": "Example",
        "credentials": [{"type": "password", "value": password, "temporary": False}],
        "realmRoles": [f"default-roles-{REALM}"],
    }
