# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The user profile of a realm: what it asks of a user, and its refusals in words. Pure.

API: ``users/profile`` of Keycloak's admin API (since 24, a realm always has one).
"""

from __future__ import annotations

import re
import typing as t

Json = t.Dict[str, t.Any]

ROOT = frozenset({"username", "email", "firstName", "lastName"})
"""Attributes of the profile that are fields of a user."""
UNMANAGED = frozenset({"ENABLED", "ADMIN_EDIT"})
"""Policies for attributes that the profile does not know by which administrators may set them."""
WORDS = {
    "error-user-attribute-required": "is required",
    "error-invalid-length": "has not {0} to {1} characters",
    "error-invalid-length-too-short": "has fewer than {0} characters",
    "error-invalid-length-too-long": "has more than {1} characters",
    "error-username-invalid-character": "has a character that the realm's profile does not allow "
    "in names of users (blanks, quotes, / and most other punctuation)",
    "error-person-name-invalid-character": "has a character that the realm's profile does not "
    "allow in names of persons",
    "error-username-cannot-be-mixed": "mixes alphabets",
    "error-invalid-email": "is no email address",
    "error-invalid-value": "has a value that the realm's profile does not list",
    "error-pattern-no-match": "does not match the pattern of the realm's profile",
    "error-user-attribute-read-only": "cannot be changed",
}
"""Codes of the profile's own checks; braces take the limits that follow the code."""
REFUSAL = re.compile(r"([\w.-]+): (error-[a-z-]+)(?: \(([^()]*)\))?")


def values_of(user: Json, name: str) -> t.List[str]:
    """Return the values of an attribute of the profile, without empty ones."""
    found = user.get(name) if name in ROOT else (user.get("attributes") or {}).get(name)
    return [str(one) for one in (found if isinstance(found, list) else [found]) if one]


def lacking(profile: Json, user: Json, role: str) -> t.List[str]:
    """Return the attributes without a value that ``role`` (``admin``, ``user``) has to give.

    What a role may not edit, or needs with some client scopes only, is not asked of it.
    """
    found = []
    for one in profile.get("attributes") or []:
        asked = one.get("required")
        editors = (one.get("permissions") or {}).get("edit") or []
        if asked is None or role not in editors or asked.get("scopes"):
            continue
        if role in (asked.get("roles") or [role]) and not values_of(user, one["name"]):
            found.append(str(one["name"]))
    return found


def faults(profile: Json, user: Json, given: t.Iterable[str]) -> t.List[str]:
    """Return what the profile refuses of a user whom an administrator writes.

    :param given: the attributes that we set, beside the fields of a user.
    """
    if not profile:
        return []
    known = {one["name"]: one for one in profile.get("attributes") or []}
    found = [f"{name} is required" for name in lacking(profile, user, "admin")]
    for name in sorted(given):
        if name in ROOT:
            found.append(f"{name} is no attribute but an option of its own")
        elif name not in known and profile.get("unmanagedAttributePolicy") not in UNMANAGED:
            found.append(f"{name} is not in the profile, and would be dropped without a word")
        elif name in known and "admin" not in (known[name].get("permissions") or {})["edit"]:
            found.append(f"{name} cannot be set by administrators")
    for name, one in known.items():
        limits = (one.get("validations") or {}).get("length") or {}
        low, high = int(limits.get("min") or 0), int(limits.get("max") or 2**31)
        sizes = [len(value) for value in values_of(user, name)]
        if any(size < low for size in sizes):
            found.append(f"{name} has fewer than {low} characters")
        if any(size > high for size in sizes):
            found.append(f"{name} has more than {high} characters")
    return found


def in_words(reason: str) -> str:
    """Return a refusal of the server with the profile's codes put into words."""

    def told(match: re.Match[str]) -> str:
        name, code, limits = match.groups()
        words = WORDS.get(code)
        if words is None:
            return match.group()
        values = [*(limits or "").split(", "), "?", "?"]
        return f"{name} {words.format(*values)}"

    return REFUSAL.sub(told, reason)
