"""From objects of the API server to what the data plane serves, and the status of each object.

Two flavours of the ingress controller: ``2`` publishes nothing of a route whose Secret is
missing; ``1.8`` leaves out that plugin and all later ones and publishes the rest, open.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.gateway.conditions import ConditionError, conditions
from sandbox.gateway.plugins import build
from sandbox.gateway.plugins.base import Runtime, SchemaError
from sandbox.gateway.routing import Route, Router, Upstream
from sandbox.gateway.tls import KeyPair, PairError

Controller = Literal["2", "1.8"]
Object = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
Objects = Mapping[str, Mapping[Key, Object]]
"""Objects by resource (``apisixroutes``, ``secrets``, ...)."""

CONTROLLER_NAME = "apisix.apache.org/apisix-ingress-controller"
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_PLUGIN_CONFIG = "k8s.apisix.apache.org/plugin-config-name"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class RejectedError(Exception):
    """The controller does not publish an object; ``reason`` goes into its condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Status:
    """The ``status`` an object should have."""

    resource: str
    key: Key
    status: dict[str, Any]


@dataclass
class Published:
    """What one translation yields."""

    router: Router = field(default_factory=Router)
    certificates: dict[str, KeyPair] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)


@dataclass(frozen=True)
class _Rule:
    """A rule with its plugins' final configuration, before its upstream is looked up."""

    name: str
    namespace: str
    match: Mapping[str, Any]
    backends: tuple[Mapping[str, Any], ...]
    plugins: Mapping[str, Mapping[str, Any]]
    priority: int = 0
    read_timeout: float = 60.0


@dataclass(frozen=True)
class _Kept:
    """What was last published of a route."""

    uid: str
    digest: str
    rules: list[_Rule]


