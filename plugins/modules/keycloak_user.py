#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One user of a realm, for laboratories and proofs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keycloak_user
short_description: Settle a lab user of Keycloak
description:
  - Creates, converges or removes one user of a realm, able to log in with a password.
  - Meant for laboratories and temporary users. Where users come from a directory, leave them there.
  - Only options that are given are compared and changed; everything else of the user is kept.
  - What the realm's user profile (C(GET /admin/realms/{realm}/users/profile)) asks of a user is
    checked before anything is written, and in check mode; what is lacking is told at once.
  - A user is one C(UserRepresentation) below C(/admin/realms/{realm}/users), and is written in one
    request.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.keycloak
  - eoepca.oapip._keycloak
attributes:
  idempotent:
    support: partial
    details: With O(update_password=always) the password is set on every run, as it cannot be read.
options:
  state:
    description:
      - Whether the user exists (C(POST users), C(DELETE users/{id})).
    type: str
    choices: [present, absent]
    default: present
  username:
    description:
      - Name to log in with (C(username)). Keycloak keeps it in lower case and finds it exactly
        (C(GET users?username=...&exact=true)).
      - Its length and characters are a matter of the realm's profile; by default three to 255
        characters, without blanks, quotes and C(/).
    type: str
    required: true
  email:
    description:
      - Email address (C(email)), kept in lower case. It is set as verified (C(emailVerified)).
      - By default of a realm, a user without email and names cannot use the password grant
        (C(Account is not fully set up)); a warning tells what is lacking.
    type: str
  first_name:
    description:
      - First name (C(firstName)).
    type: str
  last_name:
    description:
      - Last name (C(lastName)).
    type: str
  enabled:
    description:
      - Whether the user may log in (C(enabled)). A new user may.
    type: bool
  attributes:
    description:
      - Other attributes of the realm's user profile (C(attributes)), each with a value or a list of
        values. An empty or null value removes the attribute, those that are not named are kept.
      - Attributes that the profile does not know, or that administrators may not edit, are refused,
        as Keycloak would drop them without a word.
    type: dict
  password:
    description:
      - Password (C(credentials) with C(type=password)), not temporary.
    type: str
  update_password:
    description:
      - V(on_create) sets the password of a new user only, V(always) sets it on every run
        (C(PUT users/{id}/reset-password)).
    type: str
    choices: [on_create, always]
    default: on_create
seealso:
  - module: eoepca.oapip.keycloak_protect
"""

EXAMPLES = r"""
- name: A user for the proof
  eoepca.oapip.keycloak_user:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    username: alice
    email: alice@example.org
    first_name: Alice
    last_name: Liddell
    password: "{{ alice_password }}"

- name: In a realm whose profile asks for a department
  eoepca.oapip.keycloak_user:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    username: bob
    email: bob@example.org
    attributes:
      department: hydrology
      projects: [floods, droughts]

- name: No longer
  eoepca.oapip.keycloak_user:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    username: alice
    state: absent
"""

RETURN = r"""
changes:
  description: What was changed, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(delete).
      type: str
    kind:
      description: V(user).
      type: str
    name:
      description: Name of the user.
      type: str
    fields:
      description: Fields that an update touches.
      type: list
      elements: str
assumed:
  description: Always empty, as a user needs nothing but the realm.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _argspec,
    _keycloak,
    _keycloak_profile,
    _plan,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

SPEC = ModuleSpec(
    argument_spec={
        **_argspec.keycloak(),
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "username": {"type": "str", "required": True},
        "email": {"type": "str"},
        "first_name": {"type": "str"},
        "last_name": {"type": "str"},
        "enabled": {"type": "bool"},
        "attributes": {"type": "dict"},
        "password": {"type": "str", "no_log": True},
        "update_password": {
            "type": "str",
            "choices": ["on_create", "always"],
            "default": "on_create",
            "no_log": False,
        },
    },
    supports_check_mode=True,
)

FIELDS = {
    "email": "email",
    "first_name": "firstName",
    "last_name": "lastName",
    "enabled": "enabled",
}
State = t.Dict[str, t.Any]


def desire(params: Params) -> State:
    """Return what the options want, without the password; attributes as lists, empty for none."""
    wanted = {key: params[key] for key in FIELDS if params[key] is not None}
    if "email" in wanted:
        wanted["email"] = wanted["email"].lower()  # as Keycloak keeps it
    if params["attributes"]:
        wanted["attributes"] = {
            str(name): [_text(one) for one in (value if isinstance(value, list) else [value])]
            for name, value in params["attributes"].items()
        }
        for name, values in wanted["attributes"].items():
            wanted["attributes"][name] = sorted(one for one in values if one)
    return wanted


