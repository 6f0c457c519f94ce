"""The browser's login: redirect to Keycloak, code exchange, and a sealed session cookie."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote

from cryptography.fernet import Fernet
from cryptography.fernet import InvalidToken as BrokenSeal

from sandbox.gateway.identity import Identity, IdentityError, TokenError
from sandbox.gateway.request import Answer, Request

CALLBACK = "/.apisix/redirect"
_CHUNK = 3800
"""Characters a cookie; browsers take 4096 with the name and attributes."""


@dataclass
class Session:
    """What the cookie holds: a login under way (``state``) or a user's tokens."""

    state: str = ""
    original_url: str = ""
    verifier: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires: float = 0.0
    id_claims: dict[str, Any] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)


class Login:
    """The authorization code flow of one route's configuration."""

    def __init__(self, config: Mapping[str, Any], identity: Identity) -> None:
        self.config = config
        self.identity = identity
        key = hashlib.sha256(config["session"]["secret"].encode()).digest()
        self.seal = Fernet(base64.urlsafe_b64encode(key))
        self.cookie = str(config["session"].get("cookie_name", "session"))

    async def authenticate(self, request: Request, unauth_action: str) -> Session | Answer | None:
        """The user's session, or what to answer; None lets an unknown user pass."""
        session = self._open(request)
        redirect_uri = self._redirect_uri(request)
        try:
            if request.uri == redirect_uri and request.args is not None:
                return await self._finish(request, session)
            if session.access_token and await self._fresh(request, session):
                return session
            if unauth_action == "auth":
                return await self._begin(request, redirect_uri)
        except (IdentityError, TokenError):
            return Answer.page(500)
        return None if unauth_action == "pass" else Answer.page(401)

    def _redirect_uri(self, request: Request) -> str:
        """This path with the callback's suffix, unless configured."""
        configured = self.config.get("redirect_uri")
        if configured is not None:
            return str(configured)
        if request.uri.endswith(CALLBACK):
            return request.uri
        return request.uri.removesuffix("/") + CALLBACK

    async def _begin(self, request: Request, redirect_uri: str) -> Answer:
        document = await self.identity.discovery(self.config["discovery"])
        session = Session(state=secrets.token_hex(16), original_url=request.target)
        query = {
            "response_type": "code",
            "state": session.state,
            "client_id": str(self.config["client_id"]),
            "redirect_uri": _absolute(request, redirect_uri),
            "scope": str(self.config.get("scope", "openid")),
        }
        if self.config.get("use_pkce", False):
            session.verifier = secrets.token_urlsafe(32)
            digest = hashlib.sha256(session.verifier.encode()).digest()
            query["code_challenge"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            query["code_challenge_method"] = "S256"
        self._keep(request, session)
        text = "&".join(f"{name}={_escape(value)}" for name, value in query.items())
        return Answer.page(302, {"Location": f"{document['authorization_endpoint']}?{text}"})

    async def _finish(self, request: Request, session: Session) -> Answer:
        """The callback: exchange the code, keep the tokens, go back where the user came from."""
        answer = {name: values[0] for name, values in parse_qs(request.args).items()}
        if not session.state or answer.get("state") != session.state or "code" not in answer:
            return Answer.page(500)
        form = {"grant_type": "authorization_code", "code": answer["code"],
                "redirect_uri": _absolute(request, self._redirect_uri(request))}  # fmt: skip
        if session.verifier:
            form["code_verifier"] = session.verifier
        tokens = await self._tokens(form)
        document = await self.identity.discovery(self.config["discovery"])
        claims = await self.identity.verify(
            tokens["id_token"], self.config["discovery"], audience=self.config["client_id"]
        )
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        status, body = await self.identity.call(
            "GET", document["userinfo_endpoint"], headers=headers
        )
        user = json.loads(body) if status == 200 else {}
        self._keep(request, _session(tokens, claims, user))
        return Answer.page(302, {"Location": _absolute(request, session.original_url)})

    async def _fresh(self, request: Request, session: Session) -> bool:
        """Whether the access token lives, renewed with the refresh token when it does not."""
        if time.time() < session.expires:
            return True
        if not session.refresh_token:
            return False
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
        try:
            tokens = await self._tokens(form)
        except IdentityError:
            return False
        renewed = _session(tokens, session.id_claims, session.user)
        session.access_token, session.expires = renewed.access_token, renewed.expires
        session.refresh_token = renewed.refresh_token or session.refresh_token
        self._keep(request, session)
        return True

    async def _tokens(self, form: dict[str, str]) -> dict[str, Any]:
        document = await self.identity.discovery(self.config["discovery"])
        basic = None
        if "client_secret" in self.config:
            basic = (self.config["client_id"], self.config["client_secret"])
        else:
            form = form | {"client_id": self.config["client_id"]}
        status, body = await self.identity.call(
            "POST", document["token_endpoint"], form=form, basic=basic
        )
        if status != 200:
            raise IdentityError(f"response indicates failure, status={status}")
        tokens: dict[str, Any] = json.loads(body)
        return tokens

    def _open(self, request: Request) -> Session:
        """The request's session; a broken or missing cookie is an empty one."""
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load("; ".join(request.headers.getall("Cookie", [])))
        except CookieError:
            return Session()
        first = cookies.get(self.cookie)
        count, _, text = first.value.partition(".") if first is not None else ("0", "", "")
        for part in range(2, int(count) + 1 if count.isdigit() else 0):
            text += cookies[name].value if (name := f"{self.cookie}{part}") in cookies else ""
        try:
            return Session(**json.loads(self.seal.decrypt(text.encode())))
        except (BrokenSeal, ValueError, TypeError):
            return Session()

    def _keep(self, request: Request, session: Session) -> None:
        text = self.seal.encrypt(json.dumps(asdict(session)).encode()).decode()
        chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
        chunks[0] = f"{len(chunks)}.{chunks[0]}"  # so that a shorter session hides old chunks
        secure = "; Secure" if request.scheme == "https" else ""
        for part, chunk in enumerate(chunks, start=1):
            name = self.cookie if part == 1 else f"{self.cookie}{part}"
            request.response_headers.add(
                "Set-Cookie", f"{name}={chunk}; Path=/; SameSite=Lax{secure}; HttpOnly"
            )


def _session(tokens: Mapping[str, Any], claims: dict[str, Any], user: dict[str, Any]) -> Session:
    return Session(
        access_token=tokens["access_token"],
        refresh_token=tokens.get("refresh_token", ""),
        expires=time.time() + float(tokens.get("expires_in", 60)),
        id_claims=claims,
        user=user,
    )


def _absolute(request: Request, url: str) -> str:
    """lua-resty-openidc: scheme and Host header before a path; anything else as it is."""
    if not url.startswith("/"):
        return url
    return f"{request.scheme}://{request.headers.get('Host', request.host)}{url}"


def _escape(text: str) -> str:
    return quote(text.encode("latin-1"), safe="-_.~")
