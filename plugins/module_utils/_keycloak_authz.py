# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The protection of a client on the server: observe, resolve names, apply, read back.

One export of the settings is the current state of resources, policies and permissions; new ones are
imported in batches (an import is atomic), what differs is PUT whole, names are resolved before the
first write, as Keycloak drops unknown groups and roles from a policy without a word.

API: ``clients/{id}/authz/resource-server`` and ``groups`` of Keycloak's admin API.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_protect import (
    OWNER,
    SETTINGS,
    State,
    Wish,
    body_of,
    owner_of,
    state_of,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

BATCH = 300  # objects an import makes in one transaction: about two seconds
PAGE = 1000
FEW = 20  # names that are looked up one by one; for more, the list of all may be shorter
CHUNK = 50  # requests after which progress is told

T = t.TypeVar("T")
R = t.TypeVar("R")


@dataclass
class Seen:
    """The current state, and the ids behind its names."""

    current: State = field(default_factory=State)
    uuid: str = ""
    groups: t.Dict[str, str] = field(default_factory=dict)  # path -> id
    users: t.Dict[str, str] = field(default_factory=dict)  # username -> id
    assumed: t.List[str] = field(default_factory=list)


class Protection:
    """The authorization services of one client."""

    def __init__(self, kc: Keycloak, wish: Wish, check_mode: bool = False) -> None:
        self.kc = kc
        self.wish = wish
        self.check_mode = check_mode
        self.seen = Seen()
        self.members: t.Dict[str, t.Dict[str, str]] = {}  # of groups as they are: name -> id
        self.listed: t.Dict[t.Tuple[str, str], Json] = {}  # by table and name, for its ids

    def _authz(self, *segments: str) -> t.Tuple[str, ...]:
        return ("clients", self.seen.uuid, "authz", "resource-server", *segments)

    def _many(
        self, done: str, work: t.Callable[[T], R], items: t.Sequence[T]
    ) -> t.List[t.Tuple[T, R]]:
        """Do the work for all items, a few at a time; tell how far it is."""
        results: t.List[t.Tuple[T, R]] = []
        for start in range(0, len(items), CHUNK):
            results += self.kc.each(work, items[start : start + CHUNK])
            self._tell(len(results), len(items), done)
        return results

    def _tell(self, count: int, total: int, done: str) -> None:
        if total > CHUNK:
            self.kc.ctx.say(f"client {self.wish.client_id}: {count}/{total} {done}")

    # ------------------------------------------------------------------ reading

    def observe(self, desired: State, absent: bool = False) -> Seen:
        """Read the settings, the groups below ``/<client_id>`` and the memberships that matter.

        :param absent: the client may be missing, as all of it is to be removed.
        :raises OapipError: no such client, or it has no authorization services.
        """
        self.seen = Seen(assumed=self.seen.assumed[:0])
        client = self.kc.client(self.wish.client_id)
        export: t.Optional[Json] = None
        if client is None:
            self._lacking(f"client {self.wish.client_id}", absent)
        else:
            self.seen.uuid = client["id"]
            doing = f"reading the authorization settings of client {self.wish.client_id}"
            if client.get("authorizationServicesEnabled"):
                export = self.kc.request("GET", *self._authz("settings"), doing=doing)
            else:
                self._lacking(f"authorization services of client {self.wish.client_id}", absent)
        self.seen.current = state_of(export) if export else State(dict(SETTINGS))
        self._observe_groups(desired)
        self._observe_members(desired)
        return self.seen

    def _lacking(self, what: str, absent: bool) -> None:
        if absent:
            return
        if not self.check_mode:
            raise OapipError(
                f"protecting client {self.wish.client_id}",
                f"realm {self.kc.realm} has no {what}",
                "Settle it with keycloak_client and authorization: true first.",
            )
        self.seen.assumed.append(what)

    def _observe_groups(self, desired: State) -> None:
        """Read what is below our group, and what is below the groups that may have to go."""
        top = self._group(f"/{self.wish.client_id}")
        if top is None:
            return
        children = self._children(top)
        for one in [top, *children]:
            self._keep_group(one)
        owned = self.seen.current.groups
        leaving = [
            one
            for one in children
            if self.wish.purge
            and one["path"] not in desired.groups
            and owned[one["path"]]["owner"] == self.wish.marker
            and _may_have_children(one)
        ]
        for _one, below in self._many("groups looked through", self._below, leaving):
            for one in below:
                self._keep_group(one)

    def _keep_group(self, one: Json) -> None:
        self.seen.groups[one["path"]] = one["id"]
        self.seen.current.groups[one["path"]] = {"owner": owner_of(one.get("attributes"))}

    def _children(self, group: Json) -> t.List[Json]:
        """Return the groups right below one, none where it is gone."""
        found = self.kc.request(
            "GET",
            *("groups", group["id"], "children"),
            query={"first": 0, "max": 100000, "briefRepresentation": "false"},
            doing=f"reading the groups below {group['path']}",
            absent=True,
        )
        return list(found or ())

    def _below(self, group: Json) -> t.List[Json]:
        """Return all groups below one, at any depth."""
        found = self._children(group)
        for one in [*found]:
            if _may_have_children(one):
                found += self._below(one)
        return found

    def _group(self, path: str) -> t.Optional[Json]:
        found = self.kc.request(
            "GET",
            "group-by-path",
            *path.strip("/").split("/"),
            doing=f"looking for group {path}",
            absent=True,
        )
        return t.cast("t.Optional[Json]", found)

    def _observe_members(self, desired: State) -> None:
        groups = self.seen.current.groups
        managed = [
            path for path, one in desired.groups.items() if "members" in one and path in groups
        ]
        unread = [path for path in managed if path not in self.members]
        self.members.update(self._many("groups read", self._members, unread))
        for path in managed:
            groups[path]["members"] = sorted(self.members[path])
            self.seen.users.update(self.members[path])

    def _members(self, path: str) -> t.Dict[str, str]:
        """Return the ids of the members of a group by their names."""
        found: t.Dict[str, str] = {}
        doing = f"reading the members of group {path}"
        while True:
            query = {"first": len(found), "max": PAGE, "briefRepresentation": "true"}
            segments = ("groups", self.seen.groups[path], "members")
            page = self.kc.request("GET", *segments, query=query, doing=doing)
            found.update({one["username"]: one["id"] for one in page})
            if len(page) < PAGE:
                return found

    # ------------------------------------------------------------------ names

    def resolve(self, desired: State) -> None:
        """Check every name that is not known to exist; nothing is written before.

        :raises OapipError: users, roles and (but in check mode) groups that the realm lacks.
        """
        lacking = [f"user {name}" for name in self._unknown_users(desired)]
        parted: t.List[str] = []
        roles = {role for one in desired.policies.values() for role in one.get("roles", ())}
        known = {r for one in self.seen.current.policies.values() for r in one.get("roles", ())}
        for role, one in self._many("roles found", self.kc.role, sorted(roles - known)):
            if one is None:
                lacking.append(f"role {role}")
            elif "/" in role and not one.get("clientRole"):
                parted.append(f"role {role}")
        named = {path for one in desired.policies.values() for path in one.get("groups", ())}
        strange = sorted(named - set(desired.groups) - set(self.seen.groups))
        missing = self._missing_groups(strange, parted)
        if self.check_mode:
            self.seen.assumed += [f"group {path}" for path in missing]
        else:
            lacking += [f"group {path}" for path in missing]
        faults = [f"realm {self.kc.realm} has no {', '.join(lacking)}"] if lacking else []
        faults += [f"{one} has a / in a name, which policies cannot tell apart" for one in parted]
        if faults:
            raise OapipError(
                f"protecting client {self.wish.client_id}",
                "; ".join(faults),
                "Create them, or correct the names in contexts; nothing was written.",
            )

    def _missing_groups(self, paths: t.Sequence[str], parted: t.List[str]) -> t.List[str]:
        """Return the groups that are not there; ``parted`` gets those that only look like one."""
        lineage = {path: _lineage(path) for path in paths}
        asked = sorted({one for line in lineage.values() for one in line})
        found = dict(self._many("groups found", self._group, asked))
        missing: t.List[str] = []
        for path, line in lineage.items():
            names = [(found[one] or {}).get("name") for one in line]
            if found[path] is None:
                missing.append(path)
            elif names != [one.rpartition("/")[2] for one in line]:
                parted.append(f"group {path}")
        return missing

    def _unknown_users(self, desired: State) -> t.List[str]:
        current = self.seen.current.policies.values()
        known = {name for one in current for name in one.get("users", ())}
        by_policy = {name for one in desired.policies.values() for name in one.get("users", ())}
        by_group = {name for one in desired.groups.values() for name in one.get("members", ())}
        wanted = sorted(((by_policy - known) | by_group) - set(self.seen.users))
        if len(wanted) > FEW:
            pages = -(-int(self.kc.request("GET", "users", "count")) // PAGE)
            if pages < len(wanted) // 8:
                self._list_users(pages)
        # the list lacks service accounts, users of LDAP that never logged in, and the very newest
        unlisted = [name for name in wanted if name not in self.seen.users]
        for name, user in self._many("users found", self.kc.user, unlisted):
            if user is not None:
                self.seen.users[name] = user["id"]
        return [name for name in unlisted if name not in self.seen.users]

    def _list_users(self, pages: int) -> None:
        for page in range(pages):
            query = {"first": page * PAGE, "max": PAGE, "briefRepresentation": "true"}
            listed = self.kc.request("GET", "users", query=query, doing="listing the users")
            self.seen.users.update({one["username"]: one["id"] for one in listed})

    # ------------------------------------------------------------------ writing

    def apply(self, changes: t.Sequence[Change]) -> None:
        """Make the changes: what closes first, memberships of new contexts last."""
        groups = [one for one in changes if one.kind == "group"]
        if groups:  # the other rights are proved by the export
            self.kc.check_may_manage_users()
        self._settings([one for one in changes if one.kind == "settings"])
        for one in groups:
            self.members.pop(one.name, None)
        kept = [one for one in groups if one.action != "delete"]
        self._many("groups updated", self._leave, [one for one in kept if one.action == "update"])
        objects = [one for one in changes if one.kind not in ("settings", "group")]
        self._ids([one for one in objects if one.action != "create"])
        for kind in ("permission", "resource"):
            self._delete(objects, kind)
        self._make_groups([one for one in kept if one.action == "create"])
        self._import([one for one in objects if one.action == "create"])
        for kind in ("policy", "permission", "resource"):
            self._each("updated", self._put, objects, "update", kind)
        self._delete(objects, "policy")  # permissions used them until they were written anew
        self._join(kept)
        self._delete(objects, "scope")
        self._drop_groups({one.name for one in groups if one.action == "delete"})

    def _each(
        self,
        done: str,
        work: t.Callable[[Change], None],
        objects: t.Sequence[Change],
        action: str,
        kind: str,
    ) -> None:
        those = [one for one in objects if one.action == action and one.kind == kind]
        self._many(f"{_PLURAL.get(kind, f'{kind}s')} {done}", work, those)

    def _settings(self, changes: t.Sequence[Change]) -> None:
        for change in changes:
            doing = f"updating the authorization settings of client {change.name}"
            self.kc.request("PUT", *self._authz(), body=_settings(change.after or {}), doing=doing)

    def _ids(self, changes: t.Sequence[Change]) -> None:
        """Learn the listed objects by kind and name; policies and permissions are one list."""
        self.listed = {}
        tables = {_table(one.kind) for one in changes}
        for table in sorted(tables):
            query = {"first": 0, "max": -1}
            listed = self.kc.request(
                "GET", *self._authz(table), query=query, doing=f"listing {table} objects"
            )
            self.listed.update({(table, one["name"]): one for one in listed})

    def _delete(self, objects: t.Sequence[Change], kind: str) -> None:
        def delete(change: Change) -> None:
            one = self.listed.get((_table(kind), change.name))
            if one is not None:
                path = self._authz(_table(kind), one.get("_id") or one["id"])
                doing = f"deleting {kind} {change.name}"
                self.kc.request("DELETE", *path, doing=doing, absent=True)

        self._each("deleted", delete, objects, "delete", kind)

    def _put(self, change: Change) -> None:
        """Write an object whole, as a PUT clears what it does not name."""
        doing = f"updating {change.kind} {change.name}"
        body = body_of(change.kind, change.name, change.after or {})
        if change.kind == "resource":
            one = self.listed["resource", change.name]
            attributes = {**(one.get("attributes") or {}), **body["attributes"]}
            body = {**one, **body, "attributes": attributes}
            self.kc.request("PUT", *self._authz("resource", one["_id"]), body=body, doing=doing)
            return
        one, after = self.listed["policy", change.name], change.after or {}
        body.pop("config")
        body["id"] = one["id"]
        if change.kind == "permission":
            body.update(resources=after["resources"], policies=after["policies"])
            body.update(scopes=[], resourceType=None)
        elif body["type"] == "group":
            body["groups"] = [{"path": path, "extendChildren": False} for path in after["groups"]]
            body["groupsClaim"] = ""
        elif body["type"] == "role":
            body["roles"] = [{"id": role, "required": False} for role in after["roles"]]
            body["fetchRoles"] = True
        else:
            body["users"] = after["users"]
        path = self._authz(change.kind, body["type"], one["id"])
        self.kc.request("PUT", *path, body=body, doing=doing)

    def _import(self, changes: t.Sequence[Change]) -> None:
        """Create objects in batches that hold whole contexts: each names only what it has."""
        contexts: t.Dict[str, t.List[Change]] = {}
        for change in changes:
            contexts.setdefault(":".join(change.name.split(":")[:2]), []).append(change)
        batch: t.List[Change] = []
        done = 0
        for part in [*contexts.values(), []]:
            if batch and (not part or len(batch) + len(part) > BATCH):
                self._import_batch(batch)
                done += len(batch)
                self._tell(done, len(changes), "objects imported")
                batch = []
            batch += part

    def _import_batch(self, batch: t.Sequence[Change]) -> None:
        body: Json = {**_settings(), "resources": [], "policies": [], "scopes": []}
        for change in batch:  # a scope that is there would be overwritten: only new ones are named
            part = {"resource": "resources", "scope": "scopes"}.get(change.kind, "policies")
            body[part].append(body_of(change.kind, change.name, change.after or {}))
        body["policies"].sort(key=lambda one: str(one["type"]) == "resource")
        doing = f"importing {len(batch)} objects ({batch[0].name} to {batch[-1].name})"
        self.kc.request("POST", *self._authz("import"), body=body, doing=doing)

    # ------------------------------------------------------------------ groups

    def _make_groups(self, changes: t.Sequence[Change]) -> None:
        top = f"/{self.wish.client_id}"
        for change in changes:
            if change.name == top:
                self.seen.groups[top] = self._make_group(change)
        children = [one for one in changes if one.name != top]
        for change, made in self._many("groups made", self._make_group, children):
            self.seen.groups[change.name] = made

    def _make_group(self, change: Change) -> str:
        parent, _slash, name = change.name.rpartition("/")
        body = {"name": name, "attributes": {OWNER: [(change.after or {})["owner"]]}}
        path = ("groups", self.seen.groups[parent], "children") if parent else ("groups",)
        return self.kc.create(*path, body=body, doing=f"creating group {change.name}")

    def _drop_groups(self, gone: t.AbstractSet[str]) -> None:
        tops = sorted(path for path in gone if path.rpartition("/")[0] not in gone)
        self._many("groups deleted", lambda path: self._drop_group(path, gone), tops)

    def _drop_group(self, path: str, gone: t.AbstractSet[str]) -> None:
        """Delete a group, which takes those below it along: not what others have put there."""
        below = self._below({"path": path, "id": self.seen.groups[path]})
        paths = {one["path"] for one in below}
        if paths <= gone:
            doing = f"deleting group {path}"
            self.kc.request("DELETE", "groups", self.seen.groups[path], doing=doing, absent=True)
            return
        for child in sorted(paths & gone):
            if child.rpartition("/")[0] == path:
                self._drop_group(child, gone)

    def _leave(self, change: Change) -> None:
        """Mark a group as ours where it is not, and take out who may not be in it any more."""
        before, after = change.before or {}, change.after or {}
        group = self.seen.groups[change.name]
        if before.get("owner") != after.get("owner"):
            doing = f"updating group {change.name}"
            whole = self.kc.request("GET", "groups", group, doing=doing)
            whole.setdefault("attributes", {})[OWNER] = [after["owner"]]
            self.kc.request("PUT", "groups", group, body=whole, doing=doing)
        for name in sorted(set(before.get("members") or ()) - set(after.get("members") or ())):
            doing = f"removing {name} from group {change.name}"
            path = ("users", self.seen.users[name], "groups", group)
            self.kc.request("DELETE", *path, doing=doing, absent=True)

    def _join(self, changes: t.Sequence[Change]) -> None:
        joins = [
            (name, change.name)
            for change in changes
            for name in sorted(
                set((change.after or {}).get("members") or ())
                - set((change.before or {}).get("members") or ())
            )
        ]
        self._many("members added", self._add, joins)

    def _add(self, pair: t.Tuple[str, str]) -> None:
        name, group = pair
        path = ("users", self.seen.users[name], "groups", self.seen.groups[group])
        self.kc.request("PUT", *path, doing=f"adding {name} to group {group}")


def _lineage(path: str) -> t.List[str]:
    """Return the path of a group, after those above it that could have a / in their names."""
    parts = path[1:].split("/")
    above = [f"/{'/'.join(parts[:count])}" for count in range(2, len(parts))]
    return [*above, path]


def _may_have_children(group: Json) -> bool:
    """Whether to look below a group: where there is no count, there may be some."""
    return bool(group.get("subGroupCount", 1))


_PLURAL = {"policy": "policies"}


def _table(kind: str) -> str:
    return "policy" if kind == "permission" else kind


def _settings(state: t.Optional[t.Mapping[str, t.Any]] = None) -> Json:
    """Return the document of the resource server's settings: all, as a PUT clears the rest."""
    wanted = state or SETTINGS
    return {
        "policyEnforcementMode": wanted["policy_enforcement"],
        "decisionStrategy": wanted["decision_strategy"],
        "allowRemoteResourceManagement": wanted["remote_resource_management"],
    }