class Translator:
    """Keeps what a controller keeps: the rules it published last, per object."""

    def __init__(
        self, controller: Controller, runtime: Runtime, check_pair: Callable[[KeyPair], None]
    ) -> None:
        self.controller = controller
        self.runtime = runtime
        self.check_pair = check_pair
        self._kept: dict[Key, _Kept] = {}

    def translate(self, objects: Objects) -> Published:
        """Routes, certificates and statuses for a snapshot of the API server."""
        published = Published()
        routes: list[Route] = []
        for key, route in objects.get("apisixroutes", {}).items():
            if self._is_ours(route, objects):
                routes += self._apisix_route(key, route, objects, published)
            else:
                self._kept.pop(key, None)
        for key, ingress in objects.get("ingresses", {}).items():
            if self._is_ours(ingress, objects):
                routes += self._ingress(key, ingress, objects, published)
        for key, tls in objects.get("apisixtlses", {}).items():
            if self._is_ours(tls, objects):
                self._tls(key, tls, objects, published)
        for key, config in objects.get("apisixpluginconfigs", {}).items():
            if self._is_ours(config, objects):
                self._report(published, "apisixpluginconfigs", key, config)
        live = objects.get("apisixroutes", {})
        self._kept = {key: kept for key, kept in self._kept.items() if key in live}
        published.router = Router(routes)
        return published

    def _is_ours(self, item: Object, objects: Objects) -> bool:
        """Whether the object names our class; 2.x ignores the rest without a word."""
        annotations = item["metadata"].get("annotations") or {}
        name = item["spec"].get("ingressClassName") or annotations.get(
            "kubernetes.io/ingress.class"
        )
        classes = {key[1]: value for key, value in objects.get("ingressclasses", {}).items()}
        if not name:
            if self.controller == "1.8" and item.get("kind") != "Ingress":
                return True
            return any(_is_default(c) for c in classes.values() if _controlled(c))
        return name in classes and _controlled(classes[name])

    # ApisixRoute -------------------------------------------------------------------------

    def _apisix_route(
        self, key: Key, route: Object, objects: Objects, published: Published
    ) -> list[Route]:
        problem = None
        kept = self._kept.get(key)
        if kept is not None and kept.uid != route["metadata"]["uid"]:
            kept = None
        try:
            rules = self._rules(key, route, objects, kept)
            self._kept[key] = _Kept(route["metadata"]["uid"], _digest(route), rules)
        except RejectedError as rejected:
            # What was published before stays: the controller stops ahead of the data plane.
            problem, rules = rejected, kept.rules if kept is not None else []
        routes = []
        for rule in rules:
            try:
                routes.append(self._route(rule, objects))
            except SchemaError as error:
                problem = problem or RejectedError("SyncFailed", str(error))
        self._report(published, "apisixroutes", key, route, problem)
        return routes

    def _rules(self, key: Key, route: Object, objects: Objects, kept: _Kept | None) -> list[_Rule]:
        """The rules of a route. Raises RejectedError."""
        if self.controller == "1.8" and kept is not None and kept.digest == _digest(route):
            return kept.rules  # Secrets are not watched: they are read when the route changes
        rules: list[_Rule] = []
        for http in route["spec"].get("http") or []:
            if any(rule.name == http["name"] for rule in rules):
                raise RejectedError("InvalidSpec", "duplicate route rule name")
            plugins = self._plugin_config(key[0], http, objects)
            plugins |= self._plugins(http.get("plugins") or [], key[0], objects)
            try:
                conditions(http.get("match") or {})
            except ConditionError as error:
                raise RejectedError("InvalidSpec", f".spec.http.match: {error}") from error
            rules.append(
                _Rule(
                    name=http["name"],
                    namespace=key[0],
                    match=http.get("match") or {},
                    backends=tuple(http.get("backends") or ()),
                    plugins=plugins,
                    priority=int(http.get("priority") or 0),
                    read_timeout=_seconds((http.get("timeout") or {}).get("read"), 60.0),
                )
            )
        return rules

    def _plugin_config(
        self, namespace: str, http: Mapping[str, Any], objects: Objects
    ) -> dict[str, Mapping[str, Any]]:
        name = http.get("plugin_config_name")
        if not name:
            return {}
        where = http.get("plugin_config_namespace") or namespace
        config = objects.get("apisixpluginconfigs", {}).get((where, name))
        if config is None:
            raise RejectedError("InvalidSpec", f"failed to get ApisixPluginConfig: {where}/{name}")
        return self._plugins(config["spec"].get("plugins") or [], namespace, objects)

    def _plugins(
        self, plugins: Iterable[Mapping[str, Any]], namespace: str, objects: Objects
    ) -> dict[str, Mapping[str, Any]]:
        """Configurations by name, Secrets merged in. Raises RejectedError for a missing Secret."""
        built: dict[str, Mapping[str, Any]] = {}
        for plugin in plugins:
            if not plugin.get("enable", True):
                continue
            config = json.loads(json.dumps(plugin.get("config") or {}))
            reference = plugin.get("secretRef")
            if self.controller == "1.8" and not config:
                reference = None
            if reference:
                secret = objects.get("secrets", {}).get((namespace, reference))
                if secret is None and self.controller == "1.8":
                    return built
                if secret is None:
                    raise RejectedError(
                        "InvalidSpec", f"failed to get Secret: {namespace}/{reference}"
                    )
                for name, value in secret_data(secret).items():
                    insert(config, name, value.decode(errors="replace"))
            built[plugin["name"]] = config
        return built

    def _route(self, rule: _Rule, objects: Objects) -> Route:
        match = rule.match
        return Route(
            name=rule.name,
            paths=tuple(match.get("paths") or ()),
            hosts=tuple(match.get("hosts") or ()),
            methods=frozenset(match.get("methods") or ()),
            priority=rule.priority,
            conditions=conditions(match),
            plugins=build(rule.plugins, self.runtime),
            upstream=_upstream(rule, objects),
            read_timeout=rule.read_timeout,
        )

    # Ingress -----------------------------------------------------------------------------

    def _ingress(
        self, key: Key, ingress: Object, objects: Objects, published: Published
    ) -> list[Route]:
        spec = ingress["spec"]
        annotations = ingress["metadata"].get("annotations") or {}
        try:
            plugins = self._plugin_config(
                key[0], {"plugin_config_name": annotations.get(_PLUGIN_CONFIG)}, objects
            )
            routes = [
                self._route(_Rule(key[1], key[0], match, backends, plugins), objects)
                for match, backends in _ingress_rules(spec)
            ]
        except (RejectedError, SchemaError):
            return []
        for tls in spec.get("tls") or []:
            try:
                pair = self._pair(key[0], tls.get("secretName", ""), objects)
            except RejectedError:
                continue
            published.certificates |= dict.fromkeys(tls.get("hosts") or [], pair)
        status = {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}
        published.statuses.append(Status("ingresses", key, status))
        return routes

    # TLS ---------------------------------------------------------------------------------

    def _tls(self, key: Key, tls: Object, objects: Objects, published: Published) -> None:
        secret = tls["spec"].get("secret") or {}
        problem = None
        try:
            pair = self._pair(secret.get("namespace", ""), secret.get("name", ""), objects)
            published.certificates |= dict.fromkeys(tls["spec"].get("hosts") or [], pair)
        except RejectedError as rejected:
            problem = rejected
        accepted = "The apisix tls has been accepted and synced to APISIX"
        self._report(published, "apisixtlses", key, tls, problem, accepted)

    def _pair(self, namespace: str, name: str, objects: Objects) -> KeyPair:
        secret = objects.get("secrets", {}).get((namespace, name))
        if secret is None:
            message = f"invalid apisix tls secret: failed to get secret {namespace}/{name}"
            raise RejectedError("InvalidSpec", message)
        data = secret_data(secret)
        for cert, private in (("cert", "key"), ("tls.crt", "tls.key")):
            if cert in data and private in data:
                try:
                    self.check_pair((data[cert], data[private]))
                except PairError as error:
                    raise RejectedError(
                        "SyncFailed", f"secret {namespace}/{name}: {error}"
                    ) from error
                return data[cert], data[private]
        raise RejectedError("SyncFailed", f"secret {namespace}/{name}: no certificate and key")

    def _report(
        self, published: Published, resource: str, key: Key, item: Object,
        problem: RejectedError | None = None, accepted: str = "",
    ) -> None:  # fmt: skip
        old = self.controller == "1.8"
        good = ("ResourcesSynced", "Sync Successfully") if old else ("Accepted", accepted)
        reason, message = good
        if problem is not None:
            reason, message = "ResourceSyncAborted" if old else problem.reason, str(problem)
        condition = {
            "type": "ResourcesAvailable" if old else "Accepted",
            "status": "False" if problem is not None else "True",
            "observedGeneration": item["metadata"].get("generation", 0),
            "reason": reason,
            "message": message,
        }
        published.statuses.append(Status(resource, key, {"conditions": [condition]}))


