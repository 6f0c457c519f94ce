# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""An OIDC client with its audience and what hangs on it: observe, desire, plan (pure), apply.

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
    _keycloak_names,
    _plan,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import MASKED, Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_audience import (
    OWNER,
    Audience,
    scope_name,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

ROTATION = "oapip.secret.rotation"
DEVICE_GRANT = "oauth2.device.authorization.grant.enabled"
PKCE = "pkce.code.challenge.method"
FIELDS = {
    "name": "name",
    "description": "description",
    "enabled": "enabled",
    "public": "publicClient",
    "root_url": "rootUrl",
    "redirect_uris": "redirectUris",
    "web_origins": "webOrigins",
    "standard_flow": "standardFlowEnabled",
    "implicit_flow": "implicitFlowEnabled",
    "direct_access_grants": "directAccessGrantsEnabled",
    "service_accounts": "serviceAccountsEnabled",
    "authorization": "authorizationServicesEnabled",
}
"""Option name by Keycloak's field, without those that need thought."""

SETS = frozenset({"redirect_uris", "web_origins"})
NEW: Json = {
    "enabled": True,
    "public": False,
    "redirect_uris": [],
    "web_origins": [],
    "standard_flow": True,
    "implicit_flow": False,
    "direct_access_grants": False,
    "service_accounts": False,
    "authorization": False,
}
"""What a new client gets where the user says nothing: stated, as Keycloak's defaults are wide."""

SERVERS_OWN = frozenset({OWNER, ROTATION, DEVICE_GRANT, PKCE, "realm_client"})
"""Attributes that `attributes_mode: exact` leaves alone, with all that begin as the next one."""
SECRET_TIMES = "client.secret."


@dataclass
class Settled:
    """What is, or what is wanted, in the names of the options and free of ids."""

    client: t.Optional[Json] = None
    secret: t.Optional[str] = field(default=None, repr=False)
    audience: t.Optional[Audience] = None  # None where it is not managed
    links: _keycloak_links.Links = field(default_factory=dict)
    exact: bool = False  # whether attributes that are not named are removed


@dataclass
class Seen:
    """What the server showed: the normalised state and the ids behind it."""

    current: Settled
    ids: _keycloak_links.Ids = field(default_factory=_keycloak_links.Ids)
    assumed: t.List[str] = field(default_factory=list)


# ---------------------------------------------------------------------- pure


def normalise(raw: Json) -> Json:
    """Return a representation in the names of the options: sets sorted, texts never null."""
    shown: Json = {}
    for option, key in FIELDS.items():
        value = raw.get(key)
        if option in SETS:
            shown[option] = sorted(value or [])
        elif isinstance(NEW.get(option), bool):
            shown[option] = bool(value)
        else:
            shown[option] = value or ""
    shown["attributes"] = {k: v for k, v in (raw.get("attributes") or {}).items() if v}
    shown["mappers"] = {
        one["name"]: {"type": one["protocolMapper"], "config": dict(one.get("config") or {})}
        for one in raw.get("protocolMappers") or []
    }
    return shown


def desire(params: Params) -> Settled:
    """Return what the options want; options that were not given are not in it.

    :raises OapipError: options that contradict each other, or that Keycloak cannot hold.
    """
    faults = _keycloak_names.client_faults(params["client_id"], params)
    if faults and params.get("state") != "absent":
        raise OapipError(
            f"planning client {params['client_id']}",
            "; ".join(faults),
            "Choose others; nothing was written.",
        )
    wanted: Json = {}
    for option in FIELDS:
        value = params.get(option)
        if value is not None:
            wanted[option] = sorted(set(value)) if option in SETS else value
    if wanted.get("authorization"):
        if wanted.get("public") or wanted.get("service_accounts") is False:
            raise OapipError(
                f"planning client {params['client_id']}",
                "authorization needs a confidential client with a service account",
                "Leave out public and service_accounts, or set authorization to false.",
            )
        wanted.update(public=False, service_accounts=True)
    attributes = _attributes(params)
    exact = params.get("attributes_mode") == "exact" and params.get("attributes") is not None
    if attributes or exact:
        wanted["attributes"] = attributes
    if params.get("mappers"):
        wanted["mappers"] = {one["name"]: _mapper(one) for one in params["mappers"]}
    links = _keycloak_links.desire(params)
    return Settled(wanted, params.get("secret"), _audience(params), links, exact)


def _attributes(params: Params) -> t.Dict[str, str]:
    found = {str(k): _text(v) for k, v in (params.get("attributes") or {}).items()}
    if params.get("device_grant") is not None:
        found[DEVICE_GRANT] = _text(params["device_grant"])
    if params.get("pkce") is not None:
        found[PKCE] = "" if params["pkce"] == "none" else str(params["pkce"])
    for option, key in (("marker", OWNER), ("secret_rotation_id", ROTATION)):
        if params.get(option):
            found[key] = str(params[option])
    return found


def _audience(params: Params) -> t.Optional[Audience]:
    named = params.get("audience")
    if not named:
        return None if named is None else Audience()
    scope = {"clients": sorted(set(named)), "owner": params.get("marker") or ""}
    return Audience(scope, {params["client_id"], *(params.get("token_clients") or [])})


def _mapper(given: Json) -> t.Optional[Json]:
    """Return a protocol mapper in normal form, None where it is to be absent."""
    if given.get("state") == "absent":
        return None
    config = {str(key): _text(value) for key, value in (given.get("config") or {}).items()}
    return {"type": given["type"], "config": config}


def _text(value: t.Any) -> str:
    """Return an attribute as Keycloak keeps it: a text, the empty one for none."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def plan(client_id: str, current: Settled, desired: Settled, force: bool = False) -> t.List[Change]:
    """Return the changes from what is to what is wanted.

    :raises OapipError: another owner's client, a change that destroys authorization data, or roles
        for a service account that there is not.
    """
    client = {**NEW, **(current.client or {}), **(desired.client or {})}
    if desired.links.get(_keycloak_links.ROLE) and not client["service_accounts"]:
        raise OapipError(
            f"planning client {client_id}",
            "service_account_roles needs a service account",
            "Set service_accounts to true, or leave the roles out.",
        )
    changes = _plan_client(client_id, current, desired, force)
    audience = desired.audience
    if audience is not None:
        changes += _keycloak_audience.plan(client_id, current.audience or Audience(), audience)
    kept = {scope_name(client_id), _keycloak_links.BY_SERVER}
    return changes + _keycloak_links.plan(client_id, current.links, desired.links, kept)


def _plan_client(client_id: str, current: Settled, desired: Settled, force: bool) -> t.List[Change]:
    wanted = desired.client or {}
    secret = desired.secret
    if current.client is None:
        after = {**NEW, **wanted}
        if "mappers" in after:
            after["mappers"] = {k: v for k, v in after["mappers"].items() if v}
        if not after["public"]:
            after["secret"] = _plan.NEW_SECRET if secret else _plan.GENERATED
        return [Change("create", "client", client_id, None, after, payload=secret)]
    before = {key: current.client.get(key) for key in wanted}
    after = dict(wanted)
    if "attributes" in wanted:
        have, named = current.client["attributes"], wanted["attributes"]
        shown = set(have) if desired.exact else set(named)
        shown -= {k for k in _servers_own(have) if k not in named}
        before["attributes"] = {k: have[k] for k in shown if k in have}
        after["attributes"] = {k: v for k, v in named.items() if v}
        _refuse_other_owner(client_id, have.get(OWNER), named.get(OWNER), force)
        if named.get(ROTATION) and have.get(ROTATION) != named[ROTATION]:
            before["secret"], after["secret"] = _plan.SECRET, _plan.GENERATED
    if "mappers" in wanted:
        before["mappers"], after["mappers"] = _mappers(current.client["mappers"], wanted["mappers"])
    if secret and current.secret not in (secret, MASKED):
        before["secret"], after["secret"] = _plan.SECRET, _plan.NEW_SECRET
    destroys = wanted.get("authorization") is False or wanted.get("public") is True
    if destroys and current.client["authorization"] and not force:
        raise OapipError(
            f"planning client {client_id}",
            "turning authorization off destroys its resources, policies and permissions",
            "Set force to true if that is what you want.",
        )
    return _plan.update("client", client_id, before, after, payload=secret)


def _servers_own(attributes: t.Iterable[str]) -> t.Set[str]:
    return {k for k in attributes if k in SERVERS_OWN or k.startswith(SECRET_TIMES)}


def _refuse_other_owner(
    client_id: str, owner: t.Optional[str], ours: t.Optional[str], force: bool
) -> None:
    if owner and ours and owner != ours and not force:
        raise OapipError(
            f"planning client {client_id}",
            f"it belongs to another installation ({owner})",
            "Give every cluster its own client_id, or take this one over with force.",
        )


def _mappers(have: Json, wanted: Json) -> t.Tuple[Json, Json]:
    """Return the named mappers as they are and as they are wanted, cut to what was given."""
    before: Json = {}
    for name, one in wanted.items():
        if name in have:
            config = have[name]["config"]
            cut = config if one is None else _plan.pick(config, one["config"])
            before[name] = {"type": have[name]["type"], "config": cut}
    return before, {name: one for name, one in wanted.items() if one is not None}


def plan_absent(
    client_id: str, current: Settled, marker: t.Optional[str], force: bool = False
) -> t.List[Change]:
    """Return what removes the client and its audience scope.

    :raises OapipError: the client is not ours.
    """
    changes: t.List[Change] = []
    audience = current.audience or Audience()
    if audience.scope and (force or (marker and audience.scope["owner"] == marker)):
        changes = _keycloak_audience.plan(client_id, audience, Audience())
    if current.client is None:
        return changes
    owner = current.client["attributes"].get(OWNER, "")
    if not force and (not marker or owner != marker):
        raise OapipError(
            f"removing client {client_id}",
            f"it is not marked as ours but as {owner or 'nobody'}'s",
            "Give the marker it was made with, or set force to true.",
        )
    shown = {key: value for key, value in current.client.items() if value not in ("", [], {})}
    return [*changes, Change("delete", "client", client_id, shown)]


def merged(current: t.Optional[Json], made: t.Mapping[str, t.Any]) -> Json:
    """Return the client as it is after a change, without its secret."""
    whole = {**(current or {}), **{k: v for k, v in made.items() if k != "secret"}}
    attributes = {**(current or {}).get("attributes", {}), **(made.get("attributes") or {})}
    return {**whole, "attributes": {k: v for k, v in attributes.items() if "secret" not in k}}


# ---------------------------------------------------------------------- the server


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
    clients = seen.ids.clients
    for one in sorted({client_id, *(params.get("token_clients") or [])}):
        other = raw if one == client_id else kc.client(one)
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
    if len(changes) > 1 and any(one.kind == _keycloak_links.ROLE for one in changes):
        kc.check_may_manage_users()
    for change in changes:
        doing = f"{change.action[:-1]}ing {change.kind} {change.name}"
        if change.kind == "client":
            _apply_client(kc, client_id, change, seen.ids.clients, doing)
            if exact and change.action == "create":
                _keep_given(kc, seen.ids.clients[client_id], change, doing)
        elif change.kind == "client_scope":
            _keycloak_audience.apply(kc, change, seen.ids.scopes, doing)
        else:
            _keycloak_links.apply(kc, change, seen.ids, doing)


def _apply_client(
    kc: Keycloak, client_id: str, change: Change, clients: t.Dict[str, str], doing: str
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
        fresh.update(clientId=client_id, protocol="openid-connect")
        fresh["attributes"] = given.get("attributes") or {}
        fresh["protocolMappers"] = _merged_mappers([], given.get("mappers") or {}, ())
        if not fresh["publicClient"]:
            fresh["clientAuthenticatorType"] = "client-secret"
        clients[client_id] = kc.create("clients", body=fresh, doing=doing)
        if fresh.get("authorizationServicesEnabled"):
            try:
                _close(kc, clients[client_id], client_id)
            except OapipError:  # on 24.0 who manages clients may make such a one, not close it
                with contextlib.suppress(OapipError):
                    kc.request("DELETE", "clients", clients[client_id], doing=doing)
                raise
        return
    whole = _whole(kc, clients[client_id], doing)
    # an attribute that was shown before and is wanted no more is removed by the empty text
    gone = set((change.before or {}).get("attributes") or {}) - set(given.get("attributes") or {})
    attributes = {**(whole.get("attributes") or {}), **(given.get("attributes") or {})}
    whole = {**whole, **fresh, "attributes": {**attributes, **dict.fromkeys(gone, "")}}
    if "mappers" in given:
        removed = set((change.before or {})["mappers"]) - set(given["mappers"])
        have = whole.get("protocolMappers") or []
        whole["protocolMappers"] = _merged_mappers(have, given["mappers"], removed)
    kc.request("PUT", "clients", clients[client_id], body=whole, doing=doing)


def _whole(kc: Keycloak, client: str, doing: str) -> Json:
    """Return what a PUT of the client can be made of: a masked secret must not be written back."""
    whole: Json = kc.request("GET", "clients", client, doing=doing)
    if whole.get("secret") == MASKED:
        del whole["secret"]
    return whole


def _keep_given(kc: Keycloak, client: str, change: Change, doing: str) -> None:
    """Remove the attributes that Keycloak puts into a new client on its own account."""
    whole = _whole(kc, client, doing)
    have, given = whole.get("attributes") or {}, (change.after or {}).get("attributes") or {}
    gone = set(have) - set(given) - _servers_own(have)
    if gone:
        whole["attributes"] = {**have, **dict.fromkeys(gone, "")}
        kc.request("PUT", "clients", client, body=whole, doing=doing)


def _close(kc: Keycloak, client: str, client_id: str) -> None:
    """Delete what Keycloak up to 26.4 puts into a new client: every path, open to every user."""
    authz = ("clients", client, "authz", "resource-server")
    doing = f"closing client {client_id}"
    for kind in ("permission", "resource", "policy"):
        name = f"Default {kind.capitalize()}"
        found = kc.request("GET", *authz, kind, query={"name": name}, doing=doing)
        if not found:
            return
        for one in found:
            if one["name"] == name:
                kc.request("DELETE", *authz, kind, one.get("_id") or one["id"], doing=doing)


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
