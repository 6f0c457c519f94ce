"""What an account may not do is told with the role that it lacks, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _keycloak_links
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import connect
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    keycloak_access_info,
    keycloak_client,
    keycloak_protect,
    keycloak_user,
)
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
ROLES = {
    "manage-authorization",
    "manage-clients",
    "manage-users",
    "query-clients",
    "query-users",
    "view-authorization",
    "view-clients",
    "view-realm",
    "view-users",
}
CLIENT: Json = {"client_id": "new", "marker": "m", "authorization": True}
PROTECT: Json = {"client_id": "engine", "marker": "m", "contexts": [{"name": "alice"}]}
CHECKS: Json = {
    "client_id": "engine",
    "checks": [{"user": "alice", "path": "/x", "expect": "deny"}],
}
CASES: list[tuple[ModuleType, Json, set[str], str]] = [
    (keycloak_client, CLIENT, set(), "view-clients"),
    (keycloak_client, CLIENT, {"view-clients"}, "manage-clients"),
    (
        keycloak_client,
        {**CLIENT, "service_account_roles": ["reader"]},
        {"manage-clients"},
        "view-realm",
    ),
    (
        keycloak_client,
        {**CLIENT, "service_account_roles": ["reader"]},
        {"manage-clients", "view-realm", "view-users"},
        "manage-users",
    ),
    (keycloak_protect, PROTECT, {"manage-users"}, "view-clients"),
    (keycloak_protect, PROTECT, {"manage-users", "view-clients"}, "manage-authorization"),
    (
        keycloak_protect,
        PROTECT,
        {"manage-users", "view-clients", "view-authorization"},
        "manage-authorization",
    ),
    (keycloak_protect, PROTECT, {"view-clients", "manage-authorization"}, "view-users"),
    (
        keycloak_protect,
        PROTECT,
        {"view-clients", "manage-authorization", "view-users"},
        "manage-users",
    ),
    (
        keycloak_protect,
        {**PROTECT, "contexts": [{"name": "alice", "roles": ["reader"]}]},
        {"view-clients", "manage-authorization", "manage-users"},
        "view-realm",
    ),
    (keycloak_access_info, CHECKS, {"view-users"}, "view-clients"),
    (keycloak_access_info, CHECKS, {"view-clients", "view-authorization"}, "view-users"),
    (keycloak_user, {"username": "newcomer"}, set(), "view-users"),
    (keycloak_user, {"username": "newcomer"}, {"view-users"}, "manage-users"),
    (keycloak_user, {"username": "alice", "state": "absent"}, {"view-users"}, "manage-users"),
]


@pytest.fixture(scope="module")
def here(sandbox: Json) -> Iterator[Realm]:
    with realm(sandbox) as made:
        made.user("alice")
        made.kc.create("roles", body={"name": "reader"})
        made.call(keycloak_client, client_id="engine", marker="m", authorization=True)
        # settings that have to be changed before groups are made
        settings = {
            "policyEnforcementMode": "PERMISSIVE",
            "decisionStrategy": "UNANIMOUS",
            "allowRemoteResourceManagement": True,
        }
        made.kc.request("PUT", *made.authz("engine"), body=settings)
        yield made


@pytest.fixture(scope="module")
def robot(here: Realm) -> Json:
    """An account of the realm itself; its roles are set by each test."""
    given: Json = {"client_id": "robot", "service_accounts": True, "secret": "a-robots-secret"}
    here.call(keycloak_client, **given)
    return {
        "auth_realm": here.name,
        "auth_client_id": "robot",
        "auth_client_secret": given["secret"],
        "auth_username": None,
        "auth_password": None,
    }


def give(here: Realm, roles: set[str]) -> None:
    """Give the robot these roles of realm-management and no others."""
    client = (here.kc.client("realm-management") or {})["id"]
    robot = (here.kc.client("robot") or {})["id"]
    account = here.kc.request("GET", "clients", robot, "service-account-user")["id"]
    where = ("users", account, "role-mappings", "clients", client)
    here.kc.request("DELETE", *where)
    listed = here.kc.request("GET", "clients", client, "roles")
    assert {one["name"] for one in listed} >= ROLES
    here.kc.request("POST", *where, body=[one for one in listed if one["name"] in roles])


@pytest.mark.parametrize(("module", "options", "roles", "missing"), CASES)
def test_the_missing_role_is_named(
    here: Realm, robot: Json, module: ModuleType, options: Json, roles: set[str], missing: str
) -> None:
    give(here, roles)
    before = len(here.writes())
    with pytest.raises(OapipError) as told:
        here.call(module, **options, **robot)
    wanted = f"needs the role {missing} of the client realm-management in realm {here.name}"
    assert wanted in str(told.value)
    assert len(here.writes()) == before


def test_these_roles_are_enough(here: Realm, robot: Json) -> None:
    give(here, {"manage-authorization", "manage-clients", "manage-users", "view-realm"})
    here.call(keycloak_client, **CLIENT, service_account_roles=["reader"], **robot)
    contexts = [{"name": "alice", "roles": ["reader"]}]
    here.call(keycloak_protect, **{**PROTECT, "contexts": contexts}, **robot)
    here.call(keycloak_user, username="newcomer", **robot)
    give(here, {"view-authorization", "view-clients", "view-users"})
    here.call(keycloak_access_info, **CHECKS, **robot)


def test_a_client_that_cannot_be_closed_is_not_left_open(here: Realm, robot: Json) -> None:
    """Managing clients includes their authorization on newer versions, but not on 24.0."""
    give(here, {"manage-clients"})
    wanted = {**CLIENT, "client_id": "closed"}
    try:
        here.call(keycloak_client, **wanted, **robot)
    except OapipError as error:
        told = str(error)
        assert here.kc.client("closed") is None
    else:
        told = ""
        assert here.kc.request("GET", *here.authz("closed"), "settings")["policies"] == []
    assert not told or "needs the role view-authorization" in told


def test_who_may_not_give_a_role_is_told(here: Realm, robot: Json) -> None:
    give(here, {"manage-clients", "manage-users"})
    wanted: Json = {"client_id": "fresh", "marker": "m", "audience": ["fresh"]}
    wanted.update(service_accounts=True, service_account_roles=["realm-management/manage-realm"])
    before = len(here.writes())
    with pytest.raises(OapipError, match="given by its administrators only"):
        here.call(keycloak_client, **wanted, **robot)
    assert len(here.writes()) == before
    wanted["service_account_roles"] = ["reader"]
    give(here, {"manage-clients", "manage-users", "view-realm"})
    here.call(keycloak_client, **wanted, **robot)
    wanted["service_account_roles"].append("realm-management/manage-realm")
    before = len(here.writes())
    with pytest.raises(OapipError, match="given by its administrators only"):
        here.call(keycloak_client, **wanted, name="x", **robot)
    assert len(here.writes()) == before


def test_what_was_done_before_a_refusal_is_told(
    here: Realm, robot: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A realm without users does not tell beforehand which roles may be given."""
    give(here, {"manage-clients", "manage-users"})
    monkeypatch.setattr(_keycloak_links, "check_may_give", lambda *_args: None)
    wanted: Json = {"client_id": "half", "marker": "m", "service_accounts": True}
    roles = ["realm-management/manage-realm"]
    with pytest.raises(OapipError, match=r"Done before: create client half\. Another run goes on"):
        here.call(keycloak_client, **wanted, service_account_roles=roles, **robot)


