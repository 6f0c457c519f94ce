# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The protection of a client's contexts as data: normalise, desire, plan. Pure, no I/O.

A context ``alice`` of client ``engine`` is a resource ``context:alice``, the policies
``context:alice:groups`` (or ``:users``) and ``:roles``, a permission ``context:alice:access`` that
one of them must grant, and the group ``/engine/alice``. Ownership is an attribute of resources and
groups, and for lack of attributes the description of policies and permissions and the display name
of scopes.

Keycloak's words: https://www.keycloak.org/docs/latest/authorization_services/
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.eoepca.oapip.plugins.module_utils import _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_contexts import Access, clash
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_names import SERVICE_ACCOUNT
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

Json = t.Dict[str, t.Any]
Objects = t.Dict[str, Json]

OWNER = "oapip.owner"
OWNED = "Managed by eoepca.oapip for "
SETTINGS: Json = {
    "policy_enforcement": "ENFORCING",
    "decision_strategy": "UNANIMOUS",
    # off, Keycloak answers 400 to every look-up of the Protection API, which gateways need (26.7.4)
    "remote_resource_management": True,
}
"""What we want, and what Keycloak gives a client whose authorization is turned on."""

PERMISSION_TYPES = frozenset({"resource", "scope", "uma"})


@dataclass
class State:
    """What protects a client: objects by name, groups by path, in normal form."""

    settings: Json = field(default_factory=lambda: dict(SETTINGS))
    groups: Objects = field(default_factory=dict)
    scopes: Objects = field(default_factory=dict)
    resources: Objects = field(default_factory=dict)
    policies: Objects = field(default_factory=dict)
    permissions: Objects = field(default_factory=dict)

    def of(self, kind: str) -> Objects:
        """Return the objects of a kind of :class:`Change`."""
        table: t.Dict[str, Objects] = {
            "group": self.groups,
            "scope": self.scopes,
            "resource": self.resources,
            "policy": self.policies,
            "permission": self.permissions,
        }
        return table[kind]


@dataclass(frozen=True)
class Wish:
    """The options of ``keycloak_protect`` that decide how contexts become objects."""

    client_id: str
    marker: str
    memberships: str = "ensure"
    user_access: str = "group"
    purge: bool = True
    adopt: bool = False
    default_access: str = "deny"


# ---------------------------------------------------------------------- normal form


def state_of(export: t.Mapping[str, t.Any]) -> State:
    """Return the normal form of an export of a client's authorization settings."""
    state = State(
        {
            "policy_enforcement": export.get("policyEnforcementMode"),
            "decision_strategy": export.get("decisionStrategy"),
            "remote_resource_management": bool(export.get("allowRemoteResourceManagement")),
        }
    )
    for one in export.get("scopes") or []:
        state.scopes[one["name"]] = {"owner": _owner_in(one.get("displayName"))}
    for one in export.get("resources") or []:
        state.resources[one["name"]] = _resource(one)
    for one in export.get("policies") or []:
        if one["type"] in PERMISSION_TYPES:
            state.permissions[one["name"]] = _permission(one)
        else:
            state.policies[one["name"]] = _policy(one)
    return state


def owner_of(attributes: t.Optional[t.Mapping[str, t.Any]]) -> str:
    """Return the owner that attributes name; empty for nobody."""
    values = (attributes or {}).get(OWNER) or [""]
    return str(values[0] if isinstance(values, list) else values)


def _owner_in(description: t.Optional[str]) -> str:
    text = description or ""
    return text[len(OWNED) :] if text.startswith(OWNED) else ""


def _resource(raw: Json) -> Json:
    return {
        "type": raw.get("type") or "",
        "uris": sorted(raw.get("uris") or []),
        "scopes": sorted(scope["name"] for scope in raw.get("scopes") or []),
        "owner_managed": bool(raw.get("ownerManagedAccess")),
        "owner": owner_of(raw.get("attributes")),
    }


def _listed(config: t.Mapping[str, str], key: str) -> t.List[t.Any]:
    return list(json.loads(config.get(key) or "[]"))


