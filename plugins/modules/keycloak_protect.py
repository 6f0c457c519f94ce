#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may use which path of an engine, as authorization services of its Keycloak client."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keycloak_protect
short_description: Settle who may use which contexts of an engine
description:
  - Makes the resources, policies, permissions, groups and memberships of all contexts of a client
    in one call, and closes what Keycloak leaves open by default.
  - Every name is resolved before the first write. New objects are imported in batches, each of
    which is made whole or not at all. What was written is read back.
  - Objects of others are never changed. Ours bear O(marker).
  - The settings of the resource server are ours while O(state=present). They become what closes,
    whatever they were (C(policyEnforcementMode) C(ENFORCING), C(decisionStrategy) C(UNANIMOUS)),
    with C(allowRemoteResourceManagement) on, which gateways need (C(PUT authz)).
  - A context C(alice) is the resource C(context:alice), the policies C(context:alice:groups),
    C(context:alice:users) and C(context:alice:roles) as far as they are needed, and the permission
    C(context:alice:access), which lets in whom one of them lets in (C(AFFIRMATIVE)).
  - Paths of the API below are those under C(/admin/realms/{realm}); C(authz) stands for
    C(clients/{id}/authz/resource-server), whose C(authz/settings) is read as the current state and
    whose C(authz/import) makes what is new.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.keycloak
  - eoepca.oapip._keycloak
