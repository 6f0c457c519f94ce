#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who can reach what, by Keycloak's own decision."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keycloak_access_info
short_description: Ask Keycloak who can use which path
description:
  - Asks Keycloak for its decision on every check, and fails where one is not as expected.
  - Needs no user's password, as administrators may have policies evaluated. Where a user's token or
    password is given, it is also asked the way the plugin authz-keycloak of APISIX asks on the
    routes of M(eoepca.oapip.oapip_route), with that token.
  - An empty answer of Keycloak is never read as a permit.
  - It proves what Keycloak decides, not that a gateway asks it.
  - Administrators look the path up with C(GET
    /admin/realms/{realm}/clients/{id}/authz/resource-server/resource?uri=...&matchingUri=true) and
    ask C(POST /admin/realms/{realm}/clients/{id}/authz/resource-server/policy/evaluate).
  - APISIX looks it up with C(GET
    /realms/{realm}/authz/protection/resource_set?uri=...&matchingUri=true), as the client's service
    account, refuses where that finds nothing, and asks C(POST
    /realms/{realm}/protocol/openid-connect/token) with the user's token and the grant type
    C(urn:ietf:params:oauth:grant-type:uma-ticket) (User-Managed Access 2.0, section 3.3.1). So does
    this module where the account may read the client's secret. Where it may not, Keycloak is given
    the path in that last request (C(permission_resource_format=uri),
    C(permission_resource_matching_uri=true)).
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes.info
  - eoepca.oapip._attributes.keycloak
  - eoepca.oapip._keycloak
