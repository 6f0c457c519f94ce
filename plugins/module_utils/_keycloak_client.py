# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""An OIDC client and its audience scope: observe, desire, plan (pure), apply.

A client is always read whole, merged and written whole: a PUT without
``authorizationServicesEnabled`` destroys every resource, policy and permission of the client.

API: ``clients``, ``client-scopes``, ``clients/{id}/default-client-scopes`` of Keycloak's admin API.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils import _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import MASKED, Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

OWNER = "oapip.owner"
DEVICE_GRANT = "oauth2.device.authorization.grant.enabled"
PKCE = "pkce.code.challenge.method"
FIELDS = {
    "name": "name",
    "description": "description",
    "public": "publicClient",
    "root_url": "rootUrl",
    "redirect_uris": "redirectUris",
    "web_origins": "webOrigins",
    "standard_flow": "standardFlowEnabled",
    "direct_access_grants": "directAccessGrantsEnabled",
    "service_accounts": "serviceAccountsEnabled",
    "authorization": "authorizationServicesEnabled",
}
"""Option name by Keycloak's field, without those that need thought."""

SETS = frozenset({"redirect_uris", "web_origins"})
NEW: Json = {
    "public": False,
    "redirect_uris": [],
    "web_origins": [],
    "standard_flow": True,
    "direct_access_grants": False,
    "service_accounts": False,
    "authorization": False,
}
"""What a new client gets where the user says nothing: stated, as Keycloak's defaults are wide."""


@dataclass
class Settled:
    """What is, or what is wanted, in the names of the options and free of ids."""

    client: t.Optional[Json] = None
    secret: t.Optional[str] = field(default=None, repr=False)
    audience: t.Optional[Json] = None
    carriers: t.Optional[t.Set[str]] = None  # clients whose tokens get the audience scope
    scope_known: bool = True  # whether the audience is managed at all


@dataclass
class Seen:
    """What the server showed: the normalised state and the ids behind it."""

    current: Settled
    ids: t.Dict[str, str] = field(default_factory=dict)  # client id -> uuid
    scope_id: str = ""
    assumed: t.List[str] = field(default_factory=list)


def scope_name(client_id: str) -> str:
    """Return the name of the client scope that carries the audience."""
    return f"{client_id}-audience"


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
    return shown


def desire(params: Params) -> Settled:
    """Return what the options want; options that were not given are not in it.

    :raises OapipError: options that contradict each other.
    """
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
    attributes = {str(k): _text(v) for k, v in (params.get("attributes") or {}).items()}
    if params.get("device_grant") is not None:
        attributes[DEVICE_GRANT] = _text(params["device_grant"])
    if params.get("pkce") is not None:
        attributes[PKCE] = "" if params["pkce"] == "none" else str(params["pkce"])
    if params.get("marker"):
        attributes[OWNER] = str(params["marker"])
    if attributes:
        wanted["attributes"] = attributes
    audience, carriers = None, None
    if params.get("audience"):
        audience = {"clients": sorted(set(params["audience"])), "owner": params.get("marker") or ""}
        carriers = {params["client_id"], *(params.get("token_clients") or [])}
    managed = params.get("audience") is not None
    return Settled(wanted, params.get("secret"), audience, carriers, managed)


