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
      - Whether the user exists.
    type: str
    choices: [present, absent]
    default: present
  username:
    description:
      - Name to log in with. Keycloak keeps it in lower case.
    type: str
    required: true
  email:
    description:
      - Email address. It is set as verified. A user without email and names cannot use the password
        grant (C(Account is not fully set up)).
    type: str
  first_name:
    description:
      - First name.
    type: str
  last_name:
    description:
      - Last name.
    type: str
  enabled:
    description:
      - Whether the user may log in. A new user may.
    type: bool
  password:
    description:
      - Password.
    type: str
  update_password:
    description:
      - V(on_create) sets the password of a new user only, V(always) sets it on every run.
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

from ansible_collections.eoepca.oapip.plugins.module_utils import _argspec, _keycloak, _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
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
    """Return what the options want, without the password."""
    wanted = {key: params[key] for key in FIELDS if params[key] is not None}
    if "email" in wanted:
        wanted["email"] = wanted["email"].lower()  # as Keycloak keeps it
    return wanted


def plan(current: t.Optional[State], params: Params) -> t.List[Change]:
    """Return the changes from a user, None where there is none, to the one wanted."""
    name, wanted = params["username"].lower(), desire(params)
    if params["state"] == "absent":
        return [Change("delete", "user", name, current)] if current is not None else []
    if current is None:
        shown = {"enabled": True, **wanted}
        if params["password"]:
            shown["password"] = _plan.NEW_SECRET
        return [Change("create", "user", name, None, shown)]
    before = _plan.pick(current, wanted)
    if params["password"] and params["update_password"] == "always":
        before["password"], wanted["password"] = _plan.SECRET, _plan.NEW_SECRET
    return _plan.update("user", name, before, wanted)


def normalise(raw: t.Optional[State]) -> t.Optional[State]:
    """Return a representation in the names of the options."""
    if raw is None:
        return None
    return {option: raw.get(key) for option, key in FIELDS.items()}


def apply(kc: _keycloak.Keycloak, change: Change, raw: State, params: Params) -> None:
    """Make the change; ``raw`` is the whole user, as a partial update drops what it lacks."""
    doing = f"{change.action[:-1]}ing user {change.name}"
    if change.action == "delete":
        kc.request("DELETE", "users", raw["id"], doing=doing, absent=True)
        return
    given = change.after or {}
    body = {**raw, **{FIELDS[key]: given[key] for key in given if key in FIELDS}}
    if "email" in given:
        body["emailVerified"] = True
    password = {"type": "password", "value": params["password"], "temporary": False}
    if change.action == "create":
        body["username"] = change.name
        if params["password"]:
            body["credentials"] = [password]
        kc.create("users", body=body, doing=doing)
        return
    if set(change.fields) - {"password"}:
        kc.request("PUT", "users", raw["id"], body=body, doing=doing)
    if "password" in given:
        path = ("users", raw["id"], "reset-password")
        kc.request("PUT", *path, body=password, doing=f"setting the password of {change.name}")


def run(params: Params, ctx: Context) -> Result:
    """Settle the user."""
    kc = _keycloak.connect(params, ctx)
    raw = kc.user(params["username"])
    changes = plan(normalise(raw), params)
    if not ctx.check_mode:
        for change in changes:
            apply(kc, change, raw or {}, params)
    return _plan.result(changes)


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