def _text(value: t.Any) -> str:
    """Return a value as Keycloak keeps it: a text, the empty one for none."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def plan(current: t.Optional[State], params: Params) -> t.List[Change]:
    """Return the changes from a user, None where there is none, to the one wanted."""
    name, wanted = params["username"].lower(), desire(params)
    if params["state"] == "absent":
        return [Change("delete", "user", name, current)] if current is not None else []
    named = wanted.get("attributes", {})
    if named:
        wanted["attributes"] = {key: values for key, values in named.items() if values}
    if current is None:
        shown = {"enabled": True, **wanted}
        if params["password"]:
            shown["password"] = _plan.NEW_SECRET
        return [Change("create", "user", name, None, shown)]
    before = _plan.pick(current, wanted)
    if named:
        before["attributes"] = {k: v for k, v in current["attributes"].items() if k in named}
    if params["password"] and params["update_password"] == "always":
        before["password"], wanted["password"] = _plan.SECRET, _plan.NEW_SECRET
    return _plan.update("user", name, before, wanted)


def normalise(raw: t.Optional[State]) -> t.Optional[State]:
    """Return a representation in the names of the options."""
    if raw is None:
        return None
    shown = {option: raw.get(key) for option, key in FIELDS.items()}
    attributes = raw.get("attributes") or {}
    return {**shown, "attributes": {key: sorted(values) for key, values in attributes.items()}}


def body_of(change: Change, raw: State, params: Params) -> State:
    """Return the whole user after a change, as a partial update drops what it lacks."""
    given = change.after or {}
    body = {**raw, **{FIELDS[key]: given[key] for key in given if key in FIELDS}}
    if change.action == "create":
        body["username"] = change.name
    if "email" in given:
        body["emailVerified"] = True
    if "attributes" in given:
        attributes = {**(raw.get("attributes") or {}), **given["attributes"]}
        gone = set((change.before or {}).get("attributes") or {}) - set(given["attributes"])
        body["attributes"] = {k: v for k, v in attributes.items() if k not in gone}
    if "password" in given:
        password = {"type": "password", "value": params["password"], "temporary": False}
        body["credentials"] = [password]
    return body


def check(kc: _keycloak.Keycloak, body: State, params: Params) -> None:
    """Hold a user who is to be written against the realm's user profile.

    :raises OapipError: what the profile refuses of it, all at once.
    """
    profile = kc.request("GET", "users", "profile", doing="reading the user profile", absent=True)
    faults = _keycloak_profile.faults(profile or {}, body, params["attributes"] or ())
    if faults:
        raise OapipError(
            f"checking user {body['username']} against the user profile of realm {kc.realm}",
            "; ".join(faults),
            "Give email, first_name, last_name or attributes as the profile asks; "
            "nothing was written.",
        )
    lacking = _keycloak_profile.lacking(profile or {}, body, "user")
    if lacking and "credentials" in body:
        kc.ctx.warn(
            f"User {body['username']} cannot get tokens with the password: the profile of realm "
            f"{kc.realm} asks users for {', '.join(lacking)}"
        )


def apply(kc: _keycloak.Keycloak, change: Change, body: State) -> None:
    """Make the change, in one request."""
    doing = f"{change.action[:-1]}ing user {change.name}"
    try:
        if change.action == "delete":
            kc.request("DELETE", "users", body["id"], doing=doing, absent=True)
        elif change.fields == ["password"]:  # the profile has no say in it
            path = ("users", body["id"], "reset-password")
            kc.request("PUT", *path, body=body["credentials"][0], doing=doing)
        elif change.action == "create":
            kc.create("users", body=body, doing=doing)
        else:
            kc.request("PUT", "users", body["id"], body=body, doing=doing)
    except OapipError as error:
        error.reason = _keycloak_profile.in_words(error.reason)
        raise


def run(params: Params, ctx: Context) -> Result:
    """Settle the user."""
    kc = _keycloak.connect(params, ctx)
    changes: t.List[Change] = []
    for attempt in range(_keycloak.ATTEMPTS):
        raw = kc.user(params["username"])
        changes = plan(normalise(raw), params)
        try:
            for change in changes:
                body = body_of(change, raw or {}, params)
                if change.action != "delete" and change.fields != ["password"]:
                    check(kc, body, params)
                if not ctx.check_mode:
                    apply(kc, change, body)
            break
        except OapipError as error:
            kc.look_again(error, attempt)
    return _plan.result(changes)


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
