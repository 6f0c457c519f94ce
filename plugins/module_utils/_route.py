# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The objects that publish an engine, and how far a cluster is from them. Pure: no I/O.

A route is compared whole: a rule or a field that somebody added to it may be an open door.
Kinds: https://apisix.apache.org/docs/ingress-controller/reference/api-reference/ (ApisixRoute,
ApisixTls, group apisix.apache.org/v2) and networking.k8s.io/v1 Ingress.
"""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
from dataclasses import dataclass, field
from urllib.parse import quote

from ansible_collections.eoepca.oapip.plugins.module_utils._plan import (
    NEW_SECRET,
    SECRET,
    Change,
)

Obj = t.Dict[str, t.Any]
Key = t.Tuple[str, str]
"""Kind and name of an object in the route's namespace."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "eoepca.oapip"
ROUTE_LABEL = "oapip.eoepca.org/route"
DIGEST = "oapip.eoepca.org/secrets-digest"

KINDS = ("Secret", "ApisixTls", "ApisixRoute", "Ingress")
"""The kinds we make, in the order of making: what a route relies on is there before it."""

SWAGGER_FILES = (
    "",
    "index.html",
    "index.css",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-initializer.js",
    "swagger-filter.js",
    "oauth2-redirect.html",
    "favicon-16x16.png",
    "favicon-32x32.png",
)
OPEN_PATHS = (
    "/ogc-api/",
    "/ogc-api/api",
    "/ogc-api/conformance",
    *(f"/swagger-ui/oapip/{name}" for name in SWAGGER_FILES),
)
"""Exact paths that strangers may read: the engine takes any prefix, so a glob would open it all."""

TIMEOUT = "600s"
"""Deploying a process clones a repository inside the engine."""

# A header may choose the namespace the engine works in, under any prefix, case or underscore.
_REFUSE_HEADERS = """\
return function(conf, ctx)
  for k in pairs(ngx.req.get_headers(0)) do   -- 0: no limit of 100
    local n = string.gsub(string.lower(k), "_", "-")
    if string.find(n, "services-namespace", 1, true)
       or string.find(n, "http-authorization", 1, true) then
      return 400, {error_msg = "forbidden header"}
    end
  end
end
"""
# The gateway decides on the decoded path, the engine reads the raw one: they must be the same.
_REFUSE_PATHS = """\
return function(conf, ctx)
  local path = string.match(ngx.var.request_uri, "^[^?]*")
  if string.sub(path,1,1) ~= "/" or string.find(path, "[%%;\\\\#]")
     or string.find(path, "//", 1, true) or string.find(path .. "/", "/%.%.?/") then
    return 400, {error_msg = "path not canonical"}
  end
end
"""
# Names as CGI reads them: X_Access_Token and X-Access-Token are one variable.
_STRIP = """\
return function(conf, ctx)
  local drop = {%s}
  for k in pairs(ngx.req.get_headers(0)) do
    local n = string.gsub(string.lower(k), "_", "-")
    if drop[n] then ngx.req.clear_header(k) end
  end
end
"""
IDENTITY = ("x-access-token", "x-id-token", "x-refresh-token", "x-userinfo")


def _strip(*names: str) -> str:
    return _STRIP % ", ".join(f'["{name}"]=true' for name in names)


@dataclass(frozen=True)
class Oidc:
    """Who may pass: a realm, and the client whose permissions are asked.

    :param issuer: URL of the realm.
    :param bearer_only: whether a caller without token gets 401, not a redirect to log in.
    :param ssl_verify: whether the gateway verifies Keycloak's certificate.
    """

    issuer: str
    realm: str
    client_id: str
    bearer_only: bool = True
    ssl_verify: bool = True


@dataclass(frozen=True)
class Secrets:
    """What the Secrets hold; None: not known before the real run."""

    client_secret: t.Optional[str] = field(default=None, repr=False)
    session: t.Optional[str] = field(default=None, repr=False)
    certificate: t.Optional[str] = field(default=None, repr=False)
    private_key: t.Optional[str] = field(default=None, repr=False)


