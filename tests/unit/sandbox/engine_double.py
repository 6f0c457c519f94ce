"""An engine stand-in over in-memory objects, spoken to over a real unix socket."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import certifi
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from sandbox.engine.app import App
from sandbox.engine.settings import Settings, SettingsSource

SERVICE = "processing/zoo-project-dru-service"
HOST = "https://zoo.example.org"
CWL = """cwlVersion: v1.2
$namespaces: {s: "https://schema.org/"}
s:softwareVersion: "1.2.3"
$graph:
  - class: Workflow
    id: hello
    label: Hello title
    doc: Hello doc
    inputs: {must: string, maybe: "string?", zero: {type: int, default: 0}}
    outputs: []
    steps: []
"""


@dataclass
class Double(SettingsSource):
    """Settings a test changes at will."""

    settings: Settings = field(default_factory=lambda: Settings("processing-zoo-1", HOST))

    async def get(self, service: str) -> Settings | None:
        return self.settings if service == SERVICE else None


@dataclass(frozen=True)
class Got:
    """An answer, read."""

    status: int
    reason: str | None
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """Sends paths as they are written."""

    def __init__(self, session: aiohttp.ClientSession, double: Double) -> None:
        self._session = session
        self.double = double

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        service: str = SERVICE,
        **headers: str,
    ) -> Got:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = json.dumps(body) if isinstance(body, dict | list) else body
        url = URL("http://engine" + path, encoded=True)
        async with self._session.request(
            method,
            url,
            data=data,
            headers={"X-Sandbox-Service": service, **sent},
            allow_redirects=False,
            skip_auto_headers=["Content-Type", "Accept"],
        ) as answer:
            text = await answer.text(errors="replace")
            return Got(answer.status, answer.reason, answer.headers, text)

    async def deploy(self, user: str = "alice", text: str = CWL, query: str = "") -> Got:
        """Deploy a CWL text."""
        path = f"/{user}/ogc-api/processes{query}"
        return await self("POST", path, text, Content_Type="application/cwl+yaml")


@asynccontextmanager
async def running(folder: Path, issuer: Issuer | None = None) -> AsyncIterator[Client]:
    """Serve on a socket in a folder and connect to it."""
    double = Double()
    authority = Path(certifi.where())
    app = App(
        double, folder / "state", authority, **({"fetch_keys": issuer.keys} if issuer else {})
    )
    runner = web.AppRunner(app.web_app())
    await runner.setup()
    await web.UnixSite(runner, str(folder / "s")).start()
    try:
        connector = aiohttp.UnixConnector(str(folder / "s"))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Client(session, double)
    finally:
        await runner.cleanup()


class Issuer:
    """A realm with one key."""

    url = "https://auth.example.org/realms/eoepca"
    audience = "oapip-engine"

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.asked: list[str] = []

    @property
    def env(self) -> dict[str, str]:
        return {"ZOO_KEYCLOAK_ISSUER": self.url, "ZOO_KEYCLOAK_AUDIENCE": self.audience}

    async def keys(self, url: str, _: Settings) -> Mapping[str, Any]:
        """Stand for the HTTP request of the JWKS."""
        self.asked.append(url)
        if not url.startswith(self.url):
            raise OSError(url)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": "k1", "alg": "RS256"}]}

    def token(self, *, kid: str = "k1", key: rsa.RSAPrivateKey | None = None, **claims: Any) -> str:
        """A bearer value; claims over good ones."""
        whole = {"iss": self.url, "aud": self.audience, "exp": time.time() + 86400, **claims}
        return "Bearer " + jwt.encode(whole, key or self._key, "RS256", headers={"kid": kid})
