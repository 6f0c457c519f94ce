"""Dozens of contexts at once: names are found, progress is told, one wrong name stops all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import keycloak_client, keycloak_protect
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
ENGINE: Json = {"client_id": "engine", "marker": "engine 42"}
NAMES = [f"user{number}" for number in range(60)]


@pytest.fixture(scope="module")
def here(sandbox: Json) -> Iterator[Realm]:
    """Return a realm with many users and a service account, which no list of users shows."""
    with realm(sandbox) as made:
        users = [{"username": name, "enabled": True} for name in NAMES]
        made.kc.request("POST", "partialImport", body={"ifResourceExists": "FAIL", "users": users})
        made.call(keycloak_client, client_id="robot", service_accounts=True)
        made.call(keycloak_client, **ENGINE, authorization=True)
        yield made


def test_of_many_names_the_wrong_one_alone_is_told(here: Realm) -> None:
    users = [*NAMES[:24], "service-account-robot"]
    team: Json = {"name": "team", "mode": "shared", "users": [*users, "nobody"]}
    written = here.writes()
    with pytest.raises(OapipError) as told:
        here.call(keycloak_protect, **ENGINE, contexts=[team])
    assert told.value.reason == f"realm {here.name} has no user nobody"
    assert here.writes() == written
    here.settle(keycloak_protect, **ENGINE, contexts=[{**team, "users": users}])
    group = here.kc.request("GET", "group-by-path", "engine", "team")["id"]
    members = here.kc.request("GET", "groups", group, "members")
    assert sorted(one["username"] for one in members) == sorted(users)


def told(here: Realm, scopes: list[str]) -> list[str]:
    """Settle a context for each user, and return what was told meanwhile."""
    contexts = [{"name": name, "scopes": scopes} for name in NAMES]
    here.told.clear()
    here.call(keycloak_protect, **ENGINE, contexts=contexts)
    return here.told


def test_many_contexts_tell_how_far_they_are(here: Realm) -> None:
    groups, members = "[localhost] client engine: 60/60 groups", "60/60 members"
    here.call(keycloak_protect, **ENGINE, contexts=[])
    lines = told(here, ["view"])
    steps = (f"{groups} made", "181/181 objects imported", f"{members} added", f"{groups} read")
    for step in steps:
        assert [line for line in lines if line.endswith(step)], (step, lines)
    assert lines.index(f"{groups} made".replace("60/", "50/")) < lines.index(f"{groups} made")
    lines = told(here, [])
    for step in (f"{groups} read", "60/60 resources updated"):
        assert [line for line in lines if line.endswith(step)], (step, lines)
    here.told.clear()
    here.call(keycloak_protect, **ENGINE, state="absent")
    # one group takes all along
    for step in ("60/60 permissions", "60/60 resources", "60/60 policies"):
        assert [line for line in here.told if line.endswith(f"{step} deleted")], here.told
