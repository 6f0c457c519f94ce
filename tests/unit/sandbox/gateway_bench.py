"""A whole gateway on loopback for unit tests: real proxy, plugins and Lua; Keycloak a double.

The double answers as Keycloak 26.7.4 was seen to: one most specific resource, matrix
parameters and a second layer of percent-encoding undone by Keycloak itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.gateway.identity import Identity
from sandbox.gateway.lua import Lua
from sandbox.gateway.plugins.base import Runtime
from sandbox.gateway.proxy import Proxy
from sandbox.gateway.translate import CONTROLLER_NAME, Controller, Published, Translator

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SECRET_DATA = {"client_id": "engine", "client_secret": "s3cret-of-the-client"}

GUARD = {
    "phase": "rewrite",
    "functions": [
        """return function(conf, ctx)
  for k in pairs(ngx.req.get_headers(0)) do   -- 0: no limit of 100
    local n = string.gsub(string.lower(k), "_", "-")
    if string.find(n, "services-namespace", 1, true)
       or string.find(n, "http-authorization", 1, true) then
      return 400, {error_msg = "forbidden header"}
    end
  end
end
""",
        r"""return function(conf, ctx)
  local path = string.match(ngx.var.request_uri, "^[^?]*")
  if string.sub(path,1,1) ~= "/" or string.find(path, "[%%;\\#]")
     or string.find(path, "//", 1, true) or string.find(path .. "/", "/%.%.?/") then
    return 400, {error_msg = "path not canonical"}
  end
end
""",
    ],
}
REMOVAL = {
    "phase": "access",
    "functions": [
        """return function(conf, ctx)
  ngx.req.clear_header("Authorization")
  ngx.req.clear_header("X-Access-Token")
