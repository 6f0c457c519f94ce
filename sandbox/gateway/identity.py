"""Calls to Keycloak, always over verified TLS, with the caches nginx's workers would share."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jwt
from yarl import URL

CACHE_SECONDS = 86400
"""Discovery documents and keys live a day, as in both plugins."""

_ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"]


class IdentityError(Exception):
    """Keycloak did not answer as needed; the text names the URL, as the plugins' texts do."""


class TokenError(Exception):
    """The token is refused; the text says why."""


class Identity:
    """One client for all plugins of the gateway."""

    def __init__(self, ca_file: str | None = None) -> None:
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._session: aiohttp.ClientSession | None = None
        self._documents: dict[str, tuple[float, dict[str, Any]]] = {}
        self._keys: dict[str, tuple[float, jwt.PyJWKSet]] = {}
        self._service_tokens: dict[str, tuple[float, str]] = {}

    async def close(self) -> None:
        """Close connections; caches stay."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        timeout: float = 3.0,
    ) -> tuple[int, bytes]:
        """One request, no redirect followed; text in queries is Latin-1 for bytes.

        Raises IdentityError with nginx's short reason when there is no answer.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls), cookie_jar=aiohttp.DummyCookieJar()
            )
        target = url + ("?" + urlencode(query, encoding="latin-1") if query else "")
        sent = dict(headers or {})
        body = None
        if form is not None:
            body = urlencode(form, doseq=True, encoding="latin-1").encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        if basic is not None:
            sent["Authorization"] = aiohttp.encode_basic_auth(*basic)
        try:
            async with self._session.request(
                method, URL(target, encoded=True), data=body, headers=sent, allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as answer:  # fmt: skip
                return answer.status, await answer.read()
        except aiohttp.ClientConnectorCertificateError as error:
            raise IdentityError("certificate verify failed") from error
        except aiohttp.ClientConnectorError as error:
            raise IdentityError("connection refused") from error
        except TimeoutError as error:
            raise IdentityError("timeout") from error
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            raise IdentityError("closed") from error

    async def discovery(self, url: str, timeout: float = 3.0) -> dict[str, Any]:
        """The discovery document, cached. Raises IdentityError."""
        fresh_until, document = self._documents.get(url, (0.0, {}))
        if time.monotonic() < fresh_until:
            return document
        document = await self._json("discovery url", url, timeout)
        self._documents[url] = (time.monotonic() + CACHE_SECONDS, document)
        return document

    async def verify(
        self, token: str, discovery_url: str, *, audience: str | None = None, leeway: float = 120.0
    ) -> dict[str, Any]:
        """Claims of a token signed by a key of the realm. Raises IdentityError, TokenError.

        An unknown key id makes the keys be fetched once more, so rotation is followed.
        """
        document = await self.discovery(discovery_url)
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenError(f"invalid jwt string: {error}") from error
        if header.get("alg") not in _ALGORITHMS:
            raise TokenError(f"algorithm {header.get('alg')} is not allowed")
        key = await self._key(document["jwks_uri"], str(header.get("kid")))
        try:
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=[str(header["alg"])], issuer=document["issuer"],
                audience=audience, leeway=leeway, options={"verify_aud": audience is not None},
            )  # fmt: skip
        except jwt.InvalidSignatureError as error:
            raise TokenError("signature mismatch") from error
        except (jwt.PyJWTError, TypeError) as error:
            raise TokenError(str(error)) from error
        return claims

    async def service_token(
        self, endpoint: str, client_id: str, client_secret: str, timeout: float
    ) -> str:
        """Access token of the client's service account, cached until it expires.

        The cache is keyed as APISIX's is, without the secret. Raises IdentityError.
        """
        key = f"{endpoint}:{client_id}"
        fresh_until, token = self._service_tokens.get(key, (0.0, ""))
        if time.monotonic() < fresh_until:
            return token
        form = {"grant_type": "client_credentials", "client_id": client_id,
                "client_secret": client_secret}  # fmt: skip
        try:
            status, body = await self.call("POST", endpoint, form=form, timeout=timeout)
        except IdentityError as error:
            raise IdentityError(
                f"Accessing token endpoint URL ({endpoint}) failed: {error}"
            ) from error
        try:
            answer = _document(status, body)
        except IdentityError as error:
            raise IdentityError(f"Could not decode JSON from token endpoint: {error}") from error
        if "access_token" not in answer:
            raise IdentityError("Response does not contain access_token field.")
        seconds = float(answer.get("expires_in", 300)) - 1
        self._service_tokens[key] = (time.monotonic() + seconds, str(answer["access_token"]))
        return str(answer["access_token"])

    async def _key(self, jwks_uri: str, kid: str) -> jwt.PyJWK:
        for _ in range(2):
            fresh_until, keys = self._keys.get(jwks_uri, (0.0, None))
            if keys is None or time.monotonic() >= fresh_until:
                document = await self._json("jwks url", jwks_uri, 3.0)
                keys = jwt.PyJWKSet.from_dict(document)
                self._keys[jwks_uri] = (time.monotonic() + CACHE_SECONDS, keys)
            for key in keys.keys:
                if key.key_id == kid and key.public_key_use in (None, "sig"):
                    return key
            self._keys.pop(jwks_uri, None)
        raise TokenError(f"RSA key with id {kid} not found")

    async def _json(self, what: str, url: str, timeout: float) -> dict[str, Any]:
        try:
            status, body = await self.call("GET", url, timeout=timeout)
            return _document(status, body)
        except IdentityError as error:
            raise IdentityError(f"accessing {what} ({url}) failed: {error}") from error


def _document(status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        text = body.decode("latin-1")
        raise IdentityError(f"response indicates failure, status={status}, body={text}")
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise IdentityError("JSON decoding failed") from error
    if not isinstance(answer, dict):
        raise IdentityError("JSON decoding failed: not an object")
    return answer
