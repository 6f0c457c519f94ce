"""keycloak_protect and keycloak_access_info on the real Keycloak."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _keycloak_client_calls
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_login import Login
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    keycloak_access_info,
    keycloak_client,
    keycloak_protect,
)
from tests.keycloak_realm import Realm, realm

MARKER = "engine 42"
BOTH = [{"name": "alice"}, {"name": "bob"}]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def here(sandbox: Json) -> Iterator[Realm]:
    with realm(sandbox) as made:
        made.token_client("cli")
        for name in ("alice", "bob", "bobby", "carol"):
            made.user(name, f"{name}-password")
        made.kc.create("groups", body={"name": "team"})
        for name in ("analyst", "reviewer"):
            made.kc.create("roles", body={"name": name})
        yield made


@pytest.fixture
def client_id(here: Realm, request: pytest.FixtureRequest) -> str:
    """Return the id of a client of this test alone."""
    name: str = request.node.name.replace("[", "-").replace("]", "")[:60].lower()
    here.call(keycloak_client, client_id=name, marker=MARKER, authorization=True)
    return name


def export(here: Realm, client_id: str) -> Json:
    settings: Json = here.kc.request("GET", *here.authz(client_id), "settings")
    return settings


def protect(here: Realm, client_id: str, contexts: list[Json], **more: Any) -> Json:
    options = {"client_id": client_id, "marker": MARKER, "contexts": contexts, **more}
    return here.settle(keycloak_protect, **options)


def allowed(here: Realm, client_id: str, user: str, path: str) -> bool:
    """Whether both ways to a decision allow, and agree."""
    result = here.call(
        keycloak_access_info,
        client_id=client_id,
        checks=[{"user": user, "path": path, "expect": "allow"}],
        credentials=[{"username": user, "password": f"{user}-password"}],
        token_client_id="cli",
        fail_on_mismatch=False,
    )
    (decision,) = {one["decision"] for one in result["decisions"]}
    assert {one["method"] for one in result["decisions"]} == {"admin", "token"}
    return bool(decision == "allow")


@pytest.mark.parametrize("user_access", ["group", "policy"])
def test_owners_are_let_in_and_nobody_else(here: Realm, client_id: str, user_access: str) -> None:
    protect(here, client_id, BOTH, user_access=user_access)
    here.call(keycloak_access_info, client_id=client_id, contexts=BOTH)
    assert allowed(here, client_id, "alice", "/alice/ogc-api/jobs?limit=1")
    for user, path in (
        ("alice", "/bob/ogc-api"),
        ("bobby", "/bob/ogc-api"),
        ("bob", "/bobby/ogc-api"),
        ("alice", "/ALICE2/x"),
        ("alice", "/alice/../bob/x"),
        ("alice", "/alice/%2e%2e/bob/x"),
        ("alice", "//bob//x"),
        ("alice", "/nowhere"),
        ("alice", "/"),
    ):
        assert not allowed(here, client_id, user, path), (user, path)
    gone = here.settle(keycloak_protect, client_id=client_id, marker=MARKER, state="absent")
    assert gone["changed"]
    left = export(here, client_id)
    assert not left["resources"]
    assert not left["policies"]
    assert here.kc.request("GET", "group-by-path", client_id, absent=True) is None


def test_a_change_shows_itself_alone(here: Realm, client_id: str) -> None:
    team: Json = {"name": "shared-a", "mode": "shared", "users": ["carol"]}
    protect(here, client_id, [{"name": "alice"}, team])
    here.kc.request("POST", *here.authz(client_id), "scope", body={"name": "GET"})
    for option, value, kind, field in (
        ("uris", ["/shared-a/*", "/shared-b/*"], "resource", "uris"),
        ("scopes", ["GET"], "resource", "scopes"),
        ("type", "urn:other", "resource", "type"),
        ("groups", ["/team"], "policy", "groups"),
        ("users", ["carol", "bob"], "group", "members"),
    ):
        team[option] = value
        changes = protect(here, client_id, [{"name": "alice"}, team])["changes"]
        assert [(one["kind"], one["fields"]) for one in changes] == [(kind, [field])], option
    team["roles"] = ["analyst"]
    changes = protect(here, client_id, [{"name": "alice"}, team])["changes"]
    assert [(one["action"], one["kind"]) for one in changes] == [
        ("create", "policy"),
        ("update", "permission"),
    ]
    team["roles"] = ["analyst", "reviewer"]
    (change,) = protect(here, client_id, [{"name": "alice"}, team])["changes"]
    assert (change["name"], change["fields"]) == ("context:shared-a:roles", ["roles"])
    reviewer = here.kc.request("GET", "roles", "reviewer")
    bobby = (here.kc.user("bobby") or {})["id"]
    assert not allowed(here, client_id, "bobby", "/shared-b/x")
    here.kc.request("POST", "users", bobby, "role-mappings", "realm", body=[reviewer])
    assert allowed(here, client_id, "bobby", "/shared-b/x")
    assert allowed(here, client_id, "bob", "/shared-b/x")
    team["users"] = ["carol"]
    protect(here, client_id, [{"name": "alice"}, team], memberships="exact")
    assert not allowed(here, client_id, "bob", "/shared-b/x")
    protect(here, client_id, [{"name": "alice"}])
    assert not allowed(here, client_id, "carol", "/shared-a/x")


def test_a_user_policy_changes_its_users(here: Realm, client_id: str) -> None:
    team: Json = {"name": "team", "mode": "shared", "users": ["alice"]}
    protect(here, client_id, [team], user_access="policy")
    team["users"] = ["bob", "carol"]
    (change,) = protect(here, client_id, [team], user_access="policy")["changes"]
    assert (change["name"], change["fields"]) == ("context:team:users", ["users"])
    assert [allowed(here, client_id, name, "/team/x") for name in ("alice", "bob")] == [False, True]


def test_a_service_account_gets_in_by_group_and_role(here: Realm, client_id: str) -> None:
    """A user policy would be compared with its client, while administrators are told otherwise."""
    name = f"{client_id}-pipeline"
    accounts: Json = {"service_accounts": True, "service_account_roles": ["analyst"]}
    secret = here.call(keycloak_client, client_id=name, return_secret=True, **accounts)["secret"]
    token = Login(here.options, here.name, name, secret).token(None, None, "x")["access_token"]
    user = f"service-account-{name}"
    member: Json = {"name": "x", "mode": "shared", "users": [user]}
    holder: Json = {"name": "y", "mode": "shared", "roles": ["analyst"]}
    protect(here, client_id, [member, holder])
    told = here.call(
        keycloak_access_info,
        client_id=client_id,
        checks=[{"user": user, "path": path, "expect": "allow"} for path in ("/x/a", "/y/a")],
        credentials=[{"username": user, "token": token}],
    )
    assert len(told["decisions"]) == 4
    options: Json = {"client_id": client_id, "marker": MARKER, "contexts": [member]}
    with pytest.raises(OapipError, match=f"no service account in: {user}"):
        here.call(keycloak_protect, **options, user_access="policy")


def test_settings_are_closed(here: Realm, client_id: str) -> None:
    protect(here, client_id, BOTH)
    settings = export(here, client_id)
    assert settings["policyEnforcementMode"] == "ENFORCING"
    assert settings["decisionStrategy"] == "UNANIMOUS"
    assert settings["allowRemoteResourceManagement"] is True
    assert not any(one["ownerManagedAccess"] for one in settings["resources"])


def test_what_opens_everything_on_older_servers_is_removed(here: Realm, client_id: str) -> None:
    authz = here.authz(client_id)
    kind = f"urn:{client_id}:resources:default"
    default = {"name": "Default Resource", "type": kind, "uris": ["/*"]}
    here.kc.request("POST", *authz, "resource", body=default)
    role = here.kc.request("GET", "roles", f"default-roles-{here.name}")
    everybody = {"name": "everybody", "roles": [{"id": role["id"], "required": True}]}
    here.kc.request("POST", *authz, "policy", "role", body=everybody)
    body = {"name": "Default Permission", "resourceType": kind, "policies": ["everybody"]}
    here.kc.request("POST", *authz, "permission", "resource", body=body)
    protect(here, client_id, BOTH, default_access="keep")
    assert allowed(here, client_id, "carol", "/elsewhere")
    protect(here, client_id, BOTH)
    assert not allowed(here, client_id, "carol", "/elsewhere")
    assert "everybody" in [one["name"] for one in export(here, client_id)["policies"]]


@pytest.mark.parametrize("how", ["created", "switched on", "killed", "killed at the switch"])
def test_a_new_client_lets_nobody_in(
    here: Realm, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Up to 26.4 Keycloak makes a resource for every path and a permission for all users."""
    client_id = f"new-{how.replace(' ', '-')}"
    wanted: Json = {"client_id": client_id, "marker": MARKER}
    if "switch" in how:
        here.call(keycloak_client, **wanted)
    if "killed" in how:  # as SIGKILL does: nothing is done after the write
        with monkeypatch.context() as patch:
            patch.setattr(_keycloak_client_calls, "_close", _die)
            with pytest.raises(KeyboardInterrupt):
                here.call(keycloak_client, **wanted, authorization=True)
        assert here.call(keycloak_client, **wanted)["changed"]
    here.settle(keycloak_client, **wanted, authorization=True)
    new = export(here, client_id)
    assert new["resources"] + new["policies"] == []
    assert not allowed(here, client_id, "carol", "/elsewhere")
    assert not [one for one in (here.kc.client(client_id) or {})["attributes"] if "closing" in one]


