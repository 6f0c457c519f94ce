# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Contexts as a user writes them: checked, completed, free of collisions. Pure.

A context is a path below the engine's host (``/alice/*``) and those who may use it.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_names import (
    group_fault,
    length_fault,
    role_fault,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

SEGMENT = re.compile(r"[a-z0-9._@+-]+")
RESERVED = frozenset({"ogc-api", "swagger-ui", ".apisix"})
LONGEST = 200

OPTIONS: t.Dict[str, t.Dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "mode": {"type": "str", "choices": ["personal", "shared"], "default": "personal"},
    "uris": {"type": "list", "elements": "str"},
    "users": {"type": "list", "elements": "str"},
    "groups": {"type": "list", "elements": "str"},
    "roles": {"type": "list", "elements": "str"},
    "scopes": {"type": "list", "elements": "str"},
    "type": {"type": "str"},
}
"""Suboptions of a context, for the specs of the modules that take contexts."""


@dataclass(frozen=True)
class Access:
    """One context, complete: every list sorted and without duplicates."""

    name: str
    uris: t.Tuple[str, ...]
    users: t.Tuple[str, ...]
    groups: t.Tuple[str, ...] = ()
    roles: t.Tuple[str, ...] = ()
    scopes: t.Tuple[str, ...] = ()
    type: str = ""


def contexts_of(raw: t.Sequence[t.Mapping[str, t.Any]], client_id: str) -> t.List[Access]:
    """Return the contexts of the option, checked and completed.

    :raises OapipError: every fault of every context, with its reason, in one message.
    """
    faults: t.List[str] = []
    found: t.List[Access] = []
    for one in raw:
        name = str(one.get("name") or "")
        fault = name_fault(name)
        if fault:
            faults.append(f"context {name!r}: {fault}")
            continue
        personal = (one.get("mode") or "personal") == "personal"
        users = one.get("users")
        if users is None:
            users = [name] if personal else []
        made = Access(
            name,
            _unique(one.get("uris") or [f"/{name}/*"]),
            _unique(user.lower() for user in users),
            _unique(one.get("groups") or []),
            _unique(one.get("roles") or []),
            _unique(one.get("scopes") or []),
            one.get("type") or f"urn:{client_id}:resources:context",
        )
        faults += [f"context {name}: {text}" for text in faults_of(made, personal)]
        found.append(made)
    faults += collisions(found)
    if faults:
        raise OapipError(
            f"checking the contexts of client {client_id}",
            "; ".join(faults),
            "Correct contexts; nothing was written.",
        )
    return sorted(found, key=lambda one: one.name)


def _unique(values: t.Iterable[str]) -> t.Tuple[str, ...]:
    return tuple(sorted(set(values)))


def name_fault(name: str) -> str:
    """Return what is wrong with a context's name, empty where nothing is."""
    if not name:
        return "it is empty"
    if len(name) > LONGEST:
        return f"it has more than {LONGEST} characters"
    if name in RESERVED:
        return "it is a path of the engine itself"
    return segment_fault(name)


def segment_fault(segment: str) -> str:
    """Return what is wrong with one segment of a path, empty where nothing is."""
    if segment in (".", "..") or ".." in segment:
        return "'..' climbs out of the path"
    if segment != segment.lower():
        return "upper case does not match: paths are compared case by case, names are lower case"
    if re.search(r"\s", segment):
        return "it has a blank"
    bad = sorted(set(segment) & set("*{}%;?#\\/"))
    if bad:
        return f"{' '.join(bad)} would be read as a pattern, an escape or the end of the path"
    if not SEGMENT.fullmatch(segment):
        return "only a-z, 0-9 and . _ @ + - reach the engine as they are written"
    return ""


def uri_fault(uri: str) -> str:
    """Return what is wrong with a URI of a context: ``/a/b`` or ``/a/b/*`` is right."""
    if not uri.startswith("/"):
        return "it does not begin with /"
    path = uri.removesuffix("/*")
    if path in ("", "/"):
        return "it covers every context"
    if "//" in path or path.endswith("/"):
        return "it has an empty segment"
    if path.endswith("*"):
        return "a * that does not follow a / also covers longer names (/bob* covers /bobby)"
    for segment in path[1:].split("/"):
        fault = segment_fault(segment)
        if fault:
            return fault
    if path[1:].split("/")[0] in RESERVED:
        return "it is a path of the engine itself"
    return ""


def faults_of(context: Access, personal: bool) -> t.List[str]:
    """Return what is wrong with a complete context."""
    faults = [f"uri {uri!r}: {uri_fault(uri)}" for uri in context.uris if uri_fault(uri)]
    for kind, names, fault_of in (
        ("uri", context.uris, length_fault),
        ("user", context.users, lambda name: "" if name else "it is empty"),
        ("group", context.groups, group_fault),
        ("role", context.roles, role_fault),
        ("scope", context.scopes, lambda name: length_fault(name) if name else "it is empty"),
        ("type", (context.type,), length_fault),
    ):
        faults += [f"{kind} {name!r}: {fault_of(name)}" for name in names if fault_of(name)]
    if personal and context.name not in context.users:
        faults.append("a personal context belongs to the user of its name: add the user, or share")
    return faults


def collisions(contexts: t.Sequence[Access]) -> t.List[str]:
    """Return the names and URIs that two contexts claim."""
    faults: t.List[str] = []
    names: t.Set[str] = set()
    claimed: t.Dict[str, str] = {}
    for context in contexts:
        if context.name in names:
            faults.append(f"context {context.name}: it is listed twice")
        names.add(context.name)
        for uri in context.uris:
            other = claimed.setdefault(uri, context.name)
            if other != context.name:
                faults.append(f"uri {uri!r}: contexts {other} and {context.name} both claim it")
    return faults


def clash(uri: str, foreign: str) -> str:
    """Return why a URI of ours and one of somebody else's resource cannot be together."""
    ours, theirs = uri.lower(), foreign.lower()
    if ours == theirs:
        return "has the same URI: which of the two decides is chance"
    if "{" in theirs:
        head = theirs.split("{", 1)[0]
        if ours.startswith(head) or head.startswith(ours.rstrip("*")):
            return "is a template, which wins over ours"
    if theirs.endswith("*") and not theirs.endswith("/*") and ours.startswith(theirs[:-1]):
        return "is a prefix of it: which of the two decides is chance"
    return ""
