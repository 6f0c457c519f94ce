# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What hangs on a client by name, each kind with an endpoint of its own.

Default and optional client scopes, which a PUT of the client ignores, and the roles of its service
account. API: ``clients/{id}/default-client-scopes``, ``clients/{id}/optional-client-scopes`` and
``users/{id}/role-mappings`` of Keycloak's admin API.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

DEFAULT = "default_client_scope"
OPTIONAL = "optional_client_scope"
ROLE = "service_account_role"
OPTIONS = {"default_scopes": DEFAULT, "optional_scopes": OPTIONAL, "service_account_roles": ROLE}
ENDPOINTS = {DEFAULT: "default-client-scopes", OPTIONAL: "optional-client-scopes"}
BY_SERVER = "service_account"
"""The scope that Keycloak gives by itself to a client with a service account."""

Links = t.Dict[str, t.Set[str]]


@dataclass
class Ids:
    """The ids behind the names that a plan may touch."""

    clients: t.Dict[str, str] = field(default_factory=dict)
    scopes: t.Dict[str, str] = field(default_factory=dict)
    roles: t.Dict[str, Json] = field(default_factory=dict)
    account: str = ""  # the user of the service account, where there is one and roles are managed


def link(action: str, kind: str, client_id: str, name: str) -> Change:
    """Return the change that ties a name to a client, or unties it."""
    state = {"client": client_id, "name": name}
    before, after = (state, None) if action == "delete" else (None, state)
    return Change(action, kind, f"{client_id} {name}", before, after, (client_id, name))


# ---------------------------------------------------------------------- pure


def desire(params: Params) -> Links:
    """Return the names that the options want, by kind; kinds that were not given are left alone.

    :raises OapipError: a scope that is to be default and optional at once.
    """
    wanted = {
        kind: set(params[option])
        for option, kind in OPTIONS.items()
        if params.get(option) is not None
    }
    both = sorted(wanted.get(DEFAULT, set()) & wanted.get(OPTIONAL, set()))
    if both:
        raise OapipError(
            f"planning client {params['client_id']}",
            f"{', '.join(both)} cannot be a default and an optional scope at once",
            "Name each scope in one of default_scopes and optional_scopes.",
        )
    return wanted


def plan(client_id: str, current: Links, desired: Links, kept: t.Container[str]) -> t.List[Change]:
    """Return the changes; what is untied comes first, as a scope cannot be tied twice.

    Scopes are exact sets, but for those in ``kept``; roles are only added.
    """
    leaving: t.List[Change] = []
    joining: t.List[Change] = []
    for kind in (DEFAULT, OPTIONAL):
        other = OPTIONAL if kind == DEFAULT else DEFAULT
        have, want = current.get(kind, set()), desired.get(kind)
        gone = {one for one in have if want is not None and one not in want and one not in kept}
        gone |= have & desired.get(other, set())
        leaving += [link("delete", kind, client_id, one) for one in sorted(gone)]
        joining += [link("create", kind, client_id, one) for one in sorted((want or set()) - have)]
    roles = sorted(desired.get(ROLE, set()) - current.get(ROLE, set()))
    return leaving + joining + [link("create", ROLE, client_id, one) for one in roles]


# ---------------------------------------------------------------------- the server


def observe(kc: Keycloak, client_id: str, raw: t.Optional[Json], desired: Links, ids: Ids) -> Links:
    """Return what is tied to the client now; a client that is not there yet has the realm's own.

    :raises OapipError: a scope or role that the realm does not have.
    """
    current: Links = {}
    if DEFAULT in desired or OPTIONAL in desired:
        current.update(_observe_scopes(kc, raw))
        _know_scopes(kc, client_id, desired, ids)
    if ROLE in desired:
        current[ROLE] = _observe_roles(kc, raw, ids)
        _know_roles(kc, client_id, desired[ROLE] - current[ROLE], ids)
    return current


def _observe_scopes(kc: Keycloak, raw: t.Optional[Json]) -> Links:
    if raw is not None:
        return {
            DEFAULT: set(raw.get("defaultClientScopes") or []),
            OPTIONAL: set(raw.get("optionalClientScopes") or []),
        }
    return {
        kind: {
            one["name"]
            for one in kc.request("GET", f"default-{path}", doing="reading the realm's own scopes")
            if one.get("protocol", "openid-connect") == "openid-connect"
        }
        for kind, path in ENDPOINTS.items()
    }


