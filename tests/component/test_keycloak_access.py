"""Who gets where, by Keycloak's own words: each user on each context, by many ways to write it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _http
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_access import Judge
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_gateway import Gateway
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    keycloak_access_info,
    keycloak_client,
    keycloak_protect,
)
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
CLIENT = "matrix"
USERS = {
    "alice": "alice",
    "ali": "ali",  # a part of another name
    "bob": "bob",
    "bobby": "bobby",
    "user@example.org": "user@example.org",
    "x_1": "x_1",
    "a+b": "a+b",
    "obrien": "o'brien",
    "blank": "ann b",
    "umlaut": "jürgen",
}
"""The owner of each context; a name that is no path is the name of a user only."""

OWN, OTHER, NOBODY = "own", "other", "nobody"
TRICKS = {
    "/{own}": OWN,
    "/{own}/ogc-api/jobs": OWN,
    "/{own}/ogc-api/jobs?of=/{other}/": OWN,
    "//{own}//ogc-api": OWN,
    "/./{own}/./ogc-api": OWN,
    "/{own}%2fogc-api": OWN,
    "/{own}/../{other}/ogc-api": OTHER,
    "/{own}/%2e%2e/{other}/ogc-api": OTHER,
    "/{own}/..%2F{other}/ogc-api": OTHER,
    "/nowhere/../{other}/ogc-api": OTHER,
    "/{upper}/ogc-api": NOBODY,
    "/{own}-x/ogc-api": NOBODY,
    "/{own}/../ogc-api/processes": NOBODY,
    "/ogc-api/processes/{own}": NOBODY,
    "/": NOBODY,
}
"""Paths, and whose context each is once it is written plainly."""


@pytest.fixture(scope="module")
def here(sandbox: dict[str, Any]) -> Iterator[Realm]:
    with realm(sandbox) as made:
        made.token_client("cli")
        # an import, as from another system: the profile's rules would refuse some of the names
        users = [
            {
                "username": user,
                "enabled": True,
                "email": f"user-{number}@example.org",
                "firstName": "A",
                "lastName": "B",
                "credentials": [{"type": "password", "value": f"{user} password"}],
            }
            for number, user in enumerate(USERS.values())
        ]
        made.kc.request("POST", "partialImport", body={"ifResourceExists": "FAIL", "users": users})
        made.call(keycloak_client, client_id=CLIENT, marker=CLIENT, authorization=True)
        contexts = [
            {"name": name, "mode": "shared", "users": [user]} for name, user in USERS.items()
        ]
        made.settle(keycloak_protect, client_id=CLIENT, marker=CLIENT, contexts=contexts)
        yield made


def expected() -> dict[tuple[str, str], str]:
    """Return the decision for each user and path."""
    names = list(USERS)
    found: dict[tuple[str, str], str] = {}
    for number, own in enumerate(names):
        other = names[(number + 1) % len(names)]
        for trick, whose in TRICKS.items():
            path = trick.format(own=own, other=other, upper=own.upper())
            owner = {OWN: USERS[own], OTHER: USERS[other], NOBODY: None}[whose]
            for user in USERS.values():
                found[user, path] = "allow" if user == owner else "deny"
    return found


def test_everybody_gets_into_the_own_context_alone(here: Realm) -> None:
    wanted = expected()
    result = here.call(
        keycloak_access_info,
        client_id=CLIENT,
        checks=[
            {"user": user, "path": path, "expect": decision}
            for (user, path), decision in wanted.items()
        ],
        credentials=[{"username": user, "password": f"{user} password"} for user in USERS.values()],
        token_client_id="cli",
        fail_on_mismatch=False,
    )
    decided = result["decisions"]
    for method in ("admin", "token"):
        told = {
            (one["user"], one["path"]): one["decision"]
            for one in decided
            if one["method"] == method
        }
        assert told == wanted
    assert sum(decision == "allow" for decision in wanted.values()) >= 10 * len(USERS)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What is sent to Keycloak from now on, but for the administrator: last segment and content."""
    seen: list[tuple[str, Any]] = []
    send = _http.send

    def noting(http: Any, method: str, url: str, *args: Any, **more: Any) -> Any:
        if "/admin/" not in url and "/realms/master/" not in url:
            content = dict(more.get("data") or more["params"])
            seen.append((url.rpartition("/")[2], content))
        return send(http, method, url, *args, **more)

    monkeypatch.setattr(_http, "send", noting)
    return seen


def grants(sent: list[tuple[str, Any]]) -> list[str]:
    """Return the kinds of the logins."""
    kinds = [content.get("grant_type", "") for _where, content in sent]
    return [kind for kind in kinds if kind in ("client_credentials", "password")]