end
"""
    ],
}


@dataclass
class Reply:
    """What came back over the wire."""

    status: int
    headers: dict[str, str]
    body: str
    cookies: list[str] = field(default_factory=list)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Bench:
    """Gateway, upstream and Keycloak's double; ``asked`` and ``seen`` are their diaries."""

    controller: Controller = "2"
    asked: list[str] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    keycloak_down: bool = False
    keycloak_delay: float = 0
    protection_status: int = 200
    token_requests: list[dict[str, list[str]]] = field(default_factory=list)
    keycloak: str = ""
    port: int = 0
    objects: dict[str, dict[tuple[str, str], Any]] = field(default_factory=dict)
    published: Published = field(default_factory=Published)

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        socket = Path(self._folder.name) / "engine.sock"
        self._engine = web.ServerRunner(
            web.Server(self._upstream, access_log=None, max_headers=2000)
        )
        await self._engine.setup()
        await web.UnixSite(self._engine, str(socket)).start()
        self._double = web.ServerRunner(web.Server(self._keycloak, access_log=None))
        self.keycloak = f"http://127.0.0.1:{await _listen(self._double)}"
        self.identity = Identity()
        self.translator = Translator(self.controller, Runtime(self.identity, Lua()), lambda _: None)
        self.proxy = Proxy(socket, 0)
        self._front = web.ServerRunner(
            web.Server(self.proxy.handle, access_log=None, auto_decompress=False, max_headers=2000)
        )
        self.port = self.proxy.port = await _listen(self._front)
        self.objects = _cluster()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.proxy.close()
        await self.identity.close()
        for runner in (self._front, self._double, self._engine):
            await runner.cleanup()
        self._folder.cleanup()

    # objects -----------------------------------------------------------------------------

    def openid(self, **more: Any) -> dict[str, Any]:
        """The openid-connect plugin of a route; the client's secret comes from a Secret."""
        url = f"{self.keycloak}/realms/eoepca/.well-known/openid-configuration"
        config = {"discovery": url, "realm": "eoepca", "bearer_only": True, "use_jwks": True}
        return {"name": "openid-connect", "enable": True, "secretRef": "engine-client",
                "config": config | more}  # fmt: skip

    def authz(self, **more: Any) -> dict[str, Any]:
        """The authz-keycloak plugin of a route."""
        url = f"{self.keycloak}/realms/eoepca/.well-known/uma2-configuration"
        config = {"discovery": url, "lazy_load_paths": True}
        return {"name": "authz-keycloak", "enable": True, "secretRef": "engine-client",
                "config": config | more}  # fmt: skip

    def route(self, *rules: dict[str, Any], name: str = "engine", **spec: Any) -> None:
        """Put an ApisixRoute into the cluster and translate."""
        metadata = {"name": name, "namespace": "processing", "uid": name, "generation": 1}
        spec = {"ingressClassName": "apisix", "http": list(rules)} | spec
        self.objects["apisixroutes"]["processing", name] = {"metadata": metadata, "spec": spec}
        self.publish()

    def publish(self) -> Published:
        """Translate the cluster as it is now."""
        self.published = self.translator.translate(self.objects)
        self.proxy.router = self.published.router
        return self.published

    def condition(self, resource: str = "apisixroutes") -> dict[str, Any]:
        """The condition the controller would write on the only object of a kind."""
        (status,) = [s for s in self.published.statuses if s.resource == resource]
        condition: dict[str, Any] = status.status["conditions"][0]
        return condition

    # requests ----------------------------------------------------------------------------

    async def ask(
        self, target: str, *headers: tuple[str, str], method: str = "GET", body: str = ""
    ) -> Reply:
        """One raw request: nothing of the target is touched on the way."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {target} HTTP/1.1", "Connection: close"]
        if not any(name.lower() == "host" for name, _ in headers):
            lines.append("Host: engine.example:8443")
        chunked = any(name.lower() == "transfer-encoding" for name, _ in headers)
        if body and not chunked:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1"))
        raw = (await reader.read()).decode("latin-1")
        writer.close()
        head, _, text = raw.partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        pairs = [line.split(": ", 1) for line in rest]
        return Reply(
            int(first.split()[1]),
            {name.lower(): value for name, value in pairs},
            text,
            [value for name, value in pairs if name.lower() == "set-cookie"],
        )

    async def stop_engine(self) -> None:
        """Nothing listens on the socket any more."""
        await self._engine.cleanup()

    # servers -----------------------------------------------------------------------------

    async def _upstream(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        record = {
            "method": request.method,
            "target": request.raw_path,
            "headers": {k.decode(): v.decode() for k, v in request.raw_headers},
            "body": body.decode(),
        }
        self.seen.append(record)
        return web.json_response(record, headers={"Server": "engine/1", "X-Engine": "yes"})

    async def _keycloak(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.keycloak_down:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        await asyncio.sleep(self.keycloak_delay)
        base = f"{self.keycloak}/realms/eoepca"
        path = request.path.removeprefix("/realms/eoepca")
        if path.startswith("/.well-known/"):
            return web.json_response({
                "issuer": base,
                "jwks_uri": f"{base}/certs",
                "token_endpoint": f"{base}/token",
                "authorization_endpoint": f"{base}/protocol/openid-connect/auth",
                "introspection_endpoint": f"{base}/introspect",
                "userinfo_endpoint": f"{base}/userinfo",
                "resource_registration_endpoint": f"{base}/authz/protection/resource_set",
            })  # fmt: skip
        if path == "/certs":
            jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
            return web.json_response({"keys": [jwk | {"kid": "k1", "use": "sig", "alg": "RS256"}]})
        if path == "/introspect":
            return web.json_response({"active": False})
        if path == "/userinfo":
            return web.json_response({"preferred_username": "alice"})
        if path == "/token":
            return self._token(request, parse_qs((await request.read()).decode()))
        return self._resources(request)

    def _resources(self, request: web.BaseRequest) -> web.Response:
        if self.protection_status != 200:
            return web.Response(status=self.protection_status, text="no")
        if request.headers["Authorization"] != "Bearer service-account":
            return web.Response(status=401)
        asked = request.query["uri"]
        self.asked.append(asked)
        decoded = unquote(re.sub(r";[^/]*", "", asked))
        kept: list[str] = []
        for segment in decoded.split("/"):
            if segment == ".." and kept:
                kept.pop()
            elif segment not in ("", ".", ".."):
                kept.append(segment)
        known = kept and kept[0] in ("alice", "bob") and " " not in decoded
        return web.json_response([kept[0]] if known else [])

    def _token(self, request: web.BaseRequest, form: dict[str, list[str]]) -> web.Response:
        self.token_requests.append(form)
        kind = form["grant_type"][0]
        if kind == "client_credentials":
            if form["client_secret"] != [SECRET_DATA["client_secret"]]:
                return web.json_response({"error": "unauthorized_client"}, status=401)
            return web.json_response({"access_token": "service-account", "expires_in": 300})
        if kind == "authorization_code":
            claims = {"aud": "engine"}
            return web.json_response({"access_token": self.token(), "expires_in": 60,
                                      "id_token": self.token(**claims)})  # fmt: skip
        assert kind == "urn:ietf:params:oauth:grant-type:uma-ticket"
        bearer = request.headers["Authorization"].split(" ", 1)[1]
        try:
            user = jwt.decode(bearer, KEY.public_key(), algorithms=["RS256"])["preferred_username"]
        except jwt.PyJWTError:
            return web.json_response(
                {"error": "invalid_grant", "error_description": "Invalid bearer token"}, status=400
            )
        if "#" in form.get("permission", [""])[0]:
            return web.json_response({"error": "invalid_scope"}, status=400)
        if form.get("permission") == [user]:
            return web.json_response({"result": True})
        denied = {"error": "access_denied", "error_description": "not_authorized"}
        return web.Response(status=403, text=json.dumps(denied, separators=(",", ":")))

    def token(self, user: str = "alice", key: Any = KEY, kid: str = "k1", **claims: Any) -> str:
        """A token of the realm, valid for a minute unless ``exp`` says otherwise."""
        content = {"iss": f"{self.keycloak}/realms/eoepca", "preferred_username": user,
                   "exp": time.time() + 60, "scope": "openid"} | claims  # fmt: skip
        return jwt.encode(content, key, algorithm="RS256", headers={"kid": kid})

    def bearer(self, user: str = "alice", **claims: Any) -> tuple[str, str]:
        """An Authorization header."""
        return "Authorization", f"Bearer {self.token(user, **claims)}"


def rule(name: str, *paths: str, plugins: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """A rule of an ApisixRoute towards the engine's Service."""
    match = {"paths": list(paths), **more.pop("match", {})}
    backend = {"serviceName": "engine", "servicePort": 80}
    return {"name": name, "match": match, "backends": [backend], "plugins": plugins or []} | more