def _text(value: t.Any) -> str:
    """Return an attribute as Keycloak keeps it: a text, the empty one for none."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def plan(client_id: str, current: Settled, desired: Settled, force: bool = False) -> t.List[Change]:
    """Return the changes from what is to what is wanted.

    :raises OapipError: another owner's client, or a change that destroys authorization data.
    """
    changes = _plan_client(client_id, current, desired, force)
    if desired.scope_known:
        changes += _plan_audience(client_id, current, desired)
    return changes


def _plan_client(client_id: str, current: Settled, desired: Settled, force: bool) -> t.List[Change]:
    wanted = desired.client or {}
    secret = desired.secret
    if current.client is None:
        after = {**NEW, **wanted}
        if not after["public"]:
            after["secret"] = _plan.NEW_SECRET if secret else _plan.GENERATED
        return [Change("create", "client", client_id, None, after, payload=secret)]
    before = {key: current.client.get(key) for key in wanted}
    after = dict(wanted)
    if "attributes" in wanted:
        have = current.client["attributes"]
        before["attributes"] = {k: have[k] for k in wanted["attributes"] if k in have}
        after["attributes"] = {k: v for k, v in wanted["attributes"].items() if v}
        owner, ours = have.get(OWNER), wanted["attributes"].get(OWNER)
        if owner and ours and owner != ours and not force:
            raise OapipError(
                f"planning client {client_id}",
                f"it belongs to another installation ({owner})",
                "Give every cluster its own client_id, or take this one over with force.",
            )
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


def _plan_audience(client_id: str, current: Settled, desired: Settled) -> t.List[Change]:
    name = scope_name(client_id)
    changes: t.List[Change] = []
    if desired.audience is None:
        if current.audience is None:
            return []
        leaving = sorted(current.carriers or ())
        changes = [_carrier("delete", one, name) for one in leaving]
        return [*changes, Change("delete", "client_scope", name, current.audience)]
    if current.audience is None:
        changes.append(Change("create", "client_scope", name, None, desired.audience))
    else:
        changes += _plan.update("client_scope", name, current.audience, desired.audience)
    joining = sorted((desired.carriers or set()) - (current.carriers or set()))
    return changes + [_carrier("create", one, name) for one in joining]


def _carrier(action: str, client_id: str, scope: str) -> Change:
    state = {"client": client_id, "scope": scope}
    before, after = (state, None) if action == "delete" else (None, state)
    return Change(action, "default_client_scope", f"{client_id} {scope}", before, after, client_id)


def plan_absent(
    client_id: str, current: Settled, marker: t.Optional[str], force: bool = False
) -> t.List[Change]:
    """Return what removes the client and its audience scope.

    :raises OapipError: the client is not ours.
    """
    changes: t.List[Change] = []
    if current.audience and (force or current.audience["owner"] == (marker or "")):
        others = Settled(audience=current.audience, carriers=set(current.carriers or ()))
        changes = _plan_audience(client_id, others, Settled())
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
    seen = Seen(Settled(scope_known=False))
    raw = kc.client(client_id)
    if raw is not None:
        seen.ids[client_id] = raw["id"]
        seen.current.client = normalise(raw)
        seen.current.secret = raw.get("secret")
    if params.get("audience") is None and params["state"] == "present":
        return seen
    name = scope_name(client_id)
    scopes = kc.request("GET", "client-scopes", doing="reading the client scopes")
    scope = next((one for one in scopes if one["name"] == name), None)
    seen.current.scope_known = True
    seen.current.carriers = set()
    if scope is not None:
        seen.scope_id = scope["id"]
        seen.current.audience = _audience(scope)
    for one in sorted({client_id, *(params.get("token_clients") or [])}):
        other = raw if one == client_id else kc.client(one)
        if other is None:
            _missing(one, client_id, "token_clients", params, seen, check_mode)
            continue
        seen.ids[one] = other["id"]
        if scope is not None and name in (other.get("defaultClientScopes") or []):
            seen.current.carriers.add(one)
    for one in params.get("audience") or []:
        if one != client_id and one not in seen.ids and kc.client(one) is None:
            _missing(one, client_id, "audience", params, seen, check_mode)
    return seen


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


def _audience(scope: Json) -> Json:
    mappers = scope.get("protocolMappers") or []
    found = sorted(
        one["config"]["included.client.audience"]
        for one in mappers
        if one.get("protocolMapper") == "oidc-audience-mapper"
        and one["config"].get("included.client.audience")
        and one["config"].get("access.token.claim") == "true"
    )
    return {"clients": found, "owner": (scope.get("attributes") or {}).get(OWNER, "")}


def apply(kc: Keycloak, client_id: str, changes: t.Sequence[Change], seen: Seen) -> None:
    """Make the changes, in the order of the plan."""
    for change in changes:
        doing = f"{change.action[:-1]}ing {change.kind} {change.name}"
        if change.kind == "client":
            _apply_client(kc, client_id, change, seen, doing)
        elif change.kind == "client_scope":
            _apply_scope(kc, change, seen, doing)
        else:
            method = "DELETE" if change.action == "delete" else "PUT"
            path = ("clients", seen.ids[change.payload], "default-client-scopes", seen.scope_id)
            kc.request(method, *path, doing=doing, absent=method == "DELETE")


def _apply_client(kc: Keycloak, client_id: str, change: Change, seen: Seen, doing: str) -> None:
    if change.action == "delete":
        kc.request("DELETE", "clients", seen.ids[client_id], doing=doing, absent=True)
        return
    given = change.after or {}
    fresh: Json = {FIELDS[key]: value for key, value in given.items() if key in FIELDS}
    if change.payload and "secret" in given:
        fresh["secret"] = kc.ctx.secret(change.payload)
    if change.action == "create":
        fresh.update(clientId=client_id, protocol="openid-connect", enabled=True)
        fresh.update(implicitFlowEnabled=False, attributes=given.get("attributes") or {})
        if not fresh["publicClient"]:
            fresh["clientAuthenticatorType"] = "client-secret"
        seen.ids[client_id] = kc.create("clients", body=fresh, doing=doing)
        return
    whole = kc.request("GET", "clients", seen.ids[client_id], doing=f"reading client {client_id}")
    if whole.get("secret") == MASKED:
        del whole["secret"]
    # an attribute that was shown before and is wanted no more is removed by the empty text
    gone = set((change.before or {}).get("attributes") or {}) - set(given.get("attributes") or {})
    attributes = {**(whole.get("attributes") or {}), **(given.get("attributes") or {})}
    whole = {**whole, **fresh, "attributes": {**attributes, **dict.fromkeys(gone, "")}}
    kc.request("PUT", "clients", seen.ids[client_id], body=whole, doing=doing)


def _apply_scope(kc: Keycloak, change: Change, seen: Seen, doing: str) -> None:
    if change.action == "delete":
        kc.request("DELETE", "client-scopes", seen.scope_id, doing=doing, absent=True)
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
        seen.scope_id = kc.create("client-scopes", body=body, doing=doing)
        return
    path = ("client-scopes", seen.scope_id)
    whole = kc.request("GET", *path, doing=f"reading client scope {change.name}")
    mappers = whole.pop("protocolMappers", None) or []
    kc.request("PUT", *path, body={**whole, **body}, doing=doing)
    # a PUT of a scope ignores its mappers: they have their own path
    names = {one["name"]: one for one in mappers}
    for one in mappers:
        audience = (one.get("config") or {}).get("included.client.audience")
        if audience and audience not in wanted["clients"]:
            kc.request(
                "DELETE", *path, "protocol-mappers", "models", one["id"], doing=doing, absent=True
            )
    for client in wanted["clients"]:
        have, mapper = names.get(client), _mapper(client)
        if have is None:
            kc.create(*path, "protocol-mappers", "models", body=mapper, doing=doing)
        elif have.get("config", {}).get("access.token.claim") != "true":
            body = {**have, **mapper}
            kc.request(
                "PUT", *path, "protocol-mappers", "models", have["id"], body=body, doing=doing
            )


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
        },
    }