@dataclass(frozen=True)
class Route:
    """What is to be published, where, and to whom. ``tls_mode``: existing, supplied or none."""

    namespace: str
    name: str
    host: str
    service_name: str
    service_port: int = 80
    gateway: str = "apisix"
    ingress_class: str = "apisix"
    tls_mode: str = "none"
    tls_secret: str = ""
    oidc: t.Optional[Oidc] = None
    shared: t.Tuple[str, ...] = ()
    open_paths: t.Tuple[str, ...] = OPEN_PATHS

    @property
    def oidc_secret(self) -> str:
        return f"{self.name}-oidc"

    @property
    def authz_secret(self) -> str:
        return f"{self.name}-authz"

    @property
    def tls_name(self) -> str:
        """Name of the Secret with the certificate."""
        return self.tls_secret or f"{self.name}-tls"


# ---------------------------------------------------------------------- objects


def desire(route: Route, secrets: Secrets) -> t.List[Obj]:
    """Return the objects, in the order in which they have to be made."""
    objects: t.List[Obj] = []
    if route.gateway == "apisix" and route.oidc:
        login = {"client_id": route.oidc.client_id, "client_secret": secrets.client_secret}
        objects += [
            _secret(route, route.oidc_secret, {**login, "session.secret": secrets.session}),
            _secret(route, route.authz_secret, login),
        ]
    if route.tls_mode == "supplied":
        pair = {"tls.crt": secrets.certificate, "tls.key": secrets.private_key}
        objects.append(_secret(route, route.tls_name, pair, "kubernetes.io/tls"))
    if route.gateway == "ingress":
        return [*objects, _ingress(route)]
    if route.tls_mode != "none":
        objects.append(_apisix_tls(route))
    return [*objects, _apisix_route(route, digest(objects))]


def digest(objects: t.Sequence[Obj]) -> t.Optional[str]:
    """Return the digest of what the route's own Secrets hold; None while a part is not known.

    Controller 1.8 does not watch Secrets: the digest in an annotation makes it read them again.
    """
    login = [o["data"] for o in objects if o["kind"] == "Secret" and o["type"] == "Opaque"]
    if any(value is None for data in login for value in data.values()):
        return None
    return hashlib.sha256(json.dumps(login, sort_keys=True).encode()).hexdigest()[:16]


def _object(route: Route, api: str, kind: str, name: str) -> Obj:
    labels = {MANAGED_BY: MANAGER, ROUTE_LABEL: route.name}
    meta: Obj = {"name": name, "namespace": route.namespace, "labels": labels}
    return {"apiVersion": api, "kind": kind, "metadata": meta}


def _secret(
    route: Route, name: str, values: t.Mapping[str, t.Optional[str]], kind: str = "Opaque"
) -> Obj:
    data = {key: None if value is None else encode(value) for key, value in values.items()}
    return {**_object(route, "v1", "Secret", name), "type": kind, "data": data}


def encode(value: str) -> str:
    """Return a text as a Secret's ``data`` holds it."""
    return base64.b64encode(value.encode()).decode()


def decode(value: t.Optional[str]) -> t.Optional[str]:
    """Return the text of an entry of ``data``; None where there is none, or no text."""
    try:
        return base64.b64decode(value).decode() if value else None
    except UnicodeDecodeError:
        return None


def _apisix_tls(route: Route) -> Obj:
    secret = {"name": route.tls_name, "namespace": route.namespace}
    spec = {"ingressClassName": route.ingress_class, "hosts": [route.host], "secret": secret}
    return {**_object(route, "apisix.apache.org/v2", "ApisixTls", route.name), "spec": spec}


def _apisix_route(route: Route, secrets_digest: t.Optional[str]) -> Obj:
    made = _object(route, "apisix.apache.org/v2", "ApisixRoute", route.name)
    if route.oidc:
        made["metadata"]["annotations"] = {DIGEST: secrets_digest}
    made["spec"] = {"ingressClassName": route.ingress_class, "http": rules(route)}
    return made