def serverless(config: dict[str, Any], which: str = "pre") -> dict[str, Any]:
    """A serverless plugin of a route."""
    return {"name": f"serverless-{which}-function", "enable": True, "config": config}


def secret(data: dict[str, str]) -> dict[str, Any]:
    """A Secret's data as the API server keeps it."""
    return {"data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}}


def run(scenario: Callable[[Bench], Awaitable[None]], controller: Controller = "2") -> None:
    """Run a scenario against a fresh bench."""

    async def whole() -> None:
        async with Bench(controller) as bench:
            await scenario(bench)

    asyncio.run(whole())


def _cluster() -> dict[str, dict[tuple[str, str], Any]]:
    slice_ = {
        "metadata": {"name": "engine-1", "labels": {"kubernetes.io/service-name": "engine"}},
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
    }
    ports = [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]
    return {
        "apisixroutes": {},
        "apisixtlses": {},
        "apisixpluginconfigs": {},
        "ingresses": {},
        "ingressclasses": {
            ("", "apisix"): {"metadata": {}, "spec": {"controller": CONTROLLER_NAME}}
        },
        "secrets": {("processing", "engine-client"): secret(SECRET_DATA)},
        "services": {("processing", "engine"): {"spec": {"ports": ports}}},
        "endpointslices": {("processing", "engine-1"): slice_},
    }


async def _listen(runner: web.ServerRunner) -> int:
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    return port
