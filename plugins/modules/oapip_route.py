#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way from outside to the engine, and who may take it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_route
short_description: Publish an OGC API Processes engine through a gateway, closed to strangers
description:
  - Makes the Secrets, C(ApisixTls) and C(ApisixRoute), or the C(Ingress), that publish the engine
    at O(host), waits for the gateway's controller to accept them, and then knocks as a stranger at
    paths that have to be closed.
  - Every rule carries a guard that answers 400 to headers that choose a namespace and to paths that
    two parsers read differently, and drops identity headers that a client made up.
  - A stranger who gets through is a breach. Seen three times in a row, the route is deleted when
    this run created it, restored when this run changed it, and the module fails. So it is when the
    gateway gives no verdict until O(wait_timeout) is over.
  - The secret of the Keycloak client is read from Keycloak by the module and goes into a Secret; it
    passes through no variable and no field of the route.
  - The route is compared whole. Rules or fields that somebody else added to it are removed.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.cluster
  - eoepca.oapip._kube
options:
  namespace:
    description:
      - Namespace of the engine's Service; the objects are made there.
    type: str
    required: true
  name:
    description:
      - Name of the route, and beginning of the names of its Secrets.
    type: str
    default: zoo
  state:
    description:
      - V(present) publishes the engine as the other options say.
      - V(absent) deletes what this module made under O(name), and nothing else.
    type: str
    choices: [present, absent]
    default: present
  host:
    description:
      - Public host name of the engine.
      - Required when O(state=present).
    type: str
  service_name:
    description:
      - Service of the engine.
    type: str
    default: zoo-project-dru-service
  service_port:
    description:
      - Port of the Service.
    type: int
    default: 80
  gateway:
    description:
      - V(apisix) makes an C(ApisixRoute), for the APISIX ingress controller 1.8 or 2.x.
      - V(ingress) makes an C(Ingress) for any controller. It can protect nothing, so it needs
        O(open_access=true).
    type: str
    choices: [apisix, ingress]
    default: apisix
  ingress_class:
    description:
      - Class that the controller serves. Always written, as a controller ignores objects without.
    type: str
    default: apisix
  tls:
    description:
      - Where the gateway's certificate for O(host) comes from.
    type: dict
    suboptions:
      mode:
        description:
          - V(existing) uses the Secret O(tls.secret_name) of the namespace.
          - V(supplied) writes O(tls.certificate) and O(tls.private_key) into that Secret.
          - V(none) leaves it to the gateway, which has a certificate for the host, or to plain
            HTTP.
        type: str
        choices: [existing, supplied, none]
        default: none
      secret_name:
        description:
          - Name of the Secret. With V(supplied) the default is O(name) followed by C(-tls).
        type: str
      certificate:
        description:
          - PEM text of the certificate and its chain.
        type: str
      private_key:
        description:
          - PEM text of the private key.
        type: str
  oidc:
    description:
      - Keycloak decides who passes. Without it, O(open_access=true) has to be said.
    type: dict
    suboptions:
      server_url:
        description:
          - Base URL of the Keycloak server, as the gateway and its users reach it.
        type: str
        required: true
      realm:
        description:
          - Name of the realm.
        type: str
        required: true
      client_id:
        description:
          - Client whose resources, policies and permissions decide.
        type: str
        required: true
      bearer_only:
        description:
          - V(true) answers 401 to a caller without token, V(false) sends a browser to Keycloak to
            log in.
        type: bool
        default: true
      ssl_verify:
        description:
          - Whether the gateway verifies Keycloak's certificate. A private authority has to be
            known to the gateway.
        type: bool
        default: true
      auth_realm:
        description:
          - Name of the realm that knows the account that logs in.
        type: str
        default: master
      auth_client_id:
        description:
          - Client that logs in.
        type: str
        default: admin-cli
      auth_client_secret:
        description:
          - Secret of O(oidc.auth_client_id).
          - Falls back to the environment variable E(KEYCLOAK_CLIENT_SECRET).
        type: str
      auth_username:
        description:
          - Name of the administrator.
          - Falls back to the environment variable E(KEYCLOAK_ADMIN_USER).
        type: str
      auth_password:
        description:
          - Password of the administrator.
          - Falls back to the environment variable E(KEYCLOAK_ADMIN_PASSWORD).
        type: str
      validate_certs:
        description:
          - Whether this module verifies Keycloak's certificate.
        type: bool
        default: true
      ca_path:
        description:
          - File with the PEM certificates of the authorities to trust for Keycloak.
        type: path
      timeout:
        description:
          - Seconds that one request to Keycloak may take.
        type: int
        default: 30
  open_access:
    description:
      - Says that everybody may use the engine, deploy processes and run jobs. Excludes O(oidc).
    type: bool
    default: false
  contexts:
    description:
      - Contexts of the engine, the first segment of its paths.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the context.
        type: str
        required: true
      mode:
        description:
          - V(personal) forwards the caller's token; the name is a username.
          - V(shared) drops the token after the decision, so that the engine works in this context
            whoever calls.
        type: str
        choices: [personal, shared]
        default: personal
      users:
        description:
          - Not used here, so that one list of contexts serves all modules.
        type: list
        elements: str
      groups:
        description:
          - Not used here, so that one list of contexts serves all modules.
        type: list
        elements: str
  open_paths:
    description:
      - Exact paths that everybody may read with GET and HEAD.
      - The default is the landing page, the API definition, the conformance page and the files of
        Swagger UI.
    type: list
    elements: str
  wait_timeout:
    description:
      - Seconds to wait for the controller's word, and again for the probe.
    type: int
    default: 90
  probe:
    description:
      - Whether to knock as a stranger afterwards.
    type: bool
    default: true
  probe_url:
    description:
      - Base URL to knock at. The default is O(host) with V(https), or V(http) when
        O(tls.mode=none).
    type: str
  probe_address:
    description:
      - Address to knock at, as C(host) or C(host:port), where O(host) does not resolve to the
        gateway yet or not from here. The certificate still has to be that of O(host).
    type: str
  validate_certs:
    description:
      - Whether the gateway's certificate is verified when knocking.
    type: bool
    default: true
  ca_path:
    description:
      - File with the PEM certificates of the authorities to trust for the gateway.
    type: path
