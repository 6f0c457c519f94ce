"""The API server as the source of settings: a few GETs, kept for less than a second."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from .settings import Object, Settings, SettingsSource, build, ready, references

TTL = 0.8
_CORE = "/api/v1/namespaces/{}/"
_APPS = "/apis/apps/v1/namespaces/{}/"
_PLURALS = {"ConfigMap": "configmaps", "Secret": "secrets"}


class KubeSettings(SettingsSource):
    """Reads the objects behind a Service with a kubeconfig's current context."""

    def __init__(self, kubeconfig: Path) -> None:
        self._server, self._tls, self._headers = _connection(kubeconfig)
        self._session: aiohttp.ClientSession | None = None
        self._kept: dict[str, tuple[float, Settings | None]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, service: str) -> Settings | None:
        async with self._locks.setdefault(service, asyncio.Lock()):
            read, settings = self._kept.get(service, (0.0, None))
            if time.monotonic() - read > TTL:
                settings = await self._read(service)
                self._kept[service] = (time.monotonic(), settings)
            return settings

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def _read(self, service: str) -> Settings | None:
        namespace, _, name = service.partition("/")
        if not namespace or not name.endswith("-service"):
            return None
        release = name.removesuffix("-service")
        core, apps = _CORE.format(namespace), _APPS.format(namespace)
        kernel, worker, broker, database, volume = await asyncio.gather(
            self._object(f"{apps}deployments/{release}-zookernel"),
            self._object(f"{apps}deployments/{release}-zoofpm"),
            self._object(f"{apps}statefulsets/{release}-rabbitmq"),
            self._object(f"{apps}statefulsets/{release}-postgresql"),
            self._object(f"{core}persistentvolumeclaims/{release}-processing-services"),
        )
        if kernel is None:
            return None
        wanted = references(kernel) | {("ConfigMap", f"{release}-zoo-project-config")}
        wanted |= references(worker) if worker else set()
        names = sorted(reference for reference in wanted if reference[1])
        found = await asyncio.gather(
            *(self._object(f"{core}{_PLURALS[kind]}/{name}") for kind, name in names)
        )
        sources = {key: item for key, item in zip(names, found, strict=True) if item is not None}
        uid = (volume or kernel)["metadata"].get("uid", "none")
        return build(
            f"{namespace}-{release}-{uid}",
            kernel,
            worker,
            sources,
            release=release,
            broker_ready=broker is None or ready(broker),
            database_ready=database is None or ready(database),
        )

    async def _object(self, path: str) -> Object | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers)
        async with self._session.get(self._server + path, ssl=self._tls) as answer:
            if answer.status == 404:
                return None
            answer.raise_for_status()
            found: Object = await answer.json()
            return found


def _connection(kubeconfig: Path) -> tuple[str, ssl.SSLContext, dict[str, str]]:
    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    context = _named(config, "contexts", config["current-context"])["context"]
    cluster = _named(config, "clusters", context["cluster"])["cluster"]
    user = _named(config, "users", context["user"])["user"]
    tls = ssl.create_default_context()
    authority = _pem(cluster, "certificate-authority", kubeconfig.parent)
    if authority:
        tls = ssl.create_default_context(cadata=authority)
    certificate = _pem(user, "client-certificate", kubeconfig.parent)
    key = _pem(user, "client-key", kubeconfig.parent)
    if certificate and key:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # 0600, ssl reads files only
            file.write(certificate + "\n" + key)
            file.flush()
            tls.load_cert_chain(file.name)
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return cluster["server"].rstrip("/"), tls, headers


def _named(config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in config[section] if item["name"] == name)
    return found


def _pem(section: dict[str, Any], name: str, folder: Path) -> str | None:
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"]).decode()
    return (folder / section[name]).read_text() if name in section else None