options:
  client_id:
    description:
      - ID of the client whose authorization services protect the engine (C(clientId); C(audience)
        of the user's request).
    type: str
    required: true
  checks:
    description:
      - Questions to ask (C(resources) of the evaluation; C(permission) of the user's request).
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description:
          - Name of the user who wants to use the path (C(username); C(userId) of the evaluation).
        type: str
      anonymous:
        description:
          - Whether nobody in particular wants to (no C(Authorization)); a gateway refuses that
            without asking Keycloak.
        type: bool
        default: false
      path:
        description:
          - Path at the gateway, as a client would send it. It is normalised as the gateway does,
            then looked up (C(uri) with C(matchingUri=true)).
        type: str
        required: true
      scope:
        description:
          - Authorization scope that is wanted (C(scopes) of the evaluation;
            C(permission=<resource>#<scope>) of the user's request). The routes of
            M(eoepca.oapip.oapip_route) ask for none.
        type: str
      expect:
        description:
          - Decision that is right. V(allow) is C(status=PERMIT) of the evaluation, and
            C(result=true) of the user's request.
        type: str
        choices: [allow, deny]
        required: true
  contexts:
    description:
      - Contexts as for M(eoepca.oapip.keycloak_protect), from which checks of their paths (C(uris))
        are made. Users of a context are allowed, users of others and anonymous ones are not.
      - Up to ten contexts, everybody is tried on everything; beyond, each context is tried by its
        own users and by those of the next one. A context with groups or roles is tried by its own
        users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the context, whose resource is C(context:<name>).
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
          - Paths that the context covers (C(uris) of the resource). Without it, everything below
            C(/<name>).
        type: list
        elements: str
      users:
        description:
          - Names of the users who may use the context (C(username)).
        type: list
        elements: str
      groups:
        description:
          - Full paths of groups whose members may use the context (C(groups) of a group policy).
        type: list
        elements: str
      roles:
        description:
          - Roles whose holders may use the context (C(roles) of a role policy).
        type: list
        elements: str
      scopes:
        description:
          - Authorization scopes of the resource (C(scopes)). None is asked for.
        type: list
        elements: str
      type:
        description:
          - Type of the resource (C(type)). Nothing is asked about it.
        type: str
  credentials:
    description:
      - Tokens or passwords of users, to ask the way the gateway asks as well (C(Authorization) of
        the user's request).
    type: list
    elements: dict
    default: []
    suboptions:
      username:
        description:
          - Name of the user (C(username); C(preferred_username) or C(sub) of the token, which is
            refused when it is somebody else's).
        type: str
        required: true
      token:
        description:
          - Access token of the user (C(access_token)), used as it is.
        type: str
      password:
        description:
          - Password of the user, exchanged for a token at O(token_client_id)
            (C(POST /realms/{realm}/protocol/openid-connect/token) with C(grant_type=password)). A
            token that ends during the call is got anew.
        type: str
  token_client_id:
    description:
      - Client that allows the direct grant (C(client_id), C(directAccessGrantsEnabled)), for
        passwords in O(credentials).
    type: str
  token_client_secret:
    description:
      - Secret of O(token_client_id) (C(client_secret)), where it is no public client.
    type: str
  fail_on_mismatch:
    description:
      - Whether to fail where a decision is not the expected one. Check mode never does, as what
        would be changed before may decide.
    type: bool
    default: true
seealso:
  - module: eoepca.oapip.keycloak_protect
"""

EXAMPLES = r"""
- name: Alice gets in, Bob and strangers do not
  eoepca.oapip.keycloak_access_info:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    checks:
      - user: alice
        path: /alice/ogc-api/processes
        expect: allow
      - user: bob
        path: /alice/ogc-api/processes
        expect: deny
      - anonymous: true
        path: /alice/ogc-api/processes
        expect: deny

- name: The same by Alice's own token, asked for as APISIX does
  eoepca.oapip.keycloak_access_info:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    checks:
      - user: alice
        path: /alice/ogc-api/processes
        expect: allow
      - user: alice
        path: /bob/ogc-api/processes
        expect: deny
    credentials:
      - username: alice
        password: "{{ alice_password }}"
    token_client_id: oapip-cli

- name: Everything that follows from the contexts
  eoepca.oapip.keycloak_access_info:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    contexts: "{{ oapip_contexts }}"
"""

RETURN = r"""
changes:
  description: Always empty.
  returned: always
  type: list
  elements: dict
assumed:
  description: Always empty.
  returned: always
  type: list
  elements: str
decisions:
  description: What Keycloak decided on each check, once by each method.
  returned: success, and when a decision is not as expected
  type: list
  elements: dict
  contains:
    user:
      description: Who; null for nobody in particular.
      type: str
    path:
      description: Path of the check.
      type: str
    asked:
      description: Path that Keycloak was asked about.
      type: str
    scope:
      description: Scope of the check.
      type: str
    expect:
      description: Decision that is right.
      type: str
    decision:
      description: V(allow) or V(deny).
      type: str
    method:
      description: V(admin) evaluation, V(token) as APISIX asks, or V(none) for anonymous.
      type: str
    resources:
      description: Resources that protect the path.
      type: list
      elements: str
    policies:
      description: Permissions and policies that decided, with what each said.
      type: list
      elements: str
    reason:
      description: Why, where Keycloak said it.
      type: str
    mismatch:
      description: Whether the decision is not the expected one.
      type: bool
mismatches:
  description: Number of decisions that are not as expected.
  returned: success, and when a decision is not as expected
  type: int
would_prove:
  description: Paths of contexts that do not exist yet, in check mode.
  returned: in check mode, when the client does not exist
  type: list
  elements: str
"""

import functools
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _argspec, _keycloak, _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_access import (
    Check,
    Decision,
    Judge,
    matrix,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_contexts import (
    OPTIONS,
    contexts_of,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_gateway import Bearer, Gateway
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)

CHECK: t.Dict[str, t.Dict[str, t.Any]] = {
    "user": {"type": "str"},
    "anonymous": {"type": "bool", "default": False},
    "path": {"type": "str", "required": True},
    "scope": {"type": "str"},
    "expect": {"type": "str", "choices": ["allow", "deny"], "required": True},
}
CREDENTIAL: t.Dict[str, t.Dict[str, t.Any]] = {
    "username": {"type": "str", "required": True},
    "token": {"type": "str", "no_log": True},
    "password": {"type": "str", "no_log": True},
}
SPEC = ModuleSpec(
    argument_spec={
        **_argspec.keycloak(),
        "client_id": {"type": "str", "required": True},
        "checks": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": CHECK,
            "mutually_exclusive": [["user", "anonymous"]],
        },
        "contexts": {"type": "list", "elements": "dict", "default": [], "options": OPTIONS},
        "credentials": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "no_log": False,
            "options": CREDENTIAL,
            "required_one_of": [["token", "password"]],
        },
        "token_client_id": {"type": "str"},
        "token_client_secret": {"type": "str", "no_log": True},
        "fail_on_mismatch": {"type": "bool", "default": True},
    },
    supports_check_mode=True,
)


def checks_of(params: Params) -> t.List[Check]:
    """Return the checks of the options and those that follow from the contexts.

    :raises OapipError: a check that names neither a user nor says ``anonymous``.
    """
    found = matrix(contexts_of(params["contexts"], params["client_id"]))
    for one in params["checks"]:
        if not one.get("user") and not one.get("anonymous"):
            raise OapipError(
                f"checking access to {one['path']}", "no user", "Give user, or anonymous: true."
            )
        user = one["user"].lower() if one.get("user") else None
        found.append(Check(user, one["path"], one["expect"], one.get("scope") or ""))
    return found


def tokens_of(
    kc: _keycloak.Keycloak, params: Params, checks: t.Sequence[Check]
) -> t.Dict[str, Bearer]:
    """Return tokens of the users of the checks, those that were given and those of passwords."""
    found: t.Dict[str, Bearer] = {}
    users = {check.user for check in checks}
    for one in params["credentials"]:
        name = one["username"].lower()
        if name not in users:
            kc.ctx.warn(f"no check is about {name}: these credentials are not used")
            continue
        if not one.get("token") and not params["token_client_id"]:
            raise OapipError(
                f"getting a token for {name}", "no client to get it from", "Give token_client_id."
            )
        client, secret = params["token_client_id"], params["token_client_secret"]
        get = functools.partial(kc.user_token, client, name, one.get("password"), secret)
        found[name] = Bearer(get, one.get("token"))
    return found


def decide(
    judge: Judge, checks: t.Sequence[Check], tokens: t.Mapping[str, Bearer]
) -> t.List[Decision]:
    """Return the decisions on all checks, by every method there is for each."""
    judge.prepare(checks)
    for name, token in tokens.items():
        token.check_owner(name, str(judge.users[name]))
    asked: t.List[t.Tuple[Check, t.Optional[Bearer]]] = []
    for check in checks:
        asked.append((check, None))
        if check.user and check.user in tokens:
            asked.append((check, tokens[check.user]))
    return [found for _pair, found in judge.kc.each(lambda one: judge.decide(*one), asked)]


def run(params: Params, ctx: Context) -> Result:
    """Ask, compare, tell."""
    kc = _keycloak.connect(params, ctx)
    checks = checks_of(params)
    if ctx.check_mode and kc.client(params["client_id"]) is None:
        paths = sorted({check.path for check in checks})
        facts: t.Dict[str, t.Any] = {"decisions": [], "mismatches": 0, "would_prove": paths}
        return _plan.result([], [f"client {params['client_id']}"], **facts)
    tokens = tokens_of(kc, params, checks)
    gateway = Gateway(kc, params, params["client_id"]) if tokens else None
    decisions = decide(Judge(kc, params["client_id"], gateway), checks, tokens)
    wrong = [one for one in decisions if one.mismatch]
    facts = {"decisions": [one.as_dict() for one in decisions], "mismatches": len(wrong)}
    if wrong and params["fail_on_mismatch"] and not ctx.check_mode:
        raise OapipError(
            f"checking access to client {params['client_id']}",
            f"{len(wrong)} of {len(decisions)} decisions are wrong: "
            + "; ".join(_told(one) for one in wrong[:5]),
            "See decisions for the policies that decided.",
            extra=facts,
        )
    return _plan.result([], **facts)


def _told(one: Decision) -> str:
    who = one.check.user or "anonymous"
    reason = f" ({one.reason})" if one.reason else ""
    return f"{who} on {one.check.path}: {one.decision}, not {one.check.expect}{reason}"


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