"""

EXAMPLES = r"""
- name: Publish the engine to the members of its contexts
  eoepca.oapip.oapip_route:
    kubeconfig: /etc/oapip/site-1.kubeconfig
    namespace: zoo
    host: zoo.example.org
    tls:
      mode: existing
      secret_name: zoo-tls
    oidc:
      server_url: https://auth.example.org
      realm: eoepca
      client_id: oapip-engine
      auth_username: "{{ oapip_keycloak_admin_user }}"
      auth_password: "{{ oapip_keycloak_admin_password }}"
    contexts:
      - name: alice
      - name: flood-team
        mode: shared

- name: Publish an engine of a closed lab to everybody
  eoepca.oapip.oapip_route:
    namespace: zoo
    host: zoo.lab.example.org
    gateway: ingress
    ingress_class: nginx
    open_access: true

- name: Take the engine off the net
  eoepca.oapip.oapip_route:
    namespace: zoo
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
      description: Kind of the object.
      type: str
    name:
      description: Name of the object.
      type: str
    fields:
      description: Fields that an update touches.
      type: list
      elements: str
assumed:
  description: Parents that check mode assumed to exist.
  returned: success
  type: list
  elements: str
url:
  description: Where the engine is published; empty when it is not.
  returned: success
  type: str
  sample: https://zoo.example.org
doors:
  description:
    - Requests without token that were refused, or would be tried in check mode.
    - After a change these are all that a stranger may try, else one of each kind.
  returned: success
  type: list
  elements: str
  sample: [GET /, GET /alice/ogc-api/processes]