def _die(*_args: object) -> None:
    raise KeyboardInterrupt


def test_two_owners_share_a_client(here: Realm, client_id: str) -> None:
    protect(here, client_id, [{"name": "alice"}])
    proof = {"marker": "proof", "contexts": [{"name": "carol"}], "purge": False}
    here.settle(keycloak_protect, client_id=client_id, default_access="keep", **proof)
    assert not protect(here, client_id, [{"name": "alice"}])["changed"]
    here.settle(keycloak_protect, client_id=client_id, marker="proof", state="absent")
    assert allowed(here, client_id, "alice", "/alice/x")
    assert not allowed(here, client_id, "carol", "/carol/x")


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ([{"name": "nobody"}, {"name": "alic"}], "user alic, user nobody"),
        ([{"name": "x", "mode": "shared", "groups": ["/tea"]}], "group /tea"),
        ([{"name": "x", "mode": "shared", "roles": ["analysts"]}], "role analysts"),
        ([{"name": "Alice"}], "upper case"),
        ([{"name": "alice", "uris": ["/alice*"]}], "longer names"),
        ([{"name": "alice"}, {"name": "bob", "uris": ["/alice/*"]}], "both claim"),
    ],
)
def test_wrong_contexts_write_nothing(
    here: Realm, client_id: str, contexts: list[Json], message: str
) -> None:
    before = len(here.writes())
    with pytest.raises(OapipError, match=message):
        here.call(keycloak_protect, client_id=client_id, marker=MARKER, contexts=contexts)
    assert len(here.writes()) == before


