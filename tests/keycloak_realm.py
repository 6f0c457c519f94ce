"""A realm of its own on the sandbox's Keycloak, and modules called as Ansible calls them."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import requests
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Keycloak, connect
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context

Json = dict[str, Any]


class Realm:
    """One realm, with its admin events on; no dataclass, as its options have a password."""

    def __init__(self, name: str, options: Json) -> None:
        self.name = name
        self.options = options
        self.kc: Keycloak = connect({**options, "auth_realm": "master"})
        self.warned: list[str] = []
        self.told: list[str] = []

    def at(self, url: str) -> Realm:
        """Return the realm for modules that reach the server by another way."""
        there = copy.copy(self)
        there.options = {**self.options, "server_url": url}
        return there

    def call(self, module: ModuleType, check: bool = False, **options: Any) -> Json:
        """Validate the options as Ansible does, and call the module."""
        spec = {k: v for k, v in module.SPEC.items() if k != "supports_check_mode"}
        given = {**self.options, **options}
        checked = ArgumentSpecValidator(**spec).validate(given)
        assert not checked.error_messages, checked.error_messages
        ctx = Context(check_mode=check, warn=self.warned.append, progress=self.told.append)
        result: Json = module.run(checked.validated_parameters, ctx)
        return result

    def writes(self) -> list[str]:
        """Return the admin events so far, as ``CREATE clients/...``."""
        query = {"first": 0, "max": 100000}
        events = self.kc.request("GET", "admin-events", query=query)
        return [f"{one['operationType']} {one.get('resourcePath', 'realm')}" for one in events]

    def settle(self, module: ModuleType, **options: Any) -> Json:
        """Call dry, for real, and again: dry tells the truth, again writes nothing."""
        self.kc.request("DELETE", "admin-events")
        dry = self.call(module, check=True, **options)
        assert self.writes() == [], "check mode wrote"
        real = self.call(module, **options)
        assert dry["changes"] == real["changes"]
        assert dry["diff"] == real["diff"]
        assert bool(self.writes()) == real["changed"]
        self.kc.request("DELETE", "admin-events")
        again = self.call(module, **options)
        assert again["changes"] == []
        assert self.writes() == [], "the second run wrote"
        return real

    def user(self, name: str, password: str | None = None) -> str:
        """Create a user; return the id."""
        body: Json = {"username": name, "enabled": True, "email": f"{name}@example.org"}
        body.update(firstName=name, lastName="Test", emailVerified=True)
        if password:
            body["credentials"] = [{"type": "password", "value": password, "temporary": False}]
        return self.kc.create("users", body=body)

    def token_client(self, name: str) -> str:
        """Create a public client with which users get tokens by their passwords; return its id."""
        body = {"clientId": name, "publicClient": True, "directAccessGrantsEnabled": True}
        return self.kc.create("clients", body=body)

    def authz(self, client_id: str) -> tuple[str, ...]:
        """Return the path of a client's authorization data."""
        client = self.kc.client(client_id)
        assert client is not None
        return ("clients", client["id"], "authz", "resource-server")


def options_for(sandbox: Mapping[str, Any], name: str) -> Json:
    """Return the options with which the modules reach a realm as the administrator."""
    server = sandbox["keycloak"]
    return {
        "server_url": server["url"],
        "realm": name,
        "auth_username": server["admin_user"],
        "auth_password": server["admin_password"],
        "ca_path": sandbox["ca_file"],
    }


@contextmanager
def realm(sandbox: Json) -> Iterator[Realm]:
    """Create a realm with a random name, remove it afterwards.

    Its tokens end after the seconds that the server's record says, where it says so.
    """
    name = f"test-{secrets.token_hex(4)}"
    lifespan = sandbox["keycloak"].get("lifespan")
    short = {"accessTokenLifespan": lifespan} if lifespan else {}
    _realms(sandbox, "POST", "", {"realm": name, "enabled": True, **_EVENTS, **short})
    try:
        yield Realm(name, options_for(sandbox, name))
    finally:
        _realms(sandbox, "DELETE", f"/{name}", None)


_EVENTS = {"adminEventsEnabled": True, "adminEventsDetailsEnabled": True}


def _realms(sandbox: Json, method: str, path: str, body: Json | None) -> None:
    server, ca = sandbox["keycloak"], sandbox["ca_file"]
    form = {
        "grant_type": "password",
        "client_id": "admin-cli",
        "username": server["admin_user"],
        "password": server["admin_password"],
    }
    url = f"{server['url']}/realms/master/protocol/openid-connect/token"
    answer = requests.post(url, data=form, verify=ca, timeout=30)
    answer.raise_for_status()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    url = f"{server['url']}/admin/realms{path}"
    requests.request(
        method, url, json=body, headers=headers, verify=ca, timeout=60
    ).raise_for_status()