probed:
  description: Whether these requests were made.
  returned: success
  type: bool
"""

import re
import secrets as _random
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _argspec, _keycloak, _plan, _route
from ansible_collections.eoepca.oapip.plugins.module_utils._doors import Door, doors, guards, sample
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, Obj, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._publish import Publisher, observe

_OIDC: _argspec.Options = {
    **_argspec.keycloak(),
    "client_id": {"type": "str", "required": True},
    "bearer_only": {"type": "bool", "default": True},
    "ssl_verify": {"type": "bool", "default": True},
}
_TLS: _argspec.Options = {
    "mode": {"type": "str", "choices": ["existing", "supplied", "none"], "default": "none"},
    "secret_name": {"type": "str", "no_log": False},
    "certificate": {"type": "str"},
    "private_key": {"type": "str", "no_log": True},
}
_CONTEXT: _argspec.Options = {
    "name": {"type": "str", "required": True},
    "mode": {"type": "str", "choices": ["personal", "shared"], "default": "personal"},
    "users": {"type": "list", "elements": "str"},
    "groups": {"type": "list", "elements": "str"},
}
SPEC = ModuleSpec(
    argument_spec={
        **_argspec.kube(),
        "namespace": {"type": "str", "required": True},
        "name": {"type": "str", "default": "zoo"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "host": {"type": "str"},
        "service_name": {"type": "str", "default": "zoo-project-dru-service"},
        "service_port": {"type": "int", "default": 80},
        "gateway": {"type": "str", "choices": ["apisix", "ingress"], "default": "apisix"},
        "ingress_class": {"type": "str", "default": "apisix"},
        "tls": {
            "type": "dict",
            "options": _TLS,
            "required_if": [
                ["mode", "existing", ["secret_name"]],
                ["mode", "supplied", ["certificate", "private_key"]],
            ],
        },
        "oidc": {"type": "dict", "options": _OIDC},
        "open_access": {"type": "bool", "default": False},
        "contexts": {"type": "list", "elements": "dict", "options": _CONTEXT, "default": []},
        "open_paths": {"type": "list", "elements": "str"},
        "wait_timeout": {"type": "int", "default": 90},
        "probe": {"type": "bool", "default": True},
        "probe_url": {"type": "str"},
        "probe_address": {"type": "str"},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
    },
    required_if=[["state", "present", ["host"]]],
    supports_check_mode=True,
)


def wanted(params: Params) -> _route.Route:
    """Return the route that the options describe.

    :raises OapipError: options that contradict each other, or would open the engine unsaid.
    """
    doing = f"reading the options of route {params['name']}"
    oidc, tls = params.get("oidc"), params.get("tls") or {"mode": "none"}
    if bool(oidc) == bool(params["open_access"]):
        said = "both oidc and open_access" if oidc else "neither oidc nor open_access"
        raise OapipError(
            doing, f"{said} given", "Give oidc, or open_access: true if everybody may come in."
        )
    if params["gateway"] == "ingress" and oidc:
        raise OapipError(
            doing, "an Ingress cannot ask Keycloak", "Use gateway: apisix, or open_access: true."
        )
    for context in params["contexts"]:
        if not re.match(r"\A[A-Za-z0-9_][A-Za-z0-9._-]*\Z", context["name"]):
            hint = "Use letters, digits, dot, hyphen and underscore."
            raise OapipError(doing, f"context {context['name']!r} is no path segment", hint)
    opened = params["open_paths"]
    for path in opened or ():
        if not path.startswith("/") or re.search(r"[*%;?#\\]|//|/\.\.?(/|$)", path):
            hint = "Give exact paths: a glob would open the whole engine."
            raise OapipError(doing, f"open path {path!r} is not exact", hint)
    made = (
        _route.Oidc(
            issuer=f"{oidc['server_url'].rstrip('/')}/realms/{oidc['realm']}",
            realm=oidc["realm"],
            client_id=oidc["client_id"],
            bearer_only=oidc["bearer_only"],
            ssl_verify=oidc["ssl_verify"],
        )
        if oidc
        else None
    )
    return _route.Route(
        namespace=params["namespace"],
        name=params["name"],
        host=params["host"],
        service_name=params["service_name"],
        service_port=params["service_port"],
        gateway=params["gateway"],
        ingress_class=params["ingress_class"],
        tls_mode=tls["mode"],
        tls_secret=tls.get("secret_name") or "",
        oidc=made,
        shared=tuple(c["name"] for c in params["contexts"] if c["mode"] == "shared"),
        open_paths=_route.OPEN_PATHS if opened is None else tuple(opened),
    )


def secrets_for(
    params: Params, route: _route.Route, current: t.Mapping[_route.Key, Obj], ctx: Context
) -> _route.Secrets:
    """Return what the Secrets are to hold: read, kept, given or made."""
    tls = params.get("tls") or {}
    client = session = None
    if route.oidc:
        client = _keycloak.connect(params["oidc"], ctx).client_secret(route.oidc.client_id)
        if client is None and not ctx.check_mode:
            raise OapipError(
                f"reading the secret of client {route.oidc.client_id}",
                f"realm {route.oidc.realm} has no such client",
                "Create it first with eoepca.oapip.keycloak_client.",
            )
        kept = current.get(("Secret", route.oidc_secret), {}).get("data") or {}
        session = _route.decode(kept.get("session.secret"))
        if session is None and not ctx.check_mode:
            session = _random.token_hex(16)
    known = _route.Secrets(client, session, tls.get("certificate"), tls.get("private_key"))
    for value in (client, session, known.private_key):
        ctx.secret(value or "")
    return known


def closed_doors(params: Params, route: _route.Route, changed: bool) -> t.List[Door]:
    """Return the requests that strangers must not get through with."""
    if route.gateway != "apisix":
        return []
    if not route.oidc:
        return guards("/")
    modes = {context["name"]: context["mode"] for context in params["contexts"]}
    if changed:
        return doors(list(modes), route.open_paths)
    first = {mode: name for name, mode in reversed(modes.items())}
    return sample(list(first.values()), route.open_paths)


def run(params: Params, ctx: Context) -> Result:
    """Publish the engine, or take it off the net."""
    present = params["state"] == "present"
    route = wanted(params) if present else None
    kube = Kube.connect(params["kubeconfig"], params["kube_context"])
    namespace, name = params["namespace"], params["name"]
    assumed: t.List[str] = []
    current = observe(kube, namespace, name)
    # where something of ours is, there is a namespace
    if present and not current and kube.get(url_of("Namespace", name=namespace)) is None:
        if not ctx.check_mode:
            hint = "Deploy the engine first with eoepca.oapip.oapip_release."
            raise OapipError(f"publishing {name}", f"namespace {namespace} does not exist", hint)
        assumed.append(f"Namespace {namespace}")
    desired: t.List[Obj] = []
    if route:
        known = secrets_for(params, route, current, ctx)
        if route.oidc and known.client_secret is None:
            assumed.append(f"Client {route.oidc.client_id}")
        desired = _route.desire(route, known)
    changes = _route.plan(current, desired)
    publisher = Publisher(kube, ctx, namespace, current, changes)
    assumed += publisher.rehearse(
        route, namespace_exists=not assumed or "Namespace" not in assumed[0]
    )
    closed = closed_doors(params, route, bool(changes)) if route else []
    url = ""
    if route:
        scheme = "http" if route.tls_mode == "none" else "https"
        url = (params["probe_url"] or f"{scheme}://{route.host}").rstrip("/")
    probed = bool(route and params["probe"] and not ctx.check_mode and closed)
    if not ctx.check_mode:
        publisher.apply()
        if route:
            publisher.prove(route, closed if probed else [], url, params)
    facts = {"url": url, "doors": [str(door) for door in closed], "probed": probed}
    return _plan.result(changes, assumed, **facts)


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