def insert(config: dict[str, Any], name: str, value: str) -> None:
    """Put a Secret's entry into a configuration; dots nest, and the Secret wins."""
    first, dot, rest = name.partition(".")
    if not first:
        return
    if not dot:
        config[first] = value
        return
    if not isinstance(config.get(first), dict):
        config[first] = {}
    insert(config[first], rest, value)


def secret_data(secret: Object) -> dict[str, bytes]:
    """A Secret's decoded entries."""
    return {name: base64.b64decode(text) for name, text in (secret.get("data") or {}).items()}


def _upstream(rule: _Rule, objects: Objects) -> Upstream:
    """The first backend; it is ready while a slice has the Service's port and a ready endpoint."""
    if not rule.backends:
        return Upstream()
    backend = rule.backends[0]
    name = backend["serviceName"]
    service = objects.get("services", {}).get((rule.namespace, name))
    if service is None:
        return Upstream()
    wanted = backend.get("servicePort")
    for port in service["spec"].get("ports") or []:
        if wanted in (port["port"], port.get("name")):
            port_name = port.get("name") or ""
            ready = _has_endpoint(rule.namespace, name, port_name, objects)
            return Upstream(f"{rule.namespace}/{name}", port_name, ready)
    return Upstream()


def _has_endpoint(namespace: str, service: str, port_name: str, objects: Objects) -> bool:
    for (where, _), piece in objects.get("endpointslices", {}).items():
        labels = piece["metadata"].get("labels") or {}
        if where != namespace or labels.get("kubernetes.io/service-name") != service:
            continue
        if not any((port.get("name") or "") == port_name for port in piece.get("ports") or []):
            continue
        for endpoint in piece.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                return True
    return False


def _ingress_rules(spec: Object) -> Iterable[tuple[dict[str, Any], tuple[dict[str, Any], ...]]]:
    for rule in spec.get("rules") or []:
        hosts = [rule["host"]] if rule.get("host") else []
        for path in (rule.get("http") or {}).get("paths") or []:
            text = path.get("path") or "/"
            paths = [text]
            if path.get("pathType") == "Prefix":
                paths.append(text.removesuffix("/") + "/*")
            service = (path.get("backend") or {}).get("service") or {}
            port = service.get("port") or {}
            backend = {"serviceName": service.get("name", ""),
                       "servicePort": port.get("number") or port.get("name")}  # fmt: skip
            yield {"hosts": hosts, "paths": paths}, (backend,)


def _controlled(ingress_class: Object) -> bool:
    return bool(ingress_class["spec"].get("controller") == CONTROLLER_NAME)


def _is_default(ingress_class: Object) -> bool:
    annotations = ingress_class["metadata"].get("annotations") or {}
    return bool(annotations.get(_DEFAULT_CLASS) == "true")


def _digest(item: Object) -> str:
    """What makes controller 1.8 look again: the spec, or the user's annotations and labels."""
    metadata = item["metadata"]
    seen = [item["spec"], metadata.get("annotations"), metadata.get("labels")]
    return json.dumps(seen, sort_keys=True)


def _seconds(text: str | None, default: float) -> float:
    """Go's duration, such as ``600s`` or ``1m30s``."""
    parts = re.findall(r"([\d.]+)(ms|s|m|h)", text or "")
    return sum(float(number) * _UNITS[unit] for number, unit in parts) or default
