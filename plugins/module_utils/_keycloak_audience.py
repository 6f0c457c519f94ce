# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The audience of a client's tokens: a client scope, and the clients whose tokens carry it.

API: ``client-scopes``, ``clients/{id}/default-client-scopes`` of Keycloak's admin API.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils import _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_links import DEFAULT, link
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_names import AUDIENCE
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

OWNER = "oapip.owner"


TOKEN_CLIENTS = "oapip.token_clients"
"""Attribute of the scope: the clients that we gave it to, so that one that is dropped is known."""


@dataclass
class Audience:
    """The scope, the clients that have it as a default scope, and mappers that we do not make.

    The scope has ``clients`` (the audiences), ``owner`` and ``token_clients``. Where it is wanted,
    without ``token_clients`` those it has are kept.
    """

    scope: t.Optional[Json] = None
    carriers: t.Set[str] = field(default_factory=set)
    strange: t.Set[str] = field(default_factory=set)


def scope_name(client_id: str) -> str:
    """Return the name of the client scope that carries the audience."""
    return f"{client_id}{AUDIENCE}"


def is_ours(audience: Audience, marker: str) -> bool:
    """Whether the scope bears our marker; one that bears none is nobody's."""
    return audience.scope is not None and bool(marker) and audience.scope["owner"] == marker


def plan(
    client_id: str, current: Audience, desired: Audience, marker: str, force: bool = False
) -> t.List[Change]:
    """Return the changes; a scope that nobody wants is taken from its carriers first.

    :param force: take over, or remove, a scope that is not ours.
    :raises OapipError: the scope is not ours.
    """
    name = scope_name(client_id)
    have = current.scope
    if not force and have is not None and not is_ours(current, marker):
        _refuse_taking(name, have, current.strange, desired.scope)
    if desired.scope is None:
        gone = [link("delete", DEFAULT, one, name) for one in sorted(current.carriers)]
        return [] if have is None else [*gone, Change("delete", "client_scope", name, have)]
    old: Json = have or {"owner": "", "token_clients": []}
    wanted = {**desired.scope, "owner": desired.scope["owner"] or old["owner"]}
    wanted.setdefault("token_clients", old["token_clients"])
    carriers = {client_id, *wanted["token_clients"]}
    leaving = [link("delete", DEFAULT, one, name) for one in sorted(current.carriers - carriers)]
    joining = [link("create", DEFAULT, one, name) for one in sorted(carriers - current.carriers)]
    if have is None:
        return [Change("create", "client_scope", name, None, wanted), *joining]
    return [*leaving, *_plan.update("client_scope", name, have, wanted), *joining]


def _refuse_taking(
    name: str, have: Json, strange: t.Set[str], wanted: t.Optional[t.Mapping[str, t.Any]]
) -> None:
    """Refuse a scope that is not ours; one that bears no marker is only ever added to."""
    more = set(strange)
    if wanted is not None:
        more |= set(have["clients"]) - set(wanted["clients"])
        if not have["owner"] and not more:
            return
    beside = f", and has {', '.join(sorted(more))}" if more else ""
    raise OapipError(
        f"planning client scope {name}",
        f"client scope {name} is marked as {have['owner'] or 'nobody'}'s{beside}",
        "Give every cluster its own client_id, or take the scope over with force.",
    )


def scope_of(scope: Json) -> Json:
    """Return a client scope in normal form: the audiences of access tokens, owner and carriers."""
    attributes = scope.get("attributes") or {}
    return {
        "clients": sorted(filter(None, map(_audience_in, scope.get("protocolMappers") or []))),
        "owner": attributes.get(OWNER) or "",
        "token_clients": _listed(attributes.get(TOKEN_CLIENTS)),
    }


def strange_in(scope: Json) -> t.Set[str]:
    """Return the names of mappers that are not as we make them."""
    return {
        one["name"]
        for one in scope.get("protocolMappers") or []
        if _audience_in(one) != one["name"]
    }


def note_of(token_clients: t.Iterable[str]) -> str:
    """Return the attribute that tells the clients that we give the scope to."""
    return json.dumps(sorted(token_clients))


def _listed(note: t.Optional[str]) -> t.List[str]:
    try:
        found = json.loads(note or "[]")
    except ValueError:  # written by hand
        return []
    return sorted(map(str, found)) if isinstance(found, list) else []


def _audience_in(mapper: Json) -> str:
    """Return the audience that a mapper puts into access tokens; empty for none."""
    config = mapper.get("config") or {}
    if mapper.get("protocolMapper") != "oidc-audience-mapper":
        return ""
    shown = config.get("access.token.claim") == "true"
    return str(config.get("included.client.audience") or "") if shown else ""


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
            TOKEN_CLIENTS: note_of(wanted["token_clients"]),
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
    body["attributes"] = {**(whole.get("attributes") or {}), **body["attributes"]}
    kc.request("PUT", *path, body={**whole, **body}, doing=doing)
    # a PUT of a scope ignores its mappers: they have their own path, and their type is for ever
    right: t.Set[str] = set()
    for one in mappers:
        audience = _audience_in(one)
        if audience in wanted["clients"]:
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