def _common(raw: Json) -> Json:
    return {
        "type": raw["type"],
        "logic": raw.get("logic", "POSITIVE"),
        "decision_strategy": raw.get("decisionStrategy", "UNANIMOUS"),
        "owner": _owner_in(raw.get("description")),
    }


def _policy(raw: Json) -> Json:
    shown, config = _common(raw), raw.get("config") or {}
    if raw["type"] == "group":
        groups = _listed(config, "groups")
        shown["groups"] = sorted(one.get("path") or one.get("id") or "" for one in groups)
        shown["extended"] = sorted(one["path"] for one in groups if one.get("extendChildren"))
        shown["groups_claim"] = config.get("groupsClaim") or ""
    elif raw["type"] == "role":
        roles = _listed(config, "roles")
        shown["roles"] = sorted(one["id"] for one in roles)
        shown["required"] = sorted(one["id"] for one in roles if one.get("required"))
        shown["fetch_roles"] = config.get("fetchRoles") == "true"
    elif raw["type"] == "user":
        shown["users"] = sorted(_listed(config, "users"))
    return shown


def _permission(raw: Json) -> Json:
    config = raw.get("config") or {}
    return {
        **_common(raw),
        "resources": sorted(_listed(config, "resources")),
        "resource_type": config.get("defaultResourceType") or "",
        "scopes": sorted(_listed(config, "scopes")),
        "policies": sorted(_listed(config, "applyPolicies")),
    }


def body_of(kind: str, name: str, state: t.Mapping[str, t.Any]) -> Json:
    """Return the document of an object for an import; the inverse of :func:`state_of`."""
    if kind == "resource":
        return {
            "name": name,
            "type": state["type"],
            "uris": list(state["uris"]),
            "scopes": [{"name": scope} for scope in state["scopes"]],
            "ownerManagedAccess": state["owner_managed"],
            "attributes": {OWNER: [state["owner"]]},
        }
    owned = f"{OWNED}{state['owner']}"
    if kind == "scope":
        return {"name": name, "displayName": owned}
    body = {
        "name": name,
        "description": owned,
        "type": state["type"],
        "logic": state["logic"],
        "decisionStrategy": state["decision_strategy"],
    }
    config: t.Dict[str, str] = {}
    if kind == "permission":
        config["resources"] = json.dumps(state["resources"])
        config["applyPolicies"] = json.dumps(state["policies"])
    elif state["type"] == "group":
        listed = [{"path": path, "extendChildren": False} for path in state["groups"]]
        config["groups"] = json.dumps(listed)
    elif state["type"] == "role":
        config["roles"] = json.dumps([{"id": role, "required": False} for role in state["roles"]])
        config["fetchRoles"] = "true"
    else:
        config["users"] = json.dumps(state["users"])
    return {**body, "config": config}


# ---------------------------------------------------------------------- desired


def group_of(client_id: str, context: str) -> str:
    """Return the path of the group of a context."""
    return f"/{client_id}/{context}"


def desire(contexts: t.Sequence[Access], wish: Wish) -> State:
    """Return the objects that make the contexts.

    :raises OapipError: a user policy for a service account: Keycloak compares it with the id of the
        account's client where it gets a token, and so never lets it in.
    """
    accounts = {name for one in contexts for name in one.users if name.startswith(SERVICE_ACCOUNT)}
    if accounts and wish.user_access == "policy":
        raise OapipError(
            f"protecting client {wish.client_id}",
            f"user policies let no service account in: {', '.join(sorted(accounts))}",
            "Give them a role or a group, or choose user_access: group; nothing was written.",
        )
    state = State(dict(SETTINGS))
    if wish.user_access == "group" and contexts:
        state.groups[f"/{wish.client_id}"] = {"owner": wish.marker}
    for context in contexts:
        _add_context(state, context, wish)
    return state