def decided(here: Realm, *paths: str, **more: Any) -> list[Json]:
    """Return the decisions on alice, by her token alone."""
    credential = {"username": "alice", "password": "alice password"}
    result = here.call(
        keycloak_access_info,
        client_id=CLIENT,
        checks=[{"user": "alice", "path": path, "expect": "allow"} for path in paths],
        fail_on_mismatch=False,
        **{"credentials": [credential], "token_client_id": "cli", **more},
    )
    return [one for one in result["decisions"] if one["method"] == "token"]


def test_a_token_is_asked_about_as_apisix_asks(here: Realm, sent: list[tuple[str, Any]]) -> None:
    resource = next(
        one["_id"]
        for one in here.kc.request("GET", *here.authz(CLIENT), "resource", query={"name": "alice"})
        if one["name"] == "context:alice"
    )
    allowed, denied = decided(here, "/alice/x#y", "/nowhere")
    assert (allowed["decision"], allowed["resources"]) == ("allow", ["context:alice"])
    assert (denied["decision"], denied["resources"]) == ("deny", [])
    assert set(grants(sent)) == {"client_credentials", "password"}
    lookups = [content for where, content in sent if where == "resource_set"]
    assert {one["uri"] for one in lookups} == {"/alice/x", "/nowhere"}
    assert {one["matchingUri"] for one in lookups} == {"true"}
    asked = [content for _where, content in sent if "permission" in content]
    wanted = {
        "grant_type": "urn:ietf:params:oauth:grant-type:uma-ticket",
        "audience": CLIENT,
        "response_mode": "decision",
        "permission": [resource],
    }
    assert asked  # more than once where the token ends quickly
    assert [one for one in asked if one != wanted] == []


def test_a_token_is_asked_about_by_path_where_the_secret_is_not_shown(
    here: Realm, sent: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def masked(_kc: Keycloak, _client_id: str) -> str:
        raise OapipError("reading the secret", "the server shows it masked")

    monkeypatch.setattr(Keycloak, "client_secret", masked)
    found = decided(here, "/alice/x", "/nowhere", "/ALICE/x")
    assert [one["decision"] for one in found] == ["allow", "deny", "deny"]
    asked = [content for _where, content in sent if "permission" in content]
    assert {one["permission"][0] for one in asked} == {"/ALICE/x", "/alice/x", "/nowhere"}
    for one in asked:
        assert one["permission_resource_format"] == "uri"
        assert one["permission_resource_matching_uri"] == "true"
    with pytest.raises(OapipError, match="cannot be asked about by its path"):
        decided(here, "/alice/%23x")


def test_a_token_does_not_rely_on_what_the_administrator_sees(
    here: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "_resources_at", lambda _judge, _path: [])
    (found,) = decided(here, "/alice/x")
    assert found["decision"] == "allow"


def test_a_gateway_that_cannot_look_up_is_told(here: Realm) -> None:
    account = here.kc.user(f"service-account-{CLIENT}") or {}
    here.kc.request("PUT", "users", account["id"], body={**account, "enabled": False})
    try:
        with pytest.raises(OapipError, match=f"logging in as client {CLIENT} .*, as APISIX does"):
            decided(here, "/alice/x")
    finally:
        here.kc.request("PUT", "users", account["id"], body=account)


def test_a_token_of_somebody_else_is_refused(here: Realm) -> None:
    token = here.kc.user_token("cli", "bob", "bob password")
    with pytest.raises(OapipError, match="token of alice: it belongs to bob"):
        decided(here, "/alice/x", credentials=[{"username": "alice", "token": token}])
    with pytest.raises(OapipError, match="token of alice: it is no token"):
        decided(here, "/alice/x", credentials=[{"username": "alice", "token": "hush.hush.hush"}])


def test_credentials_that_no_check_uses_are_told(here: Realm) -> None:
    here.warned.clear()
    decided(here, "/alice/x", credentials=[{"username": "alcie", "token": "x"}])
    assert here.warned == ["no check is about alcie: these credentials are not used"]


def test_a_token_that_ends_meanwhile_is_got_anew(
    here: Realm, sent: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's and the gateway's."""
    whole = here.kc.request("GET")
    here.kc.request("PUT", body={**whole, "accessTokenLifespan": 1})
    look_up, decide = Gateway.look_up, Gateway.decide

    def late(self: Gateway, *args: Any) -> Any:
        time.sleep(2.2)  # Keycloak lets a token that ended live on for a second
        return (look_up if len(args) == 2 else decide)(self, *args)

    try:
        short = here.kc.user_token("cli", "alice", "alice password")
        sent.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Gateway, "look_up", late)
            patched.setattr(Gateway, "decide", late)
            (found,) = decided(here, "/alice/x")
        assert found["decision"] == "allow"
        for kind in ("client_credentials", "password"):
            assert grants(sent).count(kind) > 1
        with pytest.raises(OapipError, match="has ended"):
            decided(here, "/alice/x", credentials=[{"username": "alice", "token": short}])
    finally:
        here.kc.request("PUT", body=whole)