def rules(route: Route) -> t.List[Obj]:
    """Return the rules: open paths, shared contexts, and everything else.

    An exact path beats a prefix, a longer prefix a shorter one, whatever ``priority`` says; it is
    set all the same, as two routes of the same path would else match in the order of insertion.
    """
    if not route.oidc:
        return [_rule(route, "engine", ["/*"], [_guard(IDENTITY)], 0)]
    made = []
    if route.open_paths:
        # who is not asked for a token has no use for one: the engine must not read it either
        guard = _guard((*IDENTITY, "authorization"))
        opened = _rule(route, "open", list(route.open_paths), [guard], 20)
        opened["match"]["methods"] = ["GET", "HEAD"]
        made.append(opened)
    asked = [_guard(IDENTITY), *_protection(route, route.oidc)]
    for context in route.shared:
        path = quote(f"/{context}", safe="/")
        plugins = [*asked, _forget_token()]
        made.append(_rule(route, f"shared-{context}", [path, f"{path}/*"], plugins, 10))
    return [*made, _rule(route, "protected", ["/*"], asked, 0)]


def _rule(route: Route, name: str, paths: t.List[str], plugins: t.List[Obj], priority: int) -> Obj:
    return {
        "name": name,
        "priority": priority,
        "match": {"hosts": [route.host], "paths": paths},
        "backends": [{"serviceName": route.service_name, "servicePort": route.service_port}],
        "timeout": {"connect": "60s", "send": TIMEOUT, "read": TIMEOUT},
        "plugins": plugins,
    }


def _plugin(name: str, config: Obj, secret: str = "") -> Obj:
    made: Obj = {"name": name, "enable": True, "config": config}
    if secret:
        made["secretRef"] = secret
    return made


def _guard(stripped: t.Sequence[str]) -> Obj:
    functions = [_REFUSE_HEADERS, _REFUSE_PATHS, _strip(*stripped)]
    return _plugin("serverless-pre-function", {"phase": "rewrite", "functions": functions})


def _protection(route: Route, oidc: Oidc) -> t.List[Obj]:
    """Authentication, then Keycloak's decision. Controller 1.8 skips a secretRef without config."""
    login = {
        "discovery": f"{oidc.issuer}/.well-known/openid-configuration",
        "realm": oidc.realm,
        "bearer_only": oidc.bearer_only,
        "use_jwks": True,
        "ssl_verify": oidc.ssl_verify,
        "set_access_token_header": True,
        "access_token_in_authorization_header": True,
        "set_id_token_header": False,
        "set_refresh_token_header": False,
        "set_userinfo_header": False,
    }
    decision = {
        "discovery": f"{oidc.issuer}/.well-known/uma2-configuration",
        "lazy_load_paths": True,
        "policy_enforcement_mode": "ENFORCING",
        "ssl_verify": oidc.ssl_verify,
    }
    return [
        _plugin("openid-connect", login, route.oidc_secret),
        _plugin("authz-keycloak", decision, route.authz_secret),
    ]


def _forget_token() -> Obj:
    """Drop the token once it has been asked about: else its owner's name replaces the context."""
    functions = [_strip("authorization", *IDENTITY)]
    return _plugin("serverless-post-function", {"phase": "access", "functions": functions})


