"""What the deployed objects say: read from Deployments, ConfigMaps and Secrets, never from files.

Pure functions over objects in the JSON form of the Kubernetes API, and the settings they make.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from configparser import Error as ConfigError
from configparser import RawConfigParser
from dataclasses import dataclass, field
from typing import Any, Protocol

from .flavours import NEWEST, Flavour, flavour_of

Object = Mapping[str, Any]
Config = Mapping[str, Mapping[str, str]]
Sources = Mapping[tuple[str, str], Object]
"""ConfigMaps and Secrets of a namespace by (kind, name)."""

PAGES = ("oapi-index.html", "swagger-initializer.js", "swagger-filter.js")


@dataclass(frozen=True)
class Settings:
    """One deployed engine.

    Attributes:
        key: folder name of its state: another volume is another state.
        host_url: public base without a trailing slash.
        secured: the security filter wants a token (`iam.enabled`).
        token_env: ZOO_KEYCLOAK_* of the kernel's container.
        ca_pem: what REQUESTS_CA_BUNDLE holds; None when it is not set.
        ca_missing: REQUESTS_CA_BUNDLE names a file that nothing mounts.
        worker_env: environment of the worker's container.
        worker_ready, broker_ready, database_ready: ready replicas as the API server tells.
    """

    key: str
    host_url: str
    flavour: Flavour = NEWEST
    title: str = "ZOO-Project with Deploy, Replace, Undeploy and CWL support"
    abstract: str = ""
    secured: bool = False
    processes_v2: bool = True
    cors: bool = True
    headers: Mapping[str, str] = field(default_factory=lambda: {"X-Powered-By": "ZOO-Project-DRU"})
    token_env: Mapping[str, str] = field(default_factory=dict)
    ca_pem: str | None = None
    ca_missing: bool = False
    worker_env: Mapping[str, str] = field(default_factory=dict)
    pod_env: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    worker_ready: bool = True
    broker_ready: bool = True
    database_ready: bool = True


class SettingsSource(Protocol):
    """Where the settings of a Service come from."""

    async def get(self, service: str) -> Settings | None:
        """Settings of `<namespace>/<service>`; None when no engine stands behind it."""


class MissingReferenceError(LookupError):
    """A container names a Secret or ConfigMap (or a key in it) that is not there."""


def read_config(text: str) -> Config:
    """Parse main.cfg or oas.cfg; what cannot be read is empty, as in the kernel."""
    parser = RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except ConfigError:
        return {}
    return {name: {k: v or "" for k, v in parser.items(name)} for name in parser.sections()}


def content(sources: Sources, kind: str, name: str) -> dict[str, str] | None:
    """Decoded data of a ConfigMap or Secret; None when there is none of that name."""
    found = sources.get((kind, name))
    if found is None:
        return None
    data = dict(found.get("data") or {})
    if kind == "Secret":
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
    return data


def container(deployment: Object, name: str) -> Object:
    """A container by name, else the first one."""
    containers = deployment["spec"]["template"]["spec"].get("containers") or [{}]
    named: list[Object] = [item for item in containers if item.get("name") == name]
    return named[0] if named else containers[0]


def references(deployment: Object) -> set[tuple[str, str]]:
    """Secrets and ConfigMaps that the pods of a Deployment need."""
    pod = deployment["spec"]["template"]["spec"]
    wanted: set[tuple[str, str]] = set()
    for volume in pod.get("volumes") or []:
        if "configMap" in volume:
            wanted.add(("ConfigMap", volume["configMap"].get("name", "")))
        if "secret" in volume:
            wanted.add(("Secret", volume["secret"].get("secretName", "")))
    for item in pod.get("containers") or []:
        for entry in item.get("envFrom") or []:
            for field_name, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if field_name in entry:
                    wanted.add((kind, entry[field_name]["name"]))
        for entry in item.get("env") or []:
            source = entry.get("valueFrom") or {}
            for field_name, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if field_name in source:
                    wanted.add((kind, source[field_name]["name"]))
    return wanted


def environment(item: Object, sources: Sources) -> dict[str, str]:
    """Environment of a container: envFrom first, env over it.

    Raises:
        MissingReferenceError: the kubelet would refuse to start the container.
    """
    env: dict[str, str] = {}
    for entry in item.get("envFrom") or []:
        for field_name, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if field_name in entry:
                env |= {
                    entry.get("prefix", "") + key: value
                    for key, value in _referred(sources, kind, entry[field_name]).items()
                }
    for entry in item.get("env") or []:
        source = entry.get("valueFrom") or {}
        if "value" in entry or not source:
            env[entry["name"]] = str(entry.get("value") or "")
        for field_name, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if field_name not in source:
                continue
            data = _referred(sources, kind, source[field_name])
            if source[field_name]["key"] in data:
                env[entry["name"]] = data[source[field_name]["key"]]
            elif not source[field_name].get("optional"):
                raise MissingReferenceError(f"{kind} {source[field_name]['name']}")
    return env


def _referred(sources: Sources, kind: str, reference: Object) -> dict[str, str]:
    data = content(sources, kind, reference["name"])
    if data is None and not reference.get("optional"):
        raise MissingReferenceError(f"{kind} {reference['name']}")
    return data or {}


def mounted(deployment: Object, item: Object, path: str, sources: Sources) -> str | None:
    """Text of a file that a ConfigMap or Secret volume mounts at `path`; None when none does."""
    volumes = {v["name"]: v for v in deployment["spec"]["template"]["spec"].get("volumes") or []}
    for mount in item.get("volumeMounts") or []:
        volume = volumes.get(mount["name"], {})
        place, sub = mount["mountPath"].rstrip("/"), mount.get("subPath")
        if path == place and sub:
            name = sub
        elif path.startswith(place + "/") and not sub:
            name = path.removeprefix(place + "/")
        else:
            continue
        for key, kind, label in (
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
        ):
            if key in volume:
                data = content(sources, kind, volume[key].get(label, "")) or {}
                items = {entry["path"]: entry["key"] for entry in volume[key].get("items") or []}
                return data.get(items.get(name, "" if items else name))
    return None


def ready(workload: Object | None) -> bool:
    """At least one replica is ready."""
    return bool(((workload or {}).get("status") or {}).get("readyReplicas"))


def build(
    key: str,
    kernel: Object,
    worker: Object | None,
    sources: Sources,
    *,
    release: str,
    broker_ready: bool = True,
    database_ready: bool = True,
) -> Settings:
    """Read the settings of an engine from its objects."""
    files = content(sources, "ConfigMap", f"{release}-zoo-project-config") or {}
    main, oas = read_config(files.get("main.cfg", "")), read_config(files.get("oas.cfg", ""))
    item = container(kernel, "zookernel")
    flavour = flavour_of(
        (kernel["metadata"].get("labels") or {}).get("helm.sh/chart", ""), item.get("image", "")
    )
    # Apache passes only named variables on, so the bundle counts only where the kernel itself
    # sets it: in main.cfg's [env], which the chart fills from `zookernel.env`.
    bundle = main.get("env", {}).get("REQUESTS_CA_BUNDLE")
    pem = mounted(kernel, item, bundle, sources) if bundle else None
    try:
        worker_env = environment(container(worker, "zoofpm"), sources) if worker else {}
        worker_ready = ready(worker)
    except MissingReferenceError:
        worker_env, worker_ready = {}, False
    try:
        token_env = environment(item, sources)
    except MissingReferenceError:
        token_env = {}
    openapi = oas.get("openapi", {})
    root = openapi.get("rootHost") or openapi.get("rootUrl", "").removesuffix("/ogc-api")
    about = main.get("identification", {})
    return Settings(
        key=key,
        host_url=(root or "http://localhost:8080").rstrip("/"),
        flavour=flavour,
        title=about.get("title", Settings.title),
        abstract=about.get("abstract", ""),
        secured="osecurity" in oas or "secured" in oas.get("processes", {}),
        processes_v2=int(oas.get("conformsTo", {}).get("length") or 23) > 14,
        cors=main.get("main", {}).get("cors", "true") == "true",
        headers=main.get("headers") or {"X-Powered-By": "ZOO-Project-DRU"},
        token_env=token_env,
        ca_pem=pem,
        ca_missing=bool(bundle) and pem is None,
        worker_env=worker_env,
        pod_env=main.get("pod_env_vars", {}),
        pages={name: files[name] for name in PAGES if name in files},
        worker_ready=worker_ready,
        broker_ready=broker_ready,
        database_ready=database_ready,
    )
