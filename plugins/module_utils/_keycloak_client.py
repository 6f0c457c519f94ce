# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""An OIDC client with its audience and what hangs on it, as data: normalise, desire, plan. Pure.

What reads and writes it is in ``_keycloak_client_calls``.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _keycloak_audience,
    _keycloak_links,
    _keycloak_names,
    _plan,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import MASKED, Json
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_audience import (
    OWNER,
    Audience,
    is_ours,
    scope_name,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

ROTATION = "oapip.secret.rotation"
CLOSING = "oapip.closing"
"""Attribute of a client from the write that turns authorization on until what Keycloak up to 26.4
puts there is deleted: whoever was killed between the two is followed by one who does it."""
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

SERVERS_OWN = frozenset({OWNER, ROTATION, CLOSING, DEVICE_GRANT, PKCE, "realm_client"})
"""Attributes that `attributes_mode: exact` leaves alone, with all that begin as the next one."""
SECRET_TIMES = "client.secret."
SECRET_KEYS = re.compile(r"secret|password|private|jwt\.credential", re.IGNORECASE)
"""Attributes and settings of mappers whose values are not shown; those of Keycloak's among them
are ``client.secret.rotated``, which it shows to who may view the client, and ``jwt.credential.*``.
"""
OPEN_KEYS = re.compile(rf"{re.escape(ROTATION)}|.*\.time")
"""Names that look like secrets and are none."""


@dataclass
class Settled:
    """What is, or what is wanted, in the names of the options and free of ids."""

    client: t.Optional[Json] = None
    secret: t.Optional[str] = field(default=None, repr=False)
    audience: t.Optional[Audience] = None  # None where it is not managed
    links: _keycloak_links.Links = field(default_factory=dict)
    exact: bool = False  # whether attributes that are not named are removed
    marker: str = ""  # who wants it


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

    :raises OapipError: options that Keycloak cannot hold.
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
        wanted = {"public": False, "service_accounts": True, **wanted}
    attributes = _attributes(params)
    exact = params.get("attributes_mode") == "exact" and params.get("attributes") is not None
    if attributes or exact:
        wanted["attributes"] = attributes
    if params.get("mappers"):
        wanted["mappers"] = {one["name"]: _mapper(one) for one in params["mappers"]}
    links = _keycloak_links.desire(params)
    audience, marker = _audience(params), params.get("marker") or ""
    return Settled(wanted, params.get("secret"), audience, links, exact, marker)


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
    scope: Json = {"clients": sorted(set(named)), "owner": params.get("marker") or ""}
    if params.get("token_clients") is not None:
        scope["token_clients"] = sorted(set(params["token_clients"]) - {params["client_id"]})
    return Audience(scope)


def _mapper(given: Json) -> t.Optional[Json]:
    """Return a protocol mapper in normal form, None where it is to be absent."""
    if given.get("state") == "absent":
        return None
    config = {str(key): _text(value) for key, value in (given.get("config") or {}).items()}
    return {"type": given["type"], "config": config}


def _text(value: t.Any) -> str:
    """Return an attribute as Keycloak keeps it: a text, the empty one for none, ``a##b`` a list."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "##".join(map(_text, value))
    return "" if value is None else str(value)


def plan(
    client_id: str,
    current: Settled,
    desired: Settled,
    force: bool = False,
    destroy: bool = False,
) -> t.List[Change]:
    """Return the changes from what is to what is wanted.

    :param force: take over what belongs to another installation.
    :param destroy: turn authorization off, with all that it has.
    :raises OapipError: what is not ours, a change that destroys authorization data, or a client
        that Keycloak cannot make.
    """
    _refuse_contradictions(client_id, current.client or {}, desired, destroy)
    if current.client is not None and not force:
        _refuse_other_owner(client_id, current.client["attributes"].get(OWNER), desired.marker)
    changes = _plan_client(client_id, current, desired)
    if desired.audience is not None:
        audience = current.audience or Audience()
        changes += _keycloak_audience.plan(
            client_id, audience, desired.audience, desired.marker, force
        )
    kept = {scope_name(client_id), _keycloak_links.BY_SERVER}
    return changes + _keycloak_links.plan(client_id, current.links, desired.links, kept)


def _refuse_contradictions(client_id: str, current: Json, desired: Settled, destroy: bool) -> None:
    wanted = desired.client or {}
    client = {**NEW, **current, **wanted}
    fault = ("", "")
    if current.get("authorization") and not client["authorization"] and not destroy:
        fault = (
            "turning authorization off destroys its resources, policies and permissions",
            "Set destroy_authorization to true if that is what you want.",
        )
    elif client["authorization"] and (
        wanted.get("public") or wanted.get("service_accounts") is False
    ):
        fault = (
            "authorization needs a confidential client with a service account",
            "Leave out public and service_accounts, or set authorization to false.",
        )
    elif client["public"] and (desired.secret or wanted.get("attributes", {}).get(ROTATION)):
        fault = ("a public client has no secret", "Leave the secret out, or set public to false.")
    elif desired.links.get(_keycloak_links.ROLE) and not client["service_accounts"]:
        fault = (
            "service_account_roles needs a service account",
            "Set service_accounts to true, or leave the roles out.",
        )
    if fault[0]:
        raise OapipError(f"planning client {client_id}", *fault)


def _plan_client(client_id: str, current: Settled, desired: Settled) -> t.List[Change]:
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
    have, named = current.client["attributes"], wanted.get("attributes", {})
    if "attributes" in wanted:
        shown = set(have) if desired.exact else set(named)
        shown -= {k for k in servers_own(have) if k not in named}
        before["attributes"] = {k: have[k] for k in shown if k in have}
        after["attributes"] = {k: v for k, v in named.items() if v}
    if CLOSING in have:
        before["attributes"] = {**(before.get("attributes") or {}), CLOSING: have[CLOSING]}
        after.setdefault("attributes", {})
    if "mappers" in wanted:
        before["mappers"], after["mappers"] = _mappers(current.client["mappers"], wanted["mappers"])
    made = _new_secret(current, desired)
    if made:
        after["secret"] = made
        if not current.client["public"]:
            before["secret"] = _plan.SECRET
    return _plan.update("client", client_id, before, after, payload=secret)


def _new_secret(current: Settled, desired: Settled) -> str:
    """Return what stands for a new secret, empty where the one that is there is kept."""
    have, wanted = current.client or {}, desired.client or {}
    if wanted.get("public", have["public"]):
        return ""
    rotation = wanted.get("attributes", {}).get(ROTATION)
    if rotation and have["attributes"].get(ROTATION) != rotation:
        return _plan.GENERATED
    if desired.secret:
        # one that is shown masked is unknown: who may not see it may not write it either
        return "" if current.secret in (desired.secret, MASKED) else _plan.NEW_SECRET
    return _plan.GENERATED if have["public"] else ""


def servers_own(attributes: t.Iterable[str]) -> t.Set[str]:
    """Return the attributes that `attributes_mode: exact` leaves alone."""
    return {k for k in attributes if k in SERVERS_OWN or k.startswith(SECRET_TIMES)}


def _refuse_other_owner(client_id: str, owner: t.Optional[str], ours: str) -> None:
    if owner and owner != ours:
        raise OapipError(
            f"planning client {client_id}",
            f"it belongs to another installation ({owner})",
            "Give every cluster its own client_id and its marker, or take this one over with "
            "force.",
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
    """Return what removes the client and its audience scope, which stays where it is not ours.

    :raises OapipError: the client is not ours.
    """
    changes: t.List[Change] = []
    audience = current.audience or Audience()
    if force or is_ours(audience, marker or ""):
        changes = _keycloak_audience.plan(client_id, audience, Audience(), marker or "", force)
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


def planned(current: t.Optional[Json], changes: t.Sequence[Change]) -> Json:
    """Return the client as the changes leave it, but for what Keycloak adds."""
    have = current or normalise({})
    change = next((one for one in changes if one.kind == "client"), None)
    if change is None:
        return have
    before, after = change.before or {}, change.after or {}
    whole = {**have, **{key: value for key, value in after.items() if key != "secret"}}
    for key in ("attributes", "mappers"):
        gone = set(before.get(key) or {})
        whole[key] = {k: v for k, v in have[key].items() if k not in gone}
    whole["attributes"].update({k: v for k, v in (after.get("attributes") or {}).items() if v})
    for name, one in (after.get("mappers") or {}).items():
        config = have["mappers"].get(name, {}).get("config") or {}
        whole["mappers"][name] = {**one, "config": {**config, **one["config"]}}
    return whole


# ---------------------------------------------------------------------- secrets


def redacted(state: t.Mapping[str, t.Any], old: t.Optional[t.Mapping[str, t.Any]] = None) -> Json:
    """Return a client without the secrets among its attributes and the settings of its mappers.

    :param old: what it was before, so that a secret that differs is told from one that does not.
    """
    shown = dict(state)
    for key in ("attributes", "mappers"):
        if shown.get(key):
            shown[key] = _redacted(shown[key], None if old is None else old.get(key) or {})
    return shown


def _redacted(state: t.Mapping[str, t.Any], old: t.Optional[t.Mapping[str, t.Any]]) -> Json:
    shown = dict(state)
    for key, value in state.items():
        was = None if old is None else old.get(key)
        if isinstance(value, dict):
            shown[key] = _redacted(value, was if old is None or isinstance(was, dict) else {})
        elif value and SECRET_KEYS.search(key) and not OPEN_KEYS.fullmatch(key):
            shown[key] = _plan.SECRET if old is None or was == value else _plan.NEW_SECRET
    return shown


def shown(changes: t.Sequence[Change]) -> t.List[Change]:
    """Return the changes as they are shown: what differs is the same, secrets are hidden."""
    return [
        replace(
            one,
            before=None if one.before is None else redacted(one.before),
            after=None if one.after is None else redacted(one.after, one.before or {}),
        )
        if one.kind == "client"
        else one
        for one in changes
    ]