def _ingress(route: Route) -> Obj:
    backend = {"service": {"name": route.service_name, "port": {"number": route.service_port}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec: Obj = {
        "ingressClassName": route.ingress_class,
        "rules": [{"host": route.host, "http": {"paths": [path]}}],
    }
    if route.tls_mode != "none":
        spec["tls"] = [{"hosts": [route.host], "secretName": route.tls_name}]
    return {**_object(route, "networking.k8s.io/v1", "Ingress", route.name), "spec": spec}


# ---------------------------------------------------------------------- plan


def key_of(obj: t.Mapping[str, t.Any]) -> Key:
    return str(obj["kind"]), str(obj["metadata"]["name"])


def plan(current: t.Mapping[Key, t.Optional[Obj]], desired: t.Sequence[Obj]) -> t.List[Change]:
    """Return the changes from the objects that bear our label to those wanted.

    What is no longer wanted goes last and in reverse: no route outlives its Secrets for a moment.
    """
    changes: t.List[Change] = []
    for obj in desired:
        kind, name = key_of(obj)
        found = current.get((kind, name))
        if found is None:
            changes.append(Change("create", kind, name, None, shown(obj, None), obj))
        elif not same(found, obj):
            before, after = shown(cut(found), found), shown(obj, found)
            changes.append(Change("update", kind, name, before, after, obj))
    wanted = {key_of(obj) for obj in desired}
    for kind in reversed(KINDS):
        for key in sorted(key for key in current if key[0] == kind and key not in wanted):
            found = current[key]
            if found is not None:
                before = shown(cut(found), found)
                changes.append(Change("delete", kind, key[1], before, None, found))
    return changes


def cut(found: Obj) -> Obj:
    """Return what we compare of a live object: whole spec or data, and only our own metadata."""
    meta: Obj = {"name": found["metadata"]["name"], "namespace": found["metadata"].get("namespace")}
    for part, ours in (("labels", (MANAGED_BY, ROUTE_LABEL)), ("annotations", (DIGEST,))):
        have = found["metadata"].get(part) or {}
        kept = {name: have[name] for name in ours if name in have}
        if kept:
            meta[part] = kept
    content: Obj = {key: found[key] for key in ("type", "data", "spec") if key in found}
    kind = {"apiVersion": found["apiVersion"], "kind": found["kind"]}
    return {**kind, "metadata": meta, **content}


def same(found: Obj, wanted: Obj) -> bool:
    return cut(found) == wanted


def shown(obj: Obj, found: t.Optional[Obj]) -> Obj:
    """Return the state to show: no secret, and no digest of one."""
    made: Obj = {"labels": dict(obj["metadata"].get("labels") or {})}
    annotations = obj["metadata"].get("annotations")
    if annotations:
        old = (found or {"metadata": {}})["metadata"].get("annotations") or {}
        made["annotations"] = {k: _masked(v, old.get(k)) for k, v in annotations.items()}
    if obj["kind"] != "Secret":
        return {**made, "spec": obj["spec"]}
    old = (found or {}).get("data") or {}
    data = {k: _masked(v, old.get(k)) for k, v in (obj.get("data") or {}).items()}
    return {**made, "type": obj.get("type", "Opaque"), "data": data}


def merged(found: Obj, wanted: Obj) -> Obj:
    """Return the body of a PUT: ours whole, foreign labels and annotations kept."""
    meta = {**found["metadata"], **wanted["metadata"]}
    for part in ("labels", "annotations"):
        have, ours = found["metadata"].get(part) or {}, wanted["metadata"].get(part) or {}
        meta[part] = {**{k: v for k, v in have.items() if k != DIGEST}, **ours}
    meta.pop("managedFields", None)
    return {**wanted, "metadata": meta}


def _masked(value: t.Optional[str], old: t.Optional[str]) -> str:
    return SECRET if value is not None and value == old else NEW_SECRET


# ---------------------------------------------------------------------- the controller's word


def settled(obj: Obj) -> t.Tuple[t.Optional[bool], str]:
    """Return what the controller says of this generation: True, False or None (nothing yet).

    Controller 1.8 writes ResourcesAvailable, 2.x writes Accepted.
    """
    generation = obj["metadata"].get("generation")
    conditions = (obj.get("status") or {}).get("conditions") or []
    for one in conditions:
        if one.get("type") not in ("Accepted", "ResourcesAvailable"):
            continue
        if one.get("observedGeneration", generation) != generation:
            return None, f"{one['type']} is of generation {one.get('observedGeneration')}"
        words = ": ".join(str(one[key]) for key in ("reason", "message") if one.get(key))
        if one.get("status") == "True":
            return True, words
        return False, words
    return None, "no status"