def _add_context(state: State, context: Access, wish: Wish) -> None:
    resource = f"context:{context.name}"
    common = {"logic": "POSITIVE", "decision_strategy": "UNANIMOUS", "owner": wish.marker}
    groups = list(context.groups)
    policies: Objects = {}
    if wish.user_access == "group":
        own = group_of(wish.client_id, context.name)
        groups.append(own)
        state.groups[own] = {"owner": wish.marker}
        if wish.memberships != "unmanaged":
            state.groups[own]["members"] = list(context.users)
    elif context.users:
        policies[f"{resource}:users"] = {**common, "type": "user", "users": list(context.users)}
    if groups:
        policies[f"{resource}:groups"] = {
            **common,
            "type": "group",
            "groups": sorted(set(groups)),
            "extended": [],
            "groups_claim": "",
        }
    if context.roles:
        policies[f"{resource}:roles"] = {
            **common,
            "type": "role",
            "roles": list(context.roles),
            "required": [],
            "fetch_roles": True,
        }
    if not policies:
        raise OapipError(
            f"planning context {context.name}",
            "nobody could use it: it has no users, groups or roles",
            "Give at least one, or leave the context out.",
        )
    state.resources[resource] = {
        "type": context.type,
        "uris": list(context.uris),
        "scopes": list(context.scopes),
        "owner_managed": False,
        "owner": wish.marker,
    }
    state.scopes.update((scope, {"owner": wish.marker}) for scope in context.scopes)
    state.policies.update(policies)
    state.permissions[f"{resource}:access"] = {
        **common,
        "type": "resource",
        "decision_strategy": "AFFIRMATIVE",
        "resources": [resource],
        "resource_type": "",
        "scopes": [],
        "policies": sorted(policies),
    }


# ---------------------------------------------------------------------- plan


def plan(current: State, desired: State, wish: Wish) -> t.List[Change]:
    """Return the changes, in the order in which nobody is let in too early.

    First what closes (settings, default access, objects of contexts that are gone), then groups and
    new objects, then what differs, then what is no longer used.

    :raises OapipError: an object of that name is not ours, or a URI clashes with another resource.
    """
    top = f"/{wish.client_id}"
    if current.groups.get(top, {}).get("owner", wish.marker) != wish.marker and not wish.adopt:
        # only a folder: whoever owns it, memberships of its children decide
        groups = {path: one for path, one in desired.groups.items() if path != top}
        desired = replace(desired, groups=groups)
    _refuse_clashes(current, desired, wish)
    changes = _plan.update("settings", wish.client_id, current.settings, desired.settings)
    if wish.default_access == "deny":
        changes += _plan_default(current, wish.client_id)
    gone = {
        kind: _owned(current, desired, kind, wish) if wish.purge else []
        for kind in ("permission", "resource", "policy", "scope", "group")
    }
    changes += gone["permission"] + gone["resource"]
    changes += [one for kind in ("group", *_MAKING) for one in _creates(current, desired, kind)]
    for kind in ("group", "policy", "permission", "resource"):
        changes += _updates(current, desired, kind, wish)
    used = _used_scopes(current, desired, changes)
    scopes = [one for one in gone["scope"] if one.name not in used]
    return changes + gone["policy"] + scopes + gone["group"]


_MAKING = ("scope", "policy", "resource", "permission")


def _creates(current: State, desired: State, kind: str) -> t.List[Change]:
    have, want = current.of(kind), desired.of(kind)
    return [
        Change("create", kind, name, None, want[name]) for name in sorted(want) if name not in have
    ]


def _updates(current: State, desired: State, kind: str, wish: Wish) -> t.List[Change]:
    changes: t.List[Change] = []
    have, want = current.of(kind), desired.of(kind)
    for name in sorted(set(have) & set(want)):
        before, after = _plan.pick(have[name], want[name]), dict(want[name])
        if "members" in after:
            members = before["members"] = sorted(before["members"] or [])
            kept = members if wish.memberships == "ensure" else []
            after["members"] = sorted(set(after["members"]) | set(kept))
        changes += _plan.update(kind, name, before, after)
    return changes


def _owned(current: State, desired: State, kind: str, wish: Wish) -> t.List[Change]:
    """Return the deletions of what bears our marker and is wanted no more."""
    have, want = current.of(kind), desired.of(kind)
    names = [
        name
        for name in sorted(have, key=lambda name: (-name.count("/"), name))
        if name not in want and wish.marker and have[name]["owner"] == wish.marker
    ]
    if kind == "group":  # a group with children of others is kept
        kept = (set(have) - set(names)) | set(want)
        names = [one for one in names if not any(path.startswith(f"{one}/") for path in kept)]
    return [Change("delete", kind, name, have[name]) for name in names]