BLIND: list[tuple[ModuleType, Json, str, str]] = [
    (keycloak_client, {"client_id": "engine", "marker": "m"}, "query-clients", "view-clients"),
    (
        keycloak_client,
        {"client_id": "engine", "marker": "m", "state": "absent"},
        "query-clients",
        "view-clients",
    ),
    (keycloak_protect, PROTECT, "query-clients", "view-clients"),
    (keycloak_access_info, CHECKS, "query-clients", "view-clients"),
    (keycloak_user, {"username": "alice", "state": "absent"}, "query-users", "view-users"),
    (keycloak_user, {"username": "alice"}, "query-users", "view-users"),
]


@pytest.mark.parametrize(("module", "options", "role", "missing"), BLIND)
def test_who_sees_nothing_does_not_call_it_absent(
    here: Realm, robot: Json, module: ModuleType, options: Json, role: str, missing: str
) -> None:
    """Keycloak shows an empty list to who may query, but not view."""
    give(here, {role})
    before = len(here.writes())
    with pytest.raises(OapipError, match=f"needs the role {missing} of the client"):
        here.call(module, **options, **robot)
    assert len(here.writes()) == before


def test_who_sees_nothing_lacks_the_roles(here: Realm, robot: Json) -> None:
    give(here, {"query-clients", "query-users"})
    probed = connect({**here.options, **robot}).token_probe()
    assert probed["missing"] == ["manage-clients", "manage-users"]