def _know_scopes(kc: Keycloak, client_id: str, desired: Links, ids: Ids) -> None:
    listed = kc.request("GET", "client-scopes", doing="reading the client scopes")
    ids.scopes.update({one["name"]: one["id"] for one in listed})
    wanted = desired.get(DEFAULT, set()) | desired.get(OPTIONAL, set())
    strange = sorted(wanted - set(ids.scopes))
    if strange:
        raise OapipError(
            f"planning client {client_id}",
            f"realm {kc.realm} has no client scope {', '.join(strange)}; it has "
            + ", ".join(sorted(ids.scopes)),
            "Create it first, or correct the name; nothing was written.",
        )


def _observe_roles(kc: Keycloak, raw: t.Optional[Json], ids: Ids) -> t.Set[str]:
    if raw is None or not raw.get("serviceAccountsEnabled"):
        return set()
    doing = f"reading the roles of the service account of client {raw['clientId']}"
    user = kc.request("GET", "clients", raw["id"], "service-account-user", doing=doing)
    ids.account = user["id"]
    mapped = kc.request("GET", "users", ids.account, "role-mappings", doing=doing) or {}
    found = {one["name"] for one in mapped.get("realmMappings") or []}
    for client, one in (mapped.get("clientMappings") or {}).items():
        found |= {f"{client}/{role['name']}" for role in one["mappings"]}
    return found


def _know_roles(kc: Keycloak, client_id: str, wanted: t.Set[str], ids: Ids) -> None:
    found = dict(kc.each(kc.role, sorted(wanted)))
    strange = sorted(name for name, role in found.items() if role is None)
    if strange:
        raise OapipError(
            f"planning client {client_id}",
            f"realm {kc.realm} has no role {', '.join(strange)}",
            "Create it first, or correct the name (client/role for a client's role); "
            "nothing was written.",
        )
    ids.roles.update({name: role for name, role in found.items() if role is not None})


def check_may_give(kc: Keycloak, names: t.Sequence[str], ids: Ids) -> None:
    """Check the right to give roles, before something else is written.

    Keycloak lists the roles that the account may give to a user who lacks them; a realm without
    users does not tell.

    :raises OapipError: the account may not write users, or not give one of the roles.
    """
    user = kc.check_may_manage_users()
    user = ids.account or user
    if not user:
        return
    refused: t.List[str] = []
    doing = "checking the right to give roles"
    for where in sorted({_container(ids.roles[name]) for name in names}):
        path = ("users", user, "role-mappings", *where)
        free = {one["id"] for one in kc.request("GET", *path, "available", doing=doing)}
        left = [n for n in names if _container(ids.roles[n]) == where]
        left = [name for name in left if ids.roles[name]["id"] not in free]
        if left:  # the user may have it: then nothing is known
            had = {one["id"] for one in kc.request("GET", *path, "composite", doing=doing)}
            refused += [name for name in left if ids.roles[name]["id"] not in had]
    if refused:
        raise OapipError(
            f"{doing} in realm {kc.realm} of Keycloak",
            f"the account may not give {', '.join(sorted(refused))}",
            "Roles that administer the realm can be given by its administrators only. "
            "Nothing was written.",
        )


def _container(role: Json) -> t.Tuple[str, ...]:
    return ("clients", role["containerId"]) if role.get("clientRole") else ("realm",)


def apply(kc: Keycloak, change: Change, ids: Ids, doing: str) -> None:
    """Tie or untie one name."""
    client_id, name = change.payload
    uuid = ids.clients[client_id]
    if change.kind != ROLE:
        method = "DELETE" if change.action == "delete" else "PUT"
        path = ("clients", uuid, ENDPOINTS[change.kind], ids.scopes[name])
        kc.request(method, *path, doing=doing, absent=method == "DELETE")
        return
    role = ids.roles[name]
    user = kc.request("GET", "clients", uuid, "service-account-user", doing=doing)
    body = [{"id": role["id"], "name": role["name"]}]
    path = ("users", user["id"], "role-mappings", *_container(role))
    kc.request("POST", *path, body=body, doing=doing)
