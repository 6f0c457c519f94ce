"""openid-connect: a bearer token of the realm, or a browser login where the route allows it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from sandbox.gateway.identity import IdentityError, TokenError
from sandbox.gateway.plugins.base import Plugin, Runtime, SchemaError, expect
from sandbox.gateway.plugins.oidc_session import Login, Session
from sandbox.gateway.request import Answer, Request


class OpenidConnect(Plugin):
    """https://apisix.apache.org/docs/apisix/plugins/openid-connect/, behaviour of 3.14 to 3.16.

    Errors are nginx's own pages. TLS towards Keycloak is verified whatever ``ssl_verify`` says.
    """

    name = "openid-connect"
    priority = 2599

    def __init__(self, config: Mapping[str, Any], runtime: Runtime) -> None:
        super().__init__(config, runtime)
        expect(config, client_id=str, client_secret=str, discovery=str, scope=str, realm=str,
               bearer_only=bool, use_jwks=bool, unauth_action=str, redirect_uri=str, session=dict,
               set_access_token_header=bool, access_token_in_authorization_header=bool,
               set_id_token_header=bool, set_userinfo_header=bool, set_refresh_token_header=bool,
               use_pkce=bool, iat_slack=int, required_scopes=list)  # fmt: skip
        self.bearer_only = bool(config.get("bearer_only", False))
        for name in ("client_id", "discovery"):
            if name not in config:
                raise SchemaError(f'property "{name}" is required')
        if not self.bearer_only and "session" not in config:
            raise SchemaError('property "session.secret" is required when "bearer_only" is false')
        secret = config.get("session", {}).get("secret", "")
        if "session" in config and len(secret) < 16:
            raise SchemaError('property "session" validation failed: property "secret" is required'
                              " and has at least 16 characters")  # fmt: skip
        if "client_secret" not in config and not (self.bearer_only and config.get("use_jwks")):
            raise SchemaError('property "client_secret" is required')
        if config.get("unauth_action", "auth") not in ("auth", "deny", "pass"):
            raise SchemaError('property "unauth_action" validation failed')
        self.realm = str(config.get("realm", "apisix"))
        self.login = None if self.bearer_only else Login(config, runtime.identity)

    async def rewrite(self, request: Request) -> Answer | None:
        if (
            self.bearer_only
            or self.config.get("use_jwks")
            or "introspection_endpoint" in self.config
        ):
            claims = await self._bearer(request)
            if isinstance(claims, Answer):
                return claims
            if claims is not None:
                return None
        assert self.login is not None
        outcome = await self.login.authenticate(request, self.config.get("unauth_action", "auth"))
        if isinstance(outcome, Session):
            self._forward_session(request, outcome)
            return None
        return outcome

    async def _bearer(self, request: Request) -> Answer | dict[str, Any] | None:
        """Claims of the request's token, None without one, or the refusal."""
        header = request.headers.get("Authorization")
        if header is None:
            if "X-Access-Token" in request.headers:
                # Taken as "has a token", but the verifier reads Authorization only.
                return self._refuse("no Authorization header found")
        else:
            kind, mark, token = header.strip().partition(" ")
            if not mark:
                return Answer.page(400)
            if kind.lower() == "bearer":
                return await self._checked(request, token)
        if not self.bearer_only:
            return None
        return Answer.page(401, {"WWW-Authenticate": f'Bearer realm="{self.realm}"'})

    async def _checked(self, request: Request, token: str) -> Answer | dict[str, Any]:
        try:
            if self.config.get("use_jwks"):
                claims = await self.runtime.identity.verify(
                    token, self.config["discovery"], leeway=self.config.get("iat_slack", 120)
                )
            else:
                claims = await self._introspected(token)
        except (TokenError, IdentityError) as error:
            return self._refuse(str(error))
        required = self.config.get("required_scopes", [])
        if not set(required) <= set(str(claims.get("scope", "")).split()):
            message = {"error": f"required scopes {', '.join(required)} not present"}
            return Answer.of(403, json.dumps(message, separators=(",", ":")))
        self._forward(request, token, claims)
        return claims

    async def _introspected(self, token: str) -> dict[str, Any]:
        """Raises TokenError when Keycloak does not call the token active, else IdentityError."""
        keycloak = self.runtime.identity
        endpoint = self.config.get("introspection_endpoint")
        if endpoint is None:
            endpoint = (await keycloak.discovery(self.config["discovery"]))[
                "introspection_endpoint"
            ]
        basic = (self.config["client_id"], self.config["client_secret"])
        status, body = await keycloak.call("POST", endpoint, form={"token": token}, basic=basic)
        try:
            answer = json.loads(body) if status == 200 else None
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise IdentityError(f"response indicates failure, status={status}")
        if not answer.get("active"):
            raise TokenError("invalid token")
        return answer

    def _refuse(self, reason: str) -> Answer:
        reason = reason.replace("\r", " ").replace("\n", " ")
        challenge = (
            f'Bearer realm="{self.realm}", error="invalid_token", error_description="{reason}"'
        )
        return Answer.page(401, {"WWW-Authenticate": challenge})

    def _forward(self, request: Request, token: str, user: Mapping[str, Any] | None) -> None:
        """Headers for the upstream. What is switched off here, a client's own header passes."""
        if self.config.get("set_access_token_header", True):
            if self.config.get("access_token_in_authorization_header", False):
                request.headers["Authorization"] = f"Bearer {token}"
            else:
                request.headers["X-Access-Token"] = token
        if user and self.config.get("set_userinfo_header", True):
            request.headers["X-Userinfo"] = _encoded(user)

    def _forward_session(self, request: Request, session: Session) -> None:
        self._forward(request, session.access_token, session.user)
        if self.config.get("set_id_token_header", True):
            request.headers["X-ID-Token"] = _encoded(session.id_claims)
        if session.refresh_token and self.config.get("set_refresh_token_header", False):
            request.headers["X-Refresh-Token"] = session.refresh_token


def _encoded(claims: Mapping[str, Any]) -> str:
    return base64.b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode()
