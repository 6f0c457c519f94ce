"""Whose token it is, and what becomes of one that ends."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_gateway import Bearer
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError


def token(**claims: Any) -> Bearer:
    return Bearer(str, jwt.encode(claims, "k" * 32, algorithm="HS256"))


@pytest.mark.parametrize(
    "claims",
    [
        {"preferred_username": "alice"},
        {"preferred_username": "Alice", "sub": "pairwise"},
        {"sub": "id-1"},
        {"preferred_username": "alice@example.org", "sub": "id-1"},
    ],
)
def test_the_owner_is_told_by_id_or_name(claims: dict[str, Any]) -> None:
    token(**claims).check_owner("alice", "id-1")


@pytest.mark.parametrize(
    ("claims", "owner"),
    [
        ({"preferred_username": "bob"}, "bob"),
        ({"preferred_username": "bob", "sub": "id-2"}, "bob"),
        ({"sub": "id-2"}, "id-2"),
        ({}, "nobody"),
    ],
)
def test_a_token_of_somebody_else_is_refused(claims: dict[str, Any], owner: str) -> None:
    with pytest.raises(OapipError, match=f"it belongs to {owner}"):
        token(**claims).check_owner("alice", "id-1")


@pytest.mark.parametrize("text", ["opaque", "a.b.c", "a.WzFd.c", "a.ImEi.c"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(OapipError, match="it is no token"):
        Bearer(str, text).check_owner("alice", "id-1")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "HTTP 401 Unauthorized"),
        (400, "invalid_grant: Invalid bearer token"),
        (403, "invalid_bearer_token: Could not obtain bearer access_token from request."),
    ],
)
def test_a_token_that_has_ended_is_got_anew_once(status: int, reason: str) -> None:
    got: list[str] = []

    def get() -> str:
        got.append(f"token-{len(got)}")
        return got[-1]

    def ask(bearer: str) -> str:
        if bearer == "token-0":
            raise OapipError("asking", reason, status=status)
        return bearer

    bearer = Bearer(get)
    assert [bearer.use(ask), bearer.use(ask)] == ["token-1", "token-1"]
    assert got == ["token-0", "token-1"]

    def never(_bearer: str) -> str:
        raise OapipError("asking", reason, status=status)

    with pytest.raises(OapipError, match=reason):
        bearer.use(never)
    assert len(got) == 3
    with pytest.raises(OapipError, match="has ended"):
        Bearer(get, "given").use(never)
    assert len(got) == 3


def test_a_token_that_others_got_may_have_ended_too() -> None:
    got = iter(["first", "fresh"])
    bearer = Bearer(lambda: next(got))

    def ask(token: str) -> str:
        if token == "first":
            bearer.token = "aged"  # got by another thread while the answer was under way
        if token != "fresh":
            raise OapipError("asking", "invalid_grant: Invalid bearer token", status=400)
        return token

    assert bearer.use(ask) == "fresh"


def test_a_refusal_is_no_end() -> None:
    def denied(_bearer: str) -> str:
        raise OapipError("asking", "invalid_request: no such audience", status=400)

    with pytest.raises(OapipError, match="no such audience") as told:
        Bearer(str, "given").use(denied)
    assert "has ended" not in str(told.value)
