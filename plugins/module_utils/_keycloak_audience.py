# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The audience of a client's tokens: a client scope, and the clients whose tokens carry it.

API: ``client-scopes``, ``clients/{id}/default-client-scopes`` of Keycloak's admin API.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils import _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_links import DEFAULT, link
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

OWNER = "oapip.owner"


@dataclass
class Audience:
    """The scope as ``clients`` and ``owner``, and the clients that have it as a default scope."""

    scope: t.Optional[Json] = None
    carriers: t.Set[str] = field(default_factory=set)


def scope_name(client_id: str) -> str:
    """Return the name of the client scope that carries the audience."""
    return f"{client_id}-audience"


def plan(client_id: str, current: Audience, desired: Audience) -> t.List[Change]:
    """Return the changes; a scope that nobody wants is taken from its carriers first."""
    name = scope_name(client_id)
    if desired.scope is None:
        if current.scope is None:
            return []
        leaving = [link("delete", DEFAULT, one, name) for one in sorted(current.carriers)]
        return [*leaving, Change("delete", "client_scope", name, current.scope)]
    if current.scope is None:
        changes = [Change("create", "client_scope", name, None, desired.scope)]
    else:
        changes = _plan.update("client_scope", name, current.scope, desired.scope)
    joining = sorted(desired.carriers - current.carriers)
    return changes + [link("create", DEFAULT, one, name) for one in joining]


def scope_of(scope: Json) -> Json:
    """Return a client scope in normal form: the audiences of access tokens, and the owner."""
    mappers = scope.get("protocolMappers") or []
    found = sorted(
        one["config"]["included.client.audience"]
        for one in mappers
        if one.get("protocolMapper") == "oidc-audience-mapper"
        and one["config"].get("included.client.audience")
        and one["config"].get("access.token.claim") == "true"
    )
    return {"clients": found, "owner": (scope.get("attributes") or {}).get(OWNER, "")}


def apply(kc: Keycloak, change: Change, scopes: t.Dict[str, str], doing: str) -> None:
    """Make a change of the scope itself; ``scopes`` has the ids by name and learns a new one."""
    if change.action == "delete":
        kc.request("DELETE", "client-scopes", scopes[change.name], doing=doing, absent=True)
        return
    wanted = change.after or {}
    body: Json = {
        "name": change.name,
        "description": "Puts the audience of an OGC API Processes engine into access tokens.",
        "protocol": "openid-connect",
        "attributes": {
            OWNER: wanted["owner"],
            "include.in.token.scope": "false",
            "display.on.consent.screen": "false",
        },
    }
    if change.action == "create":
        body["protocolMappers"] = [_mapper(one) for one in wanted["clients"]]
        scopes[change.name] = kc.create("client-scopes", body=body, doing=doing)
        return
    path = ("client-scopes", scopes[change.name])
    whole = kc.request("GET", *path, doing=f"reading client scope {change.name}")
    mappers = whole.pop("protocolMappers", None) or []
    kc.request("PUT", *path, body={**whole, **body}, doing=doing)
    # a PUT of a scope ignores its mappers: they have their own path, and their type is for ever
    right: t.Set[str] = set()
    for one in mappers:
        audience: str = (one.get("config") or {}).get("included.client.audience") or ""
        if audience in wanted["clients"] and scope_of({"protocolMappers": [one]})["clients"]:
            right.add(audience)
        elif audience or one["name"] in wanted["clients"]:
            kc.request(
                "DELETE", *path, "protocol-mappers", "models", one["id"], doing=doing, absent=True
            )
    for client in wanted["clients"]:
        if client not in right:
            kc.create(*path, "protocol-mappers", "models", body=_mapper(client), doing=doing)


def _mapper(client: str) -> Json:
    return {
        "name": client,
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {
            "included.client.audience": client,
            "access.token.claim": "true",
            "introspection.token.claim": "true",
            "id.token.claim": "false",
            "userinfo.token.claim": "false",  # stated: else it depends on the way of making
        },
    }
