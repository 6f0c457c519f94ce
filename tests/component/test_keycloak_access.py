"""Who gets where, by Keycloak's own words: each user on each context, by many ways to write it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.modules import (
    keycloak_access_info,
    keycloak_client,
    keycloak_protect,
)
from tests.keycloak_realm import Realm, realm

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
