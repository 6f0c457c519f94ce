# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""An OIDC client with its audience and what hangs on it, on the server: observe, apply.

A client is always read whole, merged and written whole: a PUT without
``authorizationServicesEnabled`` destroys every resource, policy and permission of the client.

API: ``clients`` of Keycloak's admin API.
"""

from __future__ import annotations

import contextlib
import secrets
import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _keycloak_audience,
    _keycloak_links,
    _plan,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import MASKED, Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_audience import (
    Audience,
    scope_name,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_client import (
    CLOSING,
    FIELDS,
    Settled,
    normalise,
    servers_own,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change


@dataclass
class Seen:
    """What the server showed: the normalised state and the ids behind it."""

    current: Settled
    ids: _keycloak_links.Ids = field(default_factory=_keycloak_links.Ids)
    assumed: t.List[str] = field(default_factory=list)


def observe(kc: Keycloak, params: Params, check_mode: bool = False) -> Seen:
    """Read the client, its audience scope and the clients that carry it.

    :raises OapipError: a client named by the options does not exist.
    """
    client_id = params["client_id"]
    seen = Seen(Settled())
    raw = kc.client(client_id)
    if raw is not None:
        seen.ids.clients[client_id] = raw["id"]
        seen.current.client = normalise(raw)
        seen.current.secret = raw.get("secret")
    if params["state"] == "present":
        wanted = _keycloak_links.desire(params)
        seen.current.links = _keycloak_links.observe(kc, client_id, raw, wanted, seen.ids)
    if params.get("audience") is not None or params["state"] == "absent":
        seen.current.audience = _observe_audience(kc, params, raw, seen, check_mode)
    return seen


def _observe_audience(
    kc: Keycloak, params: Params, raw: t.Optional[Json], seen: Seen, check_mode: bool
) -> Audience:
    client_id, audience = params["client_id"], Audience()
    name = scope_name(client_id)
    scopes = kc.request("GET", "client-scopes", doing="reading the client scopes")
    scope = next((one for one in scopes if one["name"] == name), None)
    if scope is not None:
        seen.ids.scopes[name] = scope["id"]
        audience.scope = _keycloak_audience.scope_of(scope)
        audience.strange = _keycloak_audience.strange_in(scope)
    clients = seen.ids.clients
    named = set(params.get("token_clients") or [])
    noted = set((audience.scope or {}).get("token_clients") or [])
    if params.get("token_clients") is None:  # they are kept
        named |= noted
    for one in sorted({client_id, *named, *noted}):
        other = raw if one == client_id else kc.client(one)
        if other is None and one not in named:  # it was dropped, and is gone
            continue
        if other is None:
            _missing(one, client_id, "token_clients", params, seen, check_mode)
            continue
        clients[one] = other["id"]
        if scope is not None and name in (other.get("defaultClientScopes") or []):
            audience.carriers.add(one)
    for one in params.get("audience") or []:
        if one != client_id and one not in clients and kc.client(one) is None:
            _missing(one, client_id, "audience", params, seen, check_mode)
    return audience


def _missing(
    one: str, client_id: str, option: str, params: Params, seen: Seen, check_mode: bool
) -> None:
    if one == client_id or params["state"] == "absent":
        return
    if not check_mode:
        raise OapipError(
            f"planning client {client_id}",
            f"{option} names the client {one}, which realm {params['realm']} does not have",
            "Create it first, or correct the name.",
        )
    if f"client {one}" not in seen.assumed:
        seen.assumed.append(f"client {one}")


def apply(
    kc: Keycloak, client_id: str, changes: t.Sequence[Change], seen: Seen, exact: bool = False
) -> None:
    """Make the changes, in the order of the plan.

    :param exact: whether a new client keeps no attribute that was not given.
    """
    roles = [one.payload[1] for one in changes if one.kind == _keycloak_links.ROLE]
    if roles and len(changes) > 1:
        _keycloak_links.check_may_give(kc, roles, seen.ids)
    for number, change in enumerate(changes):
        doing = f"{change.action[:-1]}ing {change.kind} {change.name}"
        try:
            if change.kind == "client":
                _apply_client(kc, client_id, change, seen.ids.clients, doing, exact)
            elif change.kind == "client_scope":
                _keycloak_audience.apply(kc, change, seen.ids.scopes, doing)
            else:
                _keycloak_links.apply(kc, change, seen.ids, doing)
        except OapipError as error:
            if number:
                done = ", ".join(f"{one.action} {one.kind} {one.name}" for one in changes[:number])
                error.hint = f"{error.hint} Done before: {done}. Another run goes on.".strip()
            raise


def _apply_client(
    kc: Keycloak,
    client_id: str,
    change: Change,
    clients: t.Dict[str, str],
    doing: str,
    exact: bool,
) -> None:
    if change.action == "delete":
        kc.request("DELETE", "clients", clients[client_id], doing=doing, absent=True)
        return
    given = change.after or {}
    fresh: Json = {FIELDS[key]: value for key, value in given.items() if key in FIELDS}
    if change.payload and "secret" in given:
        fresh["secret"] = kc.ctx.secret(change.payload)
    elif change.action == "update" and given.get("secret") == _plan.GENERATED:
        # made here, so that the secret and the note of its rotation are written in one request
        fresh["secret"] = kc.ctx.secret(secrets.token_urlsafe(32))
    if change.action == "create":
        clients[client_id] = _create(kc, client_id, fresh, given, doing)
        if exact or fresh.get("authorizationServicesEnabled"):
            _tidy(kc, clients[client_id], given if exact else None, doing)
    else:
        _update(kc, clients[client_id], client_id, fresh, change, doing)


def _create(kc: Keycloak, client_id: str, fresh: Json, given: t.Any, doing: str) -> str:
    opens = bool(fresh.get("authorizationServicesEnabled"))
    fresh.update(clientId=client_id, protocol="openid-connect")
    fresh["attributes"] = {
        **(given.get("attributes") or {}),
        **({CLOSING: "true"} if opens else {}),
    }
    fresh["protocolMappers"] = _merged_mappers([], given.get("mappers") or {}, ())
    if not fresh["publicClient"]:
        fresh["clientAuthenticatorType"] = "client-secret"
    client = kc.create("clients", body=fresh, doing=doing)
    if opens:
        try:
            _close(kc, client, client_id)
        except OapipError as error:
            if error.status not in (409, 500):  # these are another run's doing, which has it now
                with contextlib.suppress(OapipError):
                    kc.request("DELETE", "clients", client, doing=doing)
            raise
    return client


def _update(
    kc: Keycloak, client: str, client_id: str, fresh: Json, change: Change, doing: str
) -> None:
    given, old = change.after or {}, change.before or {}
    before = _whole(kc, client, doing)
    have: Json = before.get("attributes") or {}
    # an attribute that was shown before and is wanted no more is removed by the empty text
    gone = set(old.get("attributes") or {}) - set(given.get("attributes") or {})
    attributes = {**have, **(given.get("attributes") or {}), **dict.fromkeys(gone, "")}
    was_on = bool(before.get("authorizationServicesEnabled"))
    opens = not was_on and bool(fresh.get("authorizationServicesEnabled"))
    if opens:
        attributes[CLOSING] = "true"
    elif was_on and CLOSING in gone:
        _close(kc, client, client_id)
    whole = {**before, **fresh, "attributes": attributes}
    if "mappers" in given:
        removed = set(old["mappers"]) - set(given["mappers"])
        mappers = whole.get("protocolMappers") or []
        whole["protocolMappers"] = _merged_mappers(mappers, given["mappers"], removed)
    kc.request("PUT", "clients", client, body=whole, doing=doing)
    if not opens:
        return
    try:
        _close(kc, client, client_id)
    except OapipError as error:
        if error.status not in (409, 500):  # it had nothing to lose: back to what it was
            with contextlib.suppress(OapipError):
                back = {**before, "attributes": {**have, CLOSING: ""}}
                kc.request("PUT", "clients", client, body=back, doing=doing)
        raise
    _tidy(kc, client, None, doing)


def _whole(kc: Keycloak, client: str, doing: str) -> Json:
    """Return what a PUT of the client can be made of: a masked secret must not be written back."""
    whole: Json = kc.request("GET", "clients", client, doing=doing)
    if whole.get("secret") == MASKED:
        del whole["secret"]
    return whole


def _tidy(kc: Keycloak, client: str, exact: t.Optional[t.Mapping[str, t.Any]], doing: str) -> None:
    """Remove the note that the client has to be closed, once it is.

    :param exact: the new client as it was given, where the attributes that Keycloak puts there on
        its own account are to go as well.
    """
    whole = _whole(kc, client, doing)
    have = whole.get("attributes") or {}
    gone = {CLOSING} & set(have)
    if exact is not None:
        gone |= set(have) - set(exact.get("attributes") or {}) - servers_own(have)
    if gone:
        whole["attributes"] = {**have, **dict.fromkeys(gone, "")}
        kc.request("PUT", "clients", client, body=whole, doing=doing)


def _close(kc: Keycloak, client: str, client_id: str) -> None:
    """Delete what Keycloak up to 26.4 puts into a client whose authorization it turns on.

    That is every path, open to every user.
    """
    authz = ("clients", client, "authz", "resource-server")
    doing = f"closing client {client_id}"
    for kind in ("permission", "resource", "policy"):
        name = f"Default {kind.capitalize()}"
        found = kc.request("GET", *authz, kind, query={"name": name}, doing=doing)
        for one in found or ():
            if one["name"] == name:
                path = (*authz, kind, one.get("_id") or one["id"])
                kc.request("DELETE", *path, doing=doing, absent=True)


def _merged_mappers(
    have: t.Sequence[Json], wanted: t.Mapping[str, Json], removed: t.Container[str]
) -> t.List[Json]:
    """Return all mappers of a client, as a PUT replaces the whole set."""
    named = {one["name"]: one for one in have if one["name"] not in removed}
    for name, one in wanted.items():
        old = named.get(name, {})
        config = {**(old.get("config") or {}), **one["config"]}
        fresh = {"name": name, "protocol": "openid-connect", "protocolMapper": one["type"]}
        named[name] = {**old, **fresh, "config": config}
    return list(named.values())