def test_check_mode_assumes_parents_but_never_users(here: Realm) -> None:
    options: Json = {"client_id": "to-come", "marker": MARKER}
    with pytest.raises(OapipError, match="keycloak_client"):
        here.call(keycloak_protect, **options, contexts=BOTH)
    team = {"name": "x", "mode": "shared", "groups": ["/to-come-too"]}
    dry = here.call(keycloak_protect, check=True, **options, contexts=[*BOTH, team])
    assert dry["assumed"] == ["client to-come", "group /to-come-too"]
    with pytest.raises(OapipError, match="user nobody"):
        here.call(keycloak_protect, check=True, **options, contexts=[{"name": "nobody"}])
    dry = here.call(keycloak_protect, check=True, **options, contexts=BOTH)
    here.call(keycloak_client, client_id="to-come", marker=MARKER, authorization=True)
    assert here.call(keycloak_protect, **options, contexts=BOTH)["changes"] == dry["changes"]


def test_a_wrong_decision_fails_with_the_policies(here: Realm, client_id: str) -> None:
    protect(here, client_id, BOTH)
    wrong = [{"user": "bob", "path": "/alice/x", "expect": "allow"}]
    with pytest.raises(OapipError, match="bob on /alice/x: deny, not allow") as told:
        here.call(keycloak_access_info, client_id=client_id, checks=wrong)
    (decision,) = told.value.extra["decisions"]
    assert decision["policies"] == ["context:alice:access: DENY", "context:alice:groups: DENY"]
    with pytest.raises(OapipError, match="no user nobody"):
        here.call(
            keycloak_access_info,
            client_id=client_id,
            checks=[{"user": "nobody", "path": "/alice/x", "expect": "deny"}],
        )


