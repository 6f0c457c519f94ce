"""authz-keycloak: Keycloak's own decision on the decoded, normalised path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sandbox.gateway.identity import Identity, IdentityError
from sandbox.gateway.plugins.base import Plugin, Runtime, SchemaError, expect
from sandbox.gateway.request import Answer, Request

_DENIED = '{"error":"access_denied","error_description":"not_authorized"}'
_UMA_TICKET = "urn:ietf:params:oauth:grant-type:uma-ticket"


class AuthzKeycloak(Plugin):
    """https://apisix.apache.org/docs/apisix/plugins/authz-keycloak/, behaviour of 3.15 and newer.

    Keycloak out of reach is 503, never a pass.
    """

    name = "authz-keycloak"
    priority = 2000

    def __init__(self, config: Mapping[str, Any], runtime: Runtime) -> None:
        super().__init__(config, runtime)
        expect(config, discovery=str, token_endpoint=str, client_id=str, client_secret=str,
               resource_registration_endpoint=str, lazy_load_paths=bool, permissions=list,
               http_method_as_scope=bool, policy_enforcement_mode=str, timeout=int,
               access_denied_redirect_uri=str, ssl_verify=bool)  # fmt: skip
        if "discovery" not in config and "token_endpoint" not in config:
            raise SchemaError("allOf 1 failed: object matches none of the required")
        if "client_id" not in config:
            raise SchemaError("allOf 2 failed: object matches none of the required")
        if not {"discovery", "resource_registration_endpoint"} & set(config) and self._lazy:
            raise SchemaError("allOf 3 failed: object matches none of the required")
        if config.get("policy_enforcement_mode", "ENFORCING") not in ("ENFORCING", "PERMISSIVE"):
            raise SchemaError('property "policy_enforcement_mode" validation failed')
        for name in ("client_id", "client_secret"):
            if name in config and not 0 < len(config[name]) <= 100:
                raise SchemaError(f'property "{name}" validation failed: string too long or short')
        if config.get("timeout", 3000) < 1000:
            raise SchemaError('property "timeout" validation failed: expected >= 1000')

    @property
    def _lazy(self) -> bool:
        return bool(self.config.get("lazy_load_paths", False))

    @property
    def _timeout(self) -> float:
        return float(self.config.get("timeout", 3000)) / 1000

    async def access(self, request: Request) -> Answer | None:
        token = request.headers.get("Authorization")
        if token is None:
            return Answer.of(401, {"message": "Missing JWT token in request"})
        if token[:7] not in ("Bearer ", "bearer "):
            token = f"Bearer {token}"
        try:
            return await self._decide(request, token, self.runtime.identity)
        except IdentityError as error:
            return Answer.of(503, str(error))

    async def _decide(self, request: Request, token: str, keycloak: Identity) -> Answer | None:
        permissions = [str(name) for name in self.config.get("permissions", [])]
        if self._lazy:
            permissions = await self._resources(request.uri, keycloak)
        enforcing = self.config.get("policy_enforcement_mode", "ENFORCING") == "ENFORCING"
        if not permissions and enforcing:
            return self._denied(403, _DENIED.encode())
        if self.config.get("http_method_as_scope", False):
            permissions = [f"{p}{', ' if '#' in p else '#'}{request.method}" for p in permissions]
        endpoint = await self._endpoint("token_endpoint", keycloak)
        form = {"grant_type": _UMA_TICKET, "audience": self.config["client_id"],
                "response_mode": "decision", "permission": permissions}  # fmt: skip
        try:
            status, body = await keycloak.call(
                "POST", endpoint, form=form, headers={"Authorization": token}, timeout=self._timeout
            )
        except IdentityError as error:
            raise IdentityError(
                f"Error while sending authz request to {endpoint}: {error}"
            ) from error
        return self._denied(status, body) if status >= 400 else None

    async def _resources(self, uri: str, keycloak: Identity) -> list[str]:
        """Ids of the resource that fits the path best. Raises IdentityError."""
        token = await keycloak.service_token(
            await self._endpoint("token_endpoint", keycloak),
            self.config["client_id"],
            self.config.get("client_secret", ""),
            self._timeout,
        )
        endpoint = await self._endpoint("resource_registration_endpoint", keycloak)
        try:
            status, body = await keycloak.call(
                "GET", endpoint, query={"uri": uri, "matchingUri": "true"},
                headers={"Authorization": f"Bearer {token}"}, timeout=self._timeout,
            )  # fmt: skip
        except IdentityError as error:
            raise IdentityError(
                f"Accessing resource registration endpoint URL ({endpoint}) failed: {error}"
            ) from error
        failure = "Could not decode JSON from resource registration endpoint: "
        if status != 200:
            text = body.decode("latin-1")
            raise IdentityError(
                f"{failure}response indicates failure, status={status}, body={text}"
            )
        try:
            found = json.loads(body)
        except ValueError as error:
            raise IdentityError(f"{failure}JSON decoding failed") from error
        return [str(item) for item in found]

    async def _endpoint(self, name: str, keycloak: Identity) -> str:
        if name in self.config:
            return str(self.config[name])
        document = await keycloak.discovery(self.config["discovery"], self._timeout)
        return str(document[name])

    def _denied(self, status: int, body: bytes) -> Answer:
        elsewhere = self.config.get("access_denied_redirect_uri")
        if status == 403 and elsewhere:
            return Answer.page(307, {"Location": str(elsewhere)})
        return Answer(status, body)
