"""The API server: lists and watches what the gateway serves, and writes status where it differs."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from sandbox.gateway.translate import Key, Object, Objects, Status

log = logging.getLogger(__name__)

RESOURCES = {
    "apisixroutes": "/apis/apisix.apache.org/v2",
    "apisixtlses": "/apis/apisix.apache.org/v2",
    "apisixpluginconfigs": "/apis/apisix.apache.org/v2",
    "ingresses": "/apis/networking.k8s.io/v1",
    "ingressclasses": "/apis/networking.k8s.io/v1",
    "secrets": "/api/v1",
    "services": "/api/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
}
_SELECTORS = {"secrets": {"fieldSelector": "type!=helm.sh/release.v1"}}
"""Helm's records are large and of no use here."""


class ApiServer:
    """One connection to one cluster, configured by a kubeconfig's current context."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        contexts = {c["name"]: c["context"] for c in config["contexts"]}
        context = contexts[config["current-context"]]
        cluster = {c["name"]: c["cluster"] for c in config["clusters"]}[context["cluster"]]
        user = {u["name"]: u["user"] for u in config["users"]}[context["user"]]
        self.url = cluster["server"].rstrip("/")
        self._tls = ssl.create_default_context(
            cafile=cluster.get("certificate-authority"),
            cadata=_decoded(cluster, "certificate-authority-data"),
        )
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        if "client-certificate" in user:
            self._tls.load_cert_chain(user["client-certificate"], user["client-key"])
        elif "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile("w") as pair:
                pair.write(f"{_decoded(user, 'client-certificate-data')}\n")
                pair.write(f"{_decoded(user, 'client-key-data')}")
                pair.flush()
                self._tls.load_cert_chain(pair.name)
        self._objects: dict[str, dict[Key, Object]] = {name: {} for name in RESOURCES}
        self._listed: set[str] = set()
        self.changed = asyncio.Event()

    @property
    def objects(self) -> Objects:
        """The newest known state."""
        return self._objects

    @property
    def complete(self) -> bool:
        """Whether every resource was listed once, so that nothing is missed by being early."""
        return self._listed == set(RESOURCES)

    async def watch(self) -> None:
        """List and watch everything until cancelled; survives restarts of the API server."""
        async with self._session() as session, asyncio.TaskGroup() as group:
            for resource in RESOURCES:
                group.create_task(self._follow(session, resource))

    async def write(self, status: Status) -> bool:
        """Write a status when it differs from the object's own (transition times apart).

        False when it has to be tried again.
        """
        known = self._objects[status.resource]
        item = known.get(status.key)
        if item is None or _same(item.get("status") or {}, status.status):
            return True
        body = json.loads(json.dumps(status.status))
        for condition in body.get("conditions", []):
            condition["lastTransitionTime"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        namespace, name = status.key
        group = RESOURCES[status.resource]
        url = f"{self.url}{group}/namespaces/{namespace}/{status.resource}/{name}/status"
        headers = {"Content-Type": "application/merge-patch+json"}
        try:
            async with (
                self._session() as session,
                session.patch(url, data=json.dumps({"status": body}), headers=headers) as answer,
            ):
                written = await answer.json()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("status of %s %s/%s: %r", status.resource, namespace, name, error)
            return False
        if answer.status == 200 and known.get(status.key) is item:
            known[status.key] = written  # ahead of the watch, so that it is written once
        elif answer.status not in (200, 404):
            message = written.get("message")
            log.warning("status of %s %s/%s: %s", status.resource, namespace, name, message)
        return answer.status in (200, 404)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            read_bufsize=2**22,  # one watch event is one line
        )

    async def _follow(self, session: aiohttp.ClientSession, resource: str) -> None:
        while True:
            try:
                version = await self._list(session, resource)
                await self._events(session, resource, version)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
                log.debug("%s: %r", resource, error)
            await asyncio.sleep(0.3)

    async def _list(self, session: aiohttp.ClientSession, resource: str) -> str:
        url = f"{self.url}{RESOURCES[resource]}/{resource}"
        async with session.get(url, params=_SELECTORS.get(resource, {})) as answer:
            if answer.status == 404:  # the custom resource is not defined (yet, or any more)
                found: dict[str, Any] = {"items": [], "metadata": {}}
            else:
                answer.raise_for_status()
                found = await answer.json()
        self._objects[resource] = {_key(item): item for item in found["items"]}
        self._listed.add(resource)
        self.changed.set()
        return str(found["metadata"].get("resourceVersion", ""))

    async def _events(self, session: aiohttp.ClientSession, resource: str, version: str) -> None:
        if not version:
            return
        url = f"{self.url}{RESOURCES[resource]}/{resource}"
        params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "300",
                  **_SELECTORS.get(resource, {})}  # fmt: skip
        async with session.get(url, params=params) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                key = _key(event["object"])
                if event["type"] == "DELETED":
                    self._objects[resource].pop(key, None)
                else:
                    self._objects[resource][key] = event["object"]
                self.changed.set()


def _key(item: Object) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _decoded(entry: dict[str, Any], name: str) -> str | None:
    return base64.b64decode(entry[name]).decode() if name in entry else None


def _same(known: Object, wanted: Object) -> bool:
    if "conditions" not in wanted:
        return all(known.get(name) == value for name, value in wanted.items())
    fields = ("type", "status", "observedGeneration", "reason", "message")
    conditions = [{f: c.get(f) for f in fields} for c in known.get("conditions") or []]
    return bool(conditions == wanted["conditions"])
