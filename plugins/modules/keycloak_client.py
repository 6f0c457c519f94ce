#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One OIDC client of Keycloak, and the audience that tokens for it carry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keycloak_client
short_description: Settle an OIDC client of Keycloak without losing its authorization data
description:
  - Creates, converges or removes one OpenID Connect client.
  - Only options that are given are compared and changed. The client is always read whole, merged
    and written whole, as a partial update makes Keycloak delete all authorization data of a client.
  - Adds the audience that access tokens must carry, as a default client scope of this client and of
    the clients that users get their tokens from.
  - A client is one C(ClientRepresentation), whose fields are named below, at C(clients/{id}). Paths
    are those under C(/admin/realms/{realm}).
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
      - Whether the client exists (C(POST clients), C(DELETE clients/{id})). V(absent) also takes
        the audience scope from all clients.
    type: str
    choices: [present, absent]
    default: present
  client_id:
    description:
      - Client ID (C(clientId), C(GET clients?clientId=...)).
    type: str
    required: true
  name:
    description:
      - Display name (C(name)).
    type: str
  description:
    description:
      - Description (C(description)).
    type: str
  enabled:
    description:
      - Whether anyone gets in by way of the client (C(enabled)). A new client is enabled.
    type: bool
  public:
    description:
      - Whether the client has no secret (C(publicClient)). A new client is confidential.
    type: bool
  secret:
    description:
      - Secret of a confidential client (C(secret)). Without it, Keycloak makes one and it is kept.
      - A secret that equals the server's is no change.
      - Mutually exclusive with O(secret_rotation_id).
    type: str
  secret_rotation_id:
    description:
      - Any text that names a generation of the secret, as C(2026-11). It is kept as the client's
        attribute C(oapip.secret.rotation); another text than the one kept replaces the secret by a
        new random one, once. Whoever uses the secret must read it again (O(return_secret)).
    type: str
  return_secret:
    description:
      - Whether to return the client's secret as RV(secret) (C(GET clients/{id}/client-secret)). Set
        C(no_log) on the task then.
    type: bool
    default: false
  root_url:
    description:
      - Root URL, to which relative URIs are added (C(rootUrl)).
    type: str
  redirect_uris:
    description:
      - Valid redirect URIs, as a set (C(redirectUris)). A new client has none.
    type: list
    elements: str
  web_origins:
    description:
      - Origins that browsers may send tokens from, as a set (C(webOrigins)).
    type: list
    elements: str
  standard_flow:
    description:
      - Whether the authorization code flow is on (C(standardFlowEnabled)). On in a new client.
    type: bool
  implicit_flow:
    description:
      - Whether the implicit flow is on (C(implicitFlowEnabled)), which puts tokens into URLs. Off
        in a new client.
    type: bool
  direct_access_grants:
    description:
      - Whether the password grant is on (C(directAccessGrantsEnabled)). Off in a new client.
    type: bool
  service_accounts:
    description:
      - Whether the client has a service account (C(serviceAccountsEnabled)). Off in a new client.
    type: bool
  authorization:
    description:
      - Whether the client has authorization services (C(authorizationServicesEnabled)), with
        resources, policies and permissions. Implies O(service_accounts=true) and O(public=false),
        which cannot be taken from it.
      - Turning it off destroys them; that needs O(destroy_authorization=true).
    type: bool
  device_grant:
    description:
      - Whether the device authorization grant is on (attribute
        C(oauth2.device.authorization.grant.enabled)).
    type: bool
  pkce:
    description:
      - Method of Proof Key for Code Exchange that the client must use (attribute
        C(pkce.code.challenge.method)).
    type: str
    choices: [S256, plain, none]
  attributes:
    description:
      - Attributes to set (C(attributes)). An empty or null value removes the attribute.
      - A list is written as Keycloak keeps it, joined by C(##), as V(https://a.example.org/*) and
        V(https://b.example.org/*) of C(post.logout.redirect.uris).
      - Values whose name has C(secret), C(password), C(private) or C(jwt.credential) in it are not
        shown.
    type: dict
  attributes_mode:
    description:
      - Whether C(attributes) that O(attributes) does not name are kept (V(merge)) or removed
        (V(exact)). Those that Keycloak or the other options keep stay in any case.
    type: str
    choices: [merge, exact]
    default: merge
  mappers:
    description:
      - Protocol mappers of the client, each by its name; others are kept
        (C(protocolMappers)).
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the mapper (C(name)).
        type: str
        required: true
      type:
        description:
          - Provider of the mapper (C(protocolMapper)), as C(oidc-usermodel-attribute-mapper).
            Required for V(present).
        type: str
      config:
        description:
          - Settings of the mapper (C(config)). Only keys that are given are compared.
        type: dict
        default: {}
      state:
        description:
          - Whether the mapper is among the C(protocolMappers) of the client.
        type: str
        choices: [present, absent]
        default: present
  default_scopes:
    description:
      - Default client scopes, as an exact set (C(defaultClientScopes),
        C(clients/{id}/default-client-scopes/{scope})). The scope of O(audience), and
        C(service_account), which Keycloak gives by itself, need not be named.
    type: list
    elements: str
  optional_scopes:
    description:
      - Optional client scopes, as an exact set (C(optionalClientScopes),
        C(clients/{id}/optional-client-scopes/{scope})).
    type: list
    elements: str
  service_account_roles:
    description:
      - Roles that the client's service account has, as C(role) for a role of the realm or
        C(client/role) for one of a client (C(users/{id}/role-mappings)). Others are kept.
    type: list
    elements: str
  audience:
    description:
      - IDs of clients that access tokens must name as audience. They are put into a client scope
        C(<client_id>-audience) (C(client-scopes), with mappers C(oidc-audience-mapper)), a default
        scope of this client and of O(token_clients).
      - An empty list removes that scope. Without this option it is left alone.
      - The scope bears O(marker) as well. One that bears another, or holds what is not asked for
        and bears none, is neither changed nor removed, unless O(force=true).
    type: list
    elements: str
  token_clients:
    description:
      - IDs of other clients that users get tokens from, for use at this one. Each gets the scope of
        O(audience) as a default one (C(PUT clients/{id}/default-client-scopes/{scope})). The scope
        notes them (attribute C(oapip.token_clients)); it is taken from a client that is no longer
        among them. Without this option they are left alone.
    type: list
    elements: str
  marker:
    description:
      - Text that says who owns the client, kept as its attribute C(oapip.owner). A client with
        another owner is neither changed nor removed, unless O(force=true), and without a marker
        nothing is removed.
    type: str
  force:
    description:
      - Whether to take over or remove a client (C(PUT), C(DELETE clients/{id})), or its audience
        scope, that is not ours.
    type: bool
    default: false
  destroy_authorization:
    description:
      - Whether O(authorization=false) (C(authorizationServicesEnabled)) may destroy all resources,
        policies and permissions of the client.
    type: bool
    default: false
seealso:
  - module: eoepca.oapip.keycloak_protect
"""

EXAMPLES = r"""
- name: The engine's client
  eoepca.oapip.keycloak_client:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    root_url: https://zoo.example.org
    redirect_uris:
      - https://zoo.example.org/*
    web_origins:
      - https://zoo.example.org
    authorization: true
    audience:
      - oapip-engine
    token_clients:
      - oapip-cli
    marker: oapip-engine 8e6a1c7e-4c0e-4f0e-9d52-0a9c2f6f6a11

- name: A client of a pipeline, with a new secret every month
  eoepca.oapip.keycloak_client:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: pipeline
    standard_flow: false
    service_accounts: true
    service_account_roles:
      - processing-user
    default_scopes:
      - basic
      - oapip-engine-audience
    optional_scopes: []
    mappers:
      - name: project
        type: oidc-hardcoded-claim-mapper
        config:
          claim.name: project
          claim.value: floods
          access.token.claim: true
    secret_rotation_id: 2026-11
    return_secret: true
  register: pipeline
  no_log: true

- name: Remove it
  eoepca.oapip.keycloak_client:
    server_url: https://auth.example.org
    realm: eoepca
    auth_username: admin
    auth_password: "{{ keycloak_admin_password }}"
    client_id: oapip-engine
    marker: oapip-engine 8e6a1c7e-4c0e-4f0e-9d52-0a9c2f6f6a11
    token_clients:
      - oapip-cli
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
      description:
        - V(client), V(client_scope), V(default_client_scope), V(optional_client_scope) or
          V(service_account_role).
      type: str
    name:
      description: Name of the object.
      type: str
    fields:
      description: Fields that an update touches.
      type: list
      elements: str
assumed:
  description: Clients that check mode assumed to exist.
  returned: success
  type: list
  elements: str
client:
  description:
    - The client after the call, in the names of the options; in check mode as it would be, but for
      what Keycloak adds. Secrets among its attributes and mappers show as V(<secret>).
  returned: when O(state=present)
  type: dict
  sample:
    authorization: true
    public: false
    redirect_uris: ["https://zoo.example.org/*"]
issuer:
  description: Issuer of the realm's tokens.
  returned: success
  type: str
  sample: https://auth.example.org/realms/eoepca
secret:
  description: The client's secret; V(<generated>) in check mode where there would be a new one.
  returned: when O(return_secret=true) and the client is confidential
  type: str
"""

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _argspec,
    _keycloak,
    _keycloak_client,
    _plan,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_audience import (
    Audience,
    scope_name,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_client_calls import (
    Seen,
    apply,
    observe,
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

MAPPER: t.Dict[str, t.Dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "type": {"type": "str"},
    "config": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
NAMED: t.List[t.List[t.Any]] = [["state", "present", ["type"]]]

SPEC = ModuleSpec(
    argument_spec={
        **_argspec.keycloak(),
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "client_id": {"type": "str", "required": True},
        "name": {"type": "str"},
        "description": {"type": "str"},
        "enabled": {"type": "bool"},
        "public": {"type": "bool"},
        "secret": {"type": "str", "no_log": True},
        "secret_rotation_id": {"type": "str", "no_log": False},
        "return_secret": {"type": "bool", "default": False, "no_log": False},
        "root_url": {"type": "str"},
        "redirect_uris": {"type": "list", "elements": "str"},
        "web_origins": {"type": "list", "elements": "str"},
        "standard_flow": {"type": "bool"},
        "implicit_flow": {"type": "bool"},
        "direct_access_grants": {"type": "bool"},
        "service_accounts": {"type": "bool"},
        "authorization": {"type": "bool"},
        "device_grant": {"type": "bool"},
        "pkce": {"type": "str", "choices": ["S256", "plain", "none"]},
        "attributes": {"type": "dict"},
        "attributes_mode": {"type": "str", "choices": ["merge", "exact"], "default": "merge"},
        "mappers": {"type": "list", "elements": "dict", "options": MAPPER, "required_if": NAMED},
        "default_scopes": {"type": "list", "elements": "str"},
        "optional_scopes": {"type": "list", "elements": "str"},
        "service_account_roles": {"type": "list", "elements": "str"},
        "audience": {"type": "list", "elements": "str"},
        "token_clients": {"type": "list", "elements": "str", "no_log": False},
        "marker": {"type": "str"},
        "force": {"type": "bool", "default": False},
        "destroy_authorization": {"type": "bool", "default": False},
    },
    mutually_exclusive=[["secret", "secret_rotation_id"]],
    supports_check_mode=True,
)


def run(params: Params, ctx: Context) -> Result:
    """Settle the client."""
    kc = _keycloak.connect(params, ctx)
    desired = _keycloak_client.desire(params)
    changes: t.List[Change] = []
    for attempt in range(_keycloak.ATTEMPTS):
        seen = observe(kc, params, ctx.check_mode)
        left = _plan_from(seen, desired, params)
        changes = _plan.joined(changes, left)
        if ctx.check_mode or not left:
            break
        try:
            apply(kc, params["client_id"], left, seen, desired.exact)
        except OapipError as error:
            kc.look_again(error, attempt)
            continue
        seen = observe(kc, params)
        left = _plan_from(seen, desired, params)
        if attempt + 1 == _keycloak.ATTEMPTS:
            _keycloak.refuse_rest(f"client {params['client_id']}", left)
        if not left:
            break
    _warn(seen, left, params, ctx)
    result = _plan.result(_keycloak_client.shown(changes), seen.assumed, issuer=kc.issuer)
    if params["state"] == "present":
        client = _keycloak_client.planned(seen.current.client, left)
        result["client"] = _keycloak_client.redacted(client)
        if params["return_secret"] and not client["public"]:
            result["secret"] = _secret(kc, params, ctx, left)
    return result


def _plan_from(seen: Seen, desired: _keycloak_client.Settled, params: Params) -> t.List[Change]:
    client_id, force = params["client_id"], params["force"]
    if params["state"] == "absent":
        return _keycloak_client.plan_absent(client_id, seen.current, params["marker"], force)
    destroy = params["destroy_authorization"]
    return _keycloak_client.plan(client_id, seen.current, desired, force, destroy)


def _warn(seen: Seen, left: t.Sequence[Change], params: Params, ctx: Context) -> None:
    """Tell what could not be settled: ``left`` is what check mode leaves to a real run."""
    client_id, scope = params["client_id"], (seen.current.audience or Audience()).scope
    if params["state"] == "absent":
        if scope and not any(one.kind == "client_scope" for one in left):
            owner = scope["owner"] or "nobody"
            ctx.warn(f"The client scope {scope_name(client_id)} stays: it is marked as {owner}'s.")
    elif params["secret"] and seen.current.secret == _keycloak.MASKED:
        ctx.warn(
            f"Whether the secret of client {client_id} is the given one is unknown: Keycloak shows "
            "it masked to who may not manage clients."
        )


def _secret(kc: _keycloak.Keycloak, params: Params, ctx: Context, left: t.Sequence[Change]) -> str:
    """Return the secret in clear: it was asked for, so it must not be masked in this result."""
    if ctx.check_mode:
        new = next(((one.after or {}).get("secret") for one in left if one.kind == "client"), None)
        if new == _plan.GENERATED:
            return _plan.GENERATED
        if new:
            return str(params["secret"])
    secret = kc.client_secret(params["client_id"]) or ""
    ctx.secrets.discard(secret)
    return secret


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
