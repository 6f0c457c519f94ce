# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What Keycloak cannot hold in a name: told before a write, as it answers 500 or half-makes. Pure.

Every function returns what is wrong with something, empty where nothing is.
"""

from __future__ import annotations

import json
import re
import typing as t

LONGEST = 255
"""Characters that Keycloak's database keeps of a name or a URI."""
LONGEST_ATTRIBUTE = 2048
"""Characters that it keeps of an attribute of a client scope."""
SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
"""A scope-token, as the name of a client scope has to be (RFC 6749, section 3.3)."""
SERVICE_ACCOUNT = "service-account-"  # and the client id: the name of its user
RESOURCES = "urn::resources:default"  # and the client id: a type of resources, ours or Keycloak's
AUDIENCE = "-audience"  # after the client id: the name of its scope


def length_fault(text: str, limit: int = LONGEST) -> str:
    """What is wrong with the length of a text."""
    return f"it has more than {limit} characters" if len(text) > limit else ""


def path_fault(name: str) -> str:
    """What is wrong with a name that has to stand in a path of the admin API."""
    return f"{name or 'an empty name'!r} cannot stand in a URL" if name in ("", ".", "..") else ""


def group_fault(path: str) -> str:
    """What is wrong with the path of a group."""
    if not re.fullmatch(r"(/[^/]+)+", path):
        return "it is not a full path like /team"
    return next(filter(None, map(path_fault, path[1:].split("/"))), "")


def role_fault(name: str) -> str:
    """What is wrong with the name of a role, or with ``client/role``, in a policy."""
    if name.count("/") > 1:
        return "policies tell client and role apart by one /, and cannot name it"
    return next(filter(None, map(path_fault, name.split("/"))), "")


def client_faults(client_id: str, options: t.Mapping[str, t.Any]) -> t.List[str]:
    """All that is wrong with the texts of a client."""
    faults = []
    longest = LONGEST
    for option, more in (
        ("audience", AUDIENCE),
        ("service_accounts", SERVICE_ACCOUNT),
        ("authorization", RESOURCES),
    ):
        if options.get(option):
            longest = LONGEST - len(more)
    if options.get("audience") and not SCOPE.fullmatch(client_id):
        faults.append(
            "client_id: its audience scope can only have printable ASCII characters other "
            'than blanks, " and \\'
        )
    texts = [("client_id", client_id, longest)]
    for option in ("name", "description", "root_url", "redirect_uris", "web_origins"):
        value = options.get(option) or []
        values = value if isinstance(value, list) else [value]
        texts += [(option, str(one), LONGEST) for one in values]
    texts += [("attributes", str(one), LONGEST) for one in options.get("attributes") or ()]
    texts += [("mappers", str(one["name"]), LONGEST) for one in options.get("mappers") or ()]
    note = json.dumps(options.get("token_clients") or [])  # as an attribute of the scope
    if options.get("audience") and length_fault(note, LONGEST_ATTRIBUTE):
        faults.append(f"token_clients: {length_fault(note, LONGEST_ATTRIBUTE)} in all")
    for option, text, limit in texts:
        if length_fault(text, limit):
            faults.append(f"{option} {text[:40]!r}...: {length_fault(text, limit)}")
    return faults