def _used_scopes(current: State, desired: State, changes: t.Sequence[Change]) -> t.Set[str]:
    """Return the scopes that somebody uses once the plan is carried out."""
    gone = {(one.kind, one.name) for one in changes if one.action == "delete"}
    return {
        scope
        for kind in ("resource", "permission")
        for name, one in {**current.of(kind), **desired.of(kind)}.items()
        if (kind, name) not in gone
        for scope in one["scopes"]
    }


def was_kept(change: Change, after: State) -> bool:
    """Whether a group should have gone, but somebody else had put one below it meanwhile."""
    return (change.action, change.kind) == ("delete", "group") and change.name in after.groups


def _plan_default(current: State, client_id: str) -> t.List[Change]:
    """Return the deletions of what Keycloak <= 26.4 creates and what lets every user in."""
    kind = f"urn:{client_id}:resources:default"
    changes: t.List[Change] = []
    permission = current.permissions.get("Default Permission")
    if permission is not None and permission["resource_type"] == kind:
        changes.append(Change("delete", "permission", "Default Permission", permission))
    resource = current.resources.get("Default Resource")
    if resource is not None and resource["type"] == kind and resource["uris"] == ["/*"]:
        changes.append(Change("delete", "resource", "Default Resource", resource))
    policy = current.policies.get("Default Policy")
    used = any(
        "Default Policy" in one["policies"]
        for name, one in current.permissions.items()
        if name != "Default Permission"
    )
    if policy is not None and policy["type"] == "js" and not used:
        changes.append(Change("delete", "policy", "Default Policy", policy))
    return changes


def _refuse_clashes(current: State, desired: State, wish: Wish) -> None:
    faults: t.List[str] = []
    for kind in ("group", "resource", "policy", "permission"):
        have, want = current.of(kind), desired.of(kind)
        for name in sorted(set(have) & set(want)):
            there, type_ = have[name].get("type"), want[name].get("type")
            if kind in ("policy", "permission") and there != type_:
                faults.append(f"{kind} {name} is of type {there}, not {type_}: adopt cannot help")
            elif have[name]["owner"] != wish.marker and not wish.adopt:
                faults.append(f"{kind} {name} is marked as {_whose(have[name])}")
        # policies and permissions share their names
        other = {"policy": current.permissions, "permission": current.policies}.get(kind, {})
        faults += [f"{name} is there as another kind than {kind}" for name in want if name in other]
    if faults:
        raise OapipError(
            f"planning the protection of client {wish.client_id}",
            "; ".join(faults),
            "Remove or rename them, or take them over with adopt.",
        )
    _refuse_uris(current, desired, wish)


def _whose(state: Json) -> str:
    return f"{state['owner']}'s" if state["owner"] else "nobody's"


def _refuse_uris(current: State, desired: State, wish: Wish) -> None:
    ours = {name for name, one in current.resources.items() if one["owner"] == wish.marker}
    strange = [
        (name, uri)
        for name, one in current.resources.items()
        if name not in desired.resources and not (name in ours and wish.purge)
        for uri in one["uris"]
        if not (wish.default_access == "deny" and name == "Default Resource")
    ]
    faults: t.List[str] = []
    exact = {uri.lower(): name for name, uri in strange}
    patterns = [(name, uri) for name, uri in strange if "{" in uri or uri[-1:] == "*"]
    for resource, one in sorted(desired.resources.items()):
        for uri in one["uris"]:
            if uri.lower() in exact:
                faults.append(f"resource {exact[uri.lower()]} {clash(uri, uri)} as {resource}")
                continue
            found = ((name, clash(uri, other)) for name, other in patterns)
            faults += [f"resource {name} {why} ({resource}: {uri})" for name, why in found if why]
    if faults:
        raise OapipError(
            f"planning the protection of client {wish.client_id}",
            "; ".join(faults),
            "Remove those resources, or change their URIs.",
        )
