"""The security filter: who acts, and whether a token is good.

Source: ZOO-Project's jwt/cgi-env/security_service.py and the chart's security_service.py. The
token's username wins over the prefix of the path, and a header that contains
`services-namespace` wins over both. Keys are fetched from the issuer on each request.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import aiohttp
import certifi
import jwt

from .answers import refuse
from .settings import Settings

Headers = Iterable[tuple[str, str]]
KeyFetcher = Callable[[str, Settings], Awaitable[Mapping[str, Any]]]
ANONYMOUS = "anonymous"
_TIMEOUT = aiohttp.ClientTimeout(total=5)
_INVALID = "Invalid JWT token (jwt.securityIn)."
_WANTED = "Authentication is required to perform the requested operation on the resource."
_DENIED = "You are not authorized to perform the requested operation on the resource."


async def acting_user(
    headers: Headers,
    namespace: str | None,
    settings: Settings,
    *,
    secured: bool,
    fetch_keys: KeyFetcher,
) -> str:
    """Name the user of a request.

    Args:
        headers: names and values as received.
        namespace: prefix of the path, None without one.
        secured: the path wants a token when `iam.enabled`.
        fetch_keys: gets the issuer's JWKS.

    Raises:
        RefusedError: 401 or 403 of the filter.
    """
    pairs = [(re.sub(r"[^A-Z0-9]", "_", name.upper()), value) for name, value in headers]
    authorizations = [value for name, value in sorted(pairs) if _authorizes(name)]
    claims: Mapping[str, Any] | None = None
    if authorizations:
        claims = await _claims(authorizations[0], settings, fetch_keys)
    if claims is None and secured and settings.secured:
        if authorizations:
            raise refuse("NotAllowed", _DENIED, 403)
        raise refuse("NotAllowed", _WANTED, settings.flavour.anonymous_status)
    chosen = [value for name, value in pairs if "SERVICES_NAMESPACE" in name]
    return (chosen or [_username(claims or {}) or namespace or ANONYMOUS])[-1]


def _authorizes(name: str) -> bool:
    """CGI calls the header HTTP_AUTHORIZATION; the filter takes each name that contains it."""
    return name == "AUTHORIZATION" or "HTTP_AUTHORIZATION" in name


def _username(claims: Mapping[str, Any]) -> str | None:
    names = (name for name in claims if "username" in name or "user_name" in name)
    return next((str(claims[name]) for name in names), None)


async def _claims(
    authorization: str, settings: Settings, fetch_keys: KeyFetcher
) -> Mapping[str, Any] | None:
    """Claims of a JWT; None for a text that is none (the filter takes it for no token)."""
    token = [*authorization.split(" "), ""][1]
    if token.count(".") < 2:
        return None
    try:
        if not settings.flavour.verifies_tokens:
            return dict(jwt.decode(token, options={"verify_signature": False, "verify_aud": False}))
        return await _verified(token, settings, fetch_keys)
    except (jwt.PyJWTError, aiohttp.ClientError, OSError, ValueError, LookupError) as error:
        raise refuse("Unauthorized", _INVALID, 401) from error


async def _verified(token: str, settings: Settings, fetch_keys: KeyFetcher) -> Mapping[str, Any]:
    kid = jwt.get_unverified_header(token)["kid"]
    # An unset variable yields its own name in the filter: nothing then verifies.
    issuer = settings.token_env.get("ZOO_KEYCLOAK_ISSUER") or "ZOO_KEYCLOAK_ISSUER"
    audience = settings.token_env.get("ZOO_KEYCLOAK_AUDIENCE") or "ZOO_KEYCLOAK_AUDIENCE"
    listed = settings.token_env.get("ZOO_KEYCLOAK_ALGORITHMS") or "RS256"
    keys = await fetch_keys(f"{issuer.rstrip('/')}/protocol/openid-connect/certs", settings)
    key = next(item for item in [*keys["keys"], None] if item is None or item.get("kid") == kid)
    if key is None:
        raise LookupError(kid)
    claims = jwt.decode(
        token,
        jwt.PyJWK(key).key,
        algorithms=[name.strip() for name in listed.split(",") if name.strip()],
        audience=audience,
        issuer=issuer,
        options={"verify_aud": True, "verify_iss": True, "verify_exp": True},
    )
    return dict(claims)


async def fetch_keys(url: str, settings: Settings) -> Mapping[str, Any]:
    """GET the JWKS as `requests` would: a bundle that is set is the only trust there is.

    Raises:
        OSError: the bundle is not mounted, or the issuer's certificate is not trusted.
    """
    if settings.ca_missing:
        raise FileNotFoundError("REQUESTS_CA_BUNDLE")
    if settings.ca_pem is None:
        tls = ssl.create_default_context(cafile=certifi.where())
    else:
        tls = ssl.create_default_context(cadata=settings.ca_pem)
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        session.get(url, ssl=tls) as answer,
    ):
        answer.raise_for_status()
        keys: Mapping[str, Any] = await answer.json()
        return keys