options:
  state:
    description:
      - V(absent) removes everything that bears O(marker), whatever O(contexts) says
        (C(DELETE authz/resource/{id}), C(authz/policy/{id}), C(authz/permission/{id}),
        C(authz/scope/{id}), C(groups/{id})).
      - A group with groups of others below it stays, with its members, and so does a scope that a
        resource or permission of others uses; here and with O(purge). The settings of the resource
        server stay as they are, as nobody knows what they were before.
    type: str
    choices: [present, absent]
    default: present
  client_id:
    description:
      - ID of the client whose authorization services protect the engine (C(clientId),
        C(GET clients?clientId=...)). Keycloak calls it a resource server.
    type: str
    required: true
  marker:
    description:
      - Text that says who owns the objects, kept as attribute C(oapip.owner) of resources and
        groups, as description of policies and permissions, and as display name of scopes. Only
        exact matches are changed or removed.
    type: str
    required: true
  contexts:
    description:
      - All contexts of the client (C(resources) and C(policies) of C(authz/settings)).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the context and first segment of its path. Of a V(personal) context, it is the
            name of the user. Keycloak knows it as the resource C(context:<name>) (C(name)).
        type: str
        required: true
      mode:
        description:
          - V(personal) belongs to the user of its name, V(shared) to those listed. Keycloak does
            not know the difference; the gateway does.
        type: str
        choices: [personal, shared]
        default: personal
      uris:
        description:
          - Paths that the context covers, like V(/team/*). Without it, everything below C(/<name>)
            (C(uris) of the resource, C(authz/resource)).
          - Upper case, blanks, C(..), patterns other than a last C(/*), and what is special in a
            URL are refused, as gateways, Keycloak and the engine read them differently.
        type: list
        elements: str
      users:
        description:
          - Names of the users who may use the context (C(username)). A V(personal) context has its
            own user. What becomes of them says O(user_access).
        type: list
        elements: str
      groups:
        description:
          - Full paths of existing groups whose members may use the context (C(groups) of a group
            policy, C(authz/policy/group); each looked up with C(GET group-by-path/{path})).
        type: list
        elements: str
      roles:
        description:
          - Realm roles, or client roles as C(<client>/<role>), whose holders may use the context
            (C(roles) of a role policy, C(authz/policy/role)). Needs Keycloak 25 or newer, as older
            ones only know the roles that a token happens to name (C(fetchRoles)).
        type: list
        elements: str
      scopes:
        description:
          - Authorization scopes of the resource (C(scopes), C(authz/scope)). Missing ones are made,
            and those are removed when nobody uses them any more; scopes of others are used as they
            are.
        type: list
        elements: str
      type:
        description:
          - Type of the resource (C(type)). Without it, C(urn:<client_id>:resources:context).
        type: str
  user_access:
    description:
      - How the users of a context get access. With V(group), each context has the group
        C(/<client_id>/<name>) (C(groups/{id}/children)), whose members they are, and a group policy
        (C(authz/policy/group)). With V(policy), a user policy names them (C(authz/policy/user)).
      - Service accounts are refused with V(policy), as Keycloak never lets them in by such a one.
    type: str
    choices: [group, policy]
    default: group
  memberships:
    description:
      - V(ensure) adds the users to the group of their context, V(exact) also removes all others,
        V(unmanaged) leaves the members alone (C(GET groups/{id}/members),
        C(PUT users/{id}/groups/{group}), C(DELETE users/{id}/groups/{group})).
    type: str
    choices: [ensure, exact, unmanaged]
    default: ensure
  default_access:
    description:
      - V(deny) removes the default resource, permission and policy that Keycloak up to 26.4 makes
        and that let every user of the realm use every other path (C(Default Resource),
        C(Default Permission), C(Default Policy)). V(keep) keeps them.
    type: str
    choices: [deny, keep]
    default: deny
  purge:
    description:
      - Whether to remove objects that bear O(marker) and belong to no context of O(contexts), as
        those of a user who left (C(DELETE authz/resource/{id}), C(authz/policy/{id}),
        C(authz/permission/{id}), C(groups/{id})).
    type: bool
    default: true
  adopt:
    description:
      - Whether to take over objects that have the names of ours but not our marker, which they get
        then (C(PUT authz/resource/{id}), C(authz/policy/{type}/{id}),
        C(authz/permission/resource/{id}), C(groups/{id})). A policy or permission of another type
        than ours is refused all the same (C(type)).
    type: bool
    default: false
seealso:
  - module: eoepca.oapip.keycloak_client
  - module: eoepca.oapip.keycloak_access_info
"""

EXAMPLES = r"""
- name: Two users, and a team
  eoepca.oapip.keycloak_protect:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    marker: oapip-engine 8e6a1c7e-4c0e-4f0e-9d52-0a9c2f6f6a11
    contexts:
      - name: alice
      - name: bob
      - name: flood-mapping
        mode: shared
        users: [alice, bob]
        groups: [/hydrology]

- name: Bob has left, his context goes with those that are not listed
  eoepca.oapip.keycloak_protect:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    marker: oapip-engine 8e6a1c7e-4c0e-4f0e-9d52-0a9c2f6f6a11
    contexts:
      - name: alice
      - name: flood-mapping
        mode: shared
        users: [alice]
        groups: [/hydrology]
    memberships: exact # he goes from the groups of the others too

- name: Five hundred users, named in the first column of a file with a header
  eoepca.oapip.keycloak_protect:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    marker: oapip-engine 8e6a1c7e-4c0e-4f0e-9d52-0a9c2f6f6a11
    user_access: policy
    contexts: "{{ modes | dict2items(key_name='name', value_name='mode') }}"
  vars:
    modes: "{{ dict(names | product(['personal'])) }}"
    names: "{{ cells | map('trim', ' \"') | select | map('lower') | unique }}"
    cells: "{{ lines | map('ansible.builtin.regex_replace', '[,;].*') }}"
    lines: "{{ lookup('ansible.builtin.file', 'users.csv').splitlines()[1:] }}"

- name: Nothing of it is left
  eoepca.oapip.keycloak_protect:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    marker: oapip-engine 8e6a1c7e-4c0e-4f0e-9d52-0a9c2f6f6a11
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
      description: V(settings), V(group), V(scope), V(resource), V(policy) or V(permission).
      type: str
    name:
      description: Name of the object, or path of the group.
      type: str
    fields:
      description: Fields that an update touches.
      type: list
      elements: str
assumed:
  description: Client and groups that check mode assumed to exist.
  returned: success
  type: list
  elements: str
contexts:
  description: The contexts, complete.
  returned: when O(state=present)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the context.
      type: str
    uris:
      description: Paths that it covers.
      type: list
      elements: str
    users:
      description: Users who may use it.
      type: list
      elements: str
requests:
  description: Number of requests that were made, without the login.
  returned: success
  type: int
"""

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _argspec,
    _keycloak,
    _keycloak_protect,
    _plan,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_authz import Protection
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_contexts import (
    OPTIONS,
    Access,
    contexts_of,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_names import (
    LONGEST,
    length_fault,
    path_fault,
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
        "client_id": {"type": "str", "required": True},
        "marker": {"type": "str", "required": True},
        "contexts": {"type": "list", "elements": "dict", "default": [], "options": OPTIONS},
        "user_access": {"type": "str", "choices": ["group", "policy"], "default": "group"},
        "memberships": {
            "type": "str",
            "choices": ["ensure", "exact", "unmanaged"],
            "default": "ensure",
        },
        "default_access": {"type": "str", "choices": ["deny", "keep"], "default": "deny"},
        "purge": {"type": "bool", "default": True},
        "adopt": {"type": "bool", "default": False},
    },
    supports_check_mode=True,
)


def wish_of(params: Params) -> _keycloak_protect.Wish:
    """Return the options that decide how contexts become objects.

    :raises OapipError: a client id that is no name of a group, no marker or one too long.
    """
    absent = params["state"] == "absent"
    doing = f"protecting client {params['client_id']}"
    if "/" in params["client_id"]:
        raise OapipError(doing, "its id has a /, which parts the names of groups", "Rename it.")
    if path_fault(params["client_id"]):
        raise OapipError(doing, path_fault(params["client_id"]), "Rename it.")
    if not params["marker"].strip():
        raise OapipError(doing, "marker is empty", "Give a text that no other installation uses.")
    fault = length_fault(params["marker"], LONGEST - len(_keycloak_protect.OWNED))
    if fault:
        raise OapipError(doing, f"marker: {fault}", "Give a shorter one; nothing was written.")
    return _keycloak_protect.Wish(
        params["client_id"],
        params["marker"],
        params["memberships"],
        params["user_access"],
        True if absent else params["purge"],
        params["adopt"],
        "keep" if absent else params["default_access"],
    )


def run(params: Params, ctx: Context) -> Result:
    """Settle the contexts."""
    wish = wish_of(params)
    absent = params["state"] == "absent"
    contexts = [] if absent else contexts_of(params["contexts"], wish.client_id)
    desired = _keycloak_protect.desire(contexts, wish)
    kc = _keycloak.connect(params, ctx)
    protection = Protection(kc, wish, ctx.check_mode)
    changes: t.List[Change] = []
    for attempt in range(_keycloak.ATTEMPTS):
        seen = protection.observe(desired, absent)
        if absent:
            desired.settings = seen.current.settings
        protection.resolve(desired)
        left = _keycloak_protect.plan(seen.current, desired, wish)
        changes = _plan.joined(changes, left)
        assumed = list(seen.assumed)
        if ctx.check_mode or not left:
            break
        try:
            protection.apply(left)
        except OapipError as error:
            kc.look_again(error, attempt)
            continue
        left = _keycloak_protect.plan(protection.observe(desired, absent).current, desired, wish)
        _keycloak.refuse_rest(f"the protection of client {wish.client_id}", left)
        break
    if not ctx.check_mode:
        after = protection.seen.current
        changes = [one for one in changes if not _keycloak_protect.was_kept(one, after)]
    result = _plan.result(changes, assumed, requests=kc.sent)
    if not absent:
        result["contexts"] = [_shown(one) for one in contexts]
    return result


def _shown(context: Access) -> t.Dict[str, t.Any]:
    return {"name": context.name, "uris": list(context.uris), "users": list(context.users)}


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