def test_a_resource_without_a_permission_is_no_permit(here: Realm, client_id: str) -> None:
    authz = here.authz(client_id)
    here.kc.request("POST", *authz, "resource", body={"name": "bare", "uris": ["/bare/*"]})
    assert not allowed(here, client_id, "alice", "/bare/x")


def test_many_contexts_change_at_once(here: Realm, client_id: str) -> None:
    team: list[Json] = [
        {"name": f"team-{number}", "mode": "shared", "users": ["carol"]} for number in range(30)
    ]
    protect(here, client_id, team)
    viewed = [{**one, "scopes": ["view"]} for one in team]
    changes = protect(here, client_id, viewed)["changes"]
    (scope, *updates) = [(one["kind"], one["fields"]) for one in changes]
    assert scope == ("scope", [])
    assert updates == [("resource", ["scopes"])] * 30
    assert len(export(here, client_id)["resources"]) == 30


def test_of_many_at_once_all_end_well(here: Realm, client_id: str) -> None:
    options: Json = {"client_id": client_id, "marker": MARKER, "contexts": BOTH}
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: here.call(keycloak_protect, **options), range(4)))
    assert any(one["changed"] for one in done)
    assert here.call(keycloak_protect, **options)["changes"] == []
    names = sorted(one["name"] for one in export(here, client_id)["policies"])
    assert len(names) == len(set(names)) == 4


def test_clients_of_two_clusters_leave_each_other_alone(here: Realm, client_id: str) -> None:
    other: Json = {"client_id": f"{client_id}-b", "marker": "another cluster"}
    audience: Json = {"authorization": True, "token_clients": ["cli"]}
    here.call(keycloak_client, **other, **audience, audience=[other["client_id"]])
    here.call(keycloak_protect, **other, contexts=BOTH, user_access="policy")
    here.call(keycloak_protect, **other, contexts=[*BOTH, {"name": "carol"}])
    before = everything(here, other["client_id"])
    ours: Json = {"client_id": client_id, "marker": MARKER}
    here.settle(keycloak_client, **ours, **audience, audience=[client_id])
    protect(here, client_id, BOTH)
    protect(here, client_id, [{"name": "bob"}], memberships="exact")
    here.settle(keycloak_protect, **ours, state="absent")
    here.settle(keycloak_client, **ours, token_clients=["cli"], state="absent")
    assert everything(here, other["client_id"]) == before


def everything(here: Realm, client_id: str) -> list[Any]:
    """Return all that hangs on a client: itself, its protection, its scope, its groups."""
    groups = here.kc.request("GET", "group-by-path", client_id)
    children = here.kc.request("GET", "groups", groups["id"], "children")
    return [
        here.kc.client(client_id),
        export(here, client_id),
        [one for one in here.kc.request("GET", "client-scopes") if client_id in one["name"]],
        children,
        [here.kc.request("GET", "groups", one["id"], "members") for one in children],
        f"{client_id}-audience" in (here.kc.client("cli") or {})["defaultClientScopes"],
    ]
