"""What others made by hand, at the client and below its groups: left alone, or taken over as asked.

What is compared is what Keycloak exports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_protect import OWNER
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import keycloak_client, keycloak_protect
from tests.keycloak_realm import Realm, realm

MARKER = "engine 42"
BOTH = [{"name": "alice"}, {"name": "bob"}]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def here(sandbox: Json) -> Iterator[Realm]:
    with realm(sandbox) as made:
        for name in ("alice", "bob", "carol"):
            made.user(name)
        made.kc.create("groups", body={"name": "team"})
        made.kc.create("roles", body={"name": "analyst"})
        made.token_client("cli")
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


def group(here: Realm, *names: str) -> str | None:
    """Return the id of a group, None where it is gone."""
    found = here.kc.request("GET", "group-by-path", *names, absent=True)
    return found and str(found["id"])


def below(here: Realm, name: str, *above: str) -> str:
    """Make a group as somebody else does, below another."""
    return here.kc.create("groups", str(group(here, *above)), "children", body={"name": name})


# ---------------------------------------------------------------------- groups

LEAVING: list[Json] = [
    {"state": "absent"},
    {"contexts": [{"name": "bob"}]},
    {"contexts": BOTH, "user_access": "policy"},
]


@pytest.mark.parametrize("options", LEAVING, ids=["absent", "purge", "policy"])
def test_groups_of_others_below_a_context_survive(
    here: Realm, client_id: str, options: Json
) -> None:
    ours: Json = {"client_id": client_id, "marker": MARKER}
    here.settle(keycloak_protect, **ours, contexts=BOTH)
    assistants = below(here, "assistants", client_id, "alice")
    carol = (here.kc.user("carol") or {})["id"]
    here.kc.request("PUT", "users", carol, "groups", assistants)
    here.settle(keycloak_protect, **ours, **options)
    assert group(here, client_id, "alice", "assistants") == assistants
    assert here.kc.request("GET", "groups", assistants, "members")
    assert bool(group(here, client_id, "bob")) == ("bob" in str(options) and len(options) == 1)
    here.kc.request("DELETE", "groups", assistants)
    here.settle(keycloak_protect, **ours, state="absent")
    assert group(here, client_id) is None


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something after the first policy is deleted, right before groups are."""
    request = Keycloak.request
    done: list[str] = []

    def faster(self: Keycloak, method: str, *segments: str, **more: Any) -> Any:
        answer = request(self, method, *segments, **more)
        if method == "DELETE" and "policy" in segments and not done:
            done.append(method)
            act()
        return answer

    monkeypatch.setattr(Keycloak, "request", faster)


def test_groups_that_somebody_else_removes_meanwhile_are_gone(
    here: Realm, client_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours: Json = {"client_id": client_id, "marker": MARKER}
    here.call(keycloak_protect, **ours, contexts=BOTH)
    top = str(group(here, client_id))
    meanwhile(monkeypatch, lambda: here.kc.request("DELETE", "groups", top))
    here.call(keycloak_protect, **ours, state="absent")
    assert group(here, client_id) is None


def test_a_group_made_below_ours_at_the_last_moment_survives(
    here: Realm, client_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours: Json = {"client_id": client_id, "marker": MARKER}
    here.call(keycloak_protect, **ours, contexts=BOTH)
    meanwhile(monkeypatch, lambda: below(here, "assistants", client_id, "alice"))
    changes = here.call(keycloak_protect, **ours, state="absent")["changes"]
    assert group(here, client_id, "alice", "assistants")
    assert group(here, client_id, "bob") is None
    gone = {one["name"] for one in changes if one["kind"] == "group"}
    assert gone == {f"/{client_id}/bob"}


# ---------------------------------------------------------------------- authorization settings


def set_up_by_hand(here: Realm, client_id: str) -> None:
    """Make objects of every kind that Keycloak lets an administrator make."""
    authz = here.authz(client_id)

    def make(*where: str, **body: Any) -> None:
        here.kc.request("POST", *authz, *where, body=body)

    team = group(here, "team")
    here.kc.request("PUT", *authz, body={**_SETTINGS, "decisionStrategy": "UNANIMOUS"})
    for name in ("view", "own"):
        make("scope", name=name, displayName=f"To {name}", iconUri="https://example.org/i.png")
    scopes = [{"name": "view"}, {"name": "own"}]
    shown = {"displayName": "By hand", "icon_uri": "https://example.org/r.png"}
    more = {"type": "urn:hand", "attributes": {"a": ["1", "2"]}, "ownerManagedAccess": True}
    make("resource", name="hand", uris=["/hand/*"], scopes=scopes, **shown, **more)
    make("policy", "regex", name="h-regex", targetClaim="sub", pattern=".*", logic="NEGATIVE")
    make("policy", "time", name="h-time", hour="9", hourEnd="17", description="Managed by hand")
    make("policy", "client", name="h-client", clients=["cli"])
    make("policy", "client-scope", name="h-client-scope", clientScopes=[{"id": _scope(here)}])
    make("policy", "role", name="h-role", roles=[{"id": "analyst", "required": True}])
    make("policy", "user", name="h-user", users=["carol"])
    make("policy", "group", name="h-group", groups=[{"id": team, "extendChildren": True}])
    both = {"policies": ["h-role", "h-time"], "decisionStrategy": "CONSENSUS"}
    make("policy", "aggregate", name="h-aggregate", **both)
    uses = {"policies": ["h-aggregate", "h-user"], "decisionStrategy": "AFFIRMATIVE"}
    make("permission", "resource", name="h-access", resources=["hand"], **uses)
    make("permission", "resource", name="h-type", resourceType="urn:hand", policies=["h-regex"])
    make("permission", "scope", name="h-scope", resources=["hand"], scopes=["own"], **uses)
    make("permission", "scope", name="h-scopes", scopes=["view"], policies=["h-client"])


_SETTINGS: Json = {"policyEnforcementMode": "ENFORCING", "allowRemoteResourceManagement": True}


def _scope(here: Realm) -> str:
    listed = here.kc.request("GET", "client-scopes")
    return next(str(one["id"]) for one in listed if one["name"] == "email")


@pytest.mark.parametrize("user_access", ["group", "policy"])
def test_a_set_up_of_others_survives_every_call(
    here: Realm, client_id: str, user_access: str
) -> None:
    ours: Json = {"client_id": client_id, "marker": MARKER}
    set_up_by_hand(here, client_id)
    here.kc.create("groups", body={"name": client_id})
    theirs = below(here, "theirs", client_id)
    before = export(here, client_id)
    assert len(before["policies"]) == 12
    contexts = [{**one, "scopes": ["view", "run"]} for one in BOTH]
    here.settle(keycloak_protect, **ours, contexts=contexts, user_access=user_access)
    mixed = export(here, client_id)
    for part in ("resources", "policies", "scopes"):
        assert [one for one in before[part] if one not in mixed[part]] == [], part
    contexts[0]["scopes"] = ["own", "new"]
    here.settle(keycloak_protect, **ours, contexts=contexts[:1], user_access=user_access)
    here.settle(keycloak_client, **ours, authorization=True, description="ours")
    here.settle(keycloak_protect, client_id=client_id, marker="another", state="absent")
    here.settle(keycloak_protect, **ours, state="absent")
    assert ordered(export(here, client_id)) == ordered(before)
    assert group(here, client_id, "theirs") == theirs


def ordered(settings: Json) -> Json:
    """Return exported settings in an order that does not change."""
    lists = {
        part: sorted(settings[part], key=lambda one: str(one["name"]))
        for part in ("resources", "policies", "scopes")
    }
    return {**settings, **lists}


def test_settings_are_ours_while_there_are_contexts_and_stay_closed(
    here: Realm, client_id: str
) -> None:
    ours: Json = {"client_id": client_id, "marker": MARKER}
    open_ = {"policyEnforcementMode": "PERMISSIVE", "decisionStrategy": "AFFIRMATIVE"}
    here.kc.request("PUT", *here.authz(client_id), body={**_SETTINGS, **open_})
    before = export(here, client_id)
    here.settle(keycloak_protect, **ours, state="absent")
    assert export(here, client_id) == before
    (first, *_rest) = here.settle(keycloak_protect, **ours, contexts=BOTH)["changes"]
    assert first["kind"] == "settings"
    assert first["fields"] == ["decision_strategy", "policy_enforcement"]
    here.settle(keycloak_protect, **ours, state="absent")
    closed = export(here, client_id)
    assert closed["policyEnforcementMode"] == "ENFORCING"
    assert closed["decisionStrategy"] == "UNANIMOUS"


def test_scopes_of_ours_go_with_their_last_use(here: Realm, client_id: str) -> None:
    ours: Json = {"client_id": client_id, "marker": MARKER}
    authz = here.authz(client_id)

    def scopes() -> list[str]:
        return sorted(one["name"] for one in export(here, client_id)["scopes"])

    def settle(*names: str, **more: Any) -> list[tuple[str, str, str]]:
        contexts = [{"name": "alice", "scopes": [*names]}]
        changes = here.settle(keycloak_protect, **ours, contexts=contexts, **more)["changes"]
        return [
            (one["action"], one["kind"], one["name"]) for one in changes if one["kind"] == "scope"
        ]

    here.kc.request("POST", *authz, "scope", body={"name": "theirs"})
    made = [("create", "scope", "a"), ("create", "scope", "b"), ("create", "scope", "c")]
    assert settle("a", "b", "c", "theirs") == made
    uses = {"name": "hand", "uris": ["/hand/*"], "scopes": [{"name": "a"}]}
    here.kc.request("POST", *authz, "resource", body=uses)
    assert settle("a", "b", purge=False) == []
    assert settle("b") == [("delete", "scope", "c")]
    assert scopes() == ["a", "b", "theirs"]
    by_scope = {"name": "hand-b", "scopes": ["b"], "policies": []}
    here.kc.request("POST", *authz, "permission", "scope", body=by_scope)
    here.settle(keycloak_protect, **ours, state="absent")
    assert scopes() == ["a", "b", "theirs"]
    (hand,) = here.kc.request("GET", *authz, "resource", query={"name": "hand"})
    here.kc.request("DELETE", *authz, "resource", hand["_id"])
    here.settle(keycloak_protect, **ours, state="absent")
    assert scopes() == ["b", "theirs"]


# ---------------------------------------------------------------------- taken over


def test_what_others_made_is_taken_over_as_asked(here: Realm, client_id: str) -> None:
    """Objects with our names: whole as if we had made them, with what only others know of kept."""
    authz = here.authz(client_id)
    wanted: Json = {"client_id": client_id, "marker": MARKER, "contexts": BOTH}
    top = here.kc.create("groups", body={"name": client_id, "attributes": {"x": ["1"]}})
    body: Json = {"name": "alice", "attributes": {"x": ["1"], OWNER: ["another"]}}
    alice = here.kc.create("groups", top, "children", body=body)
    carol = (here.kc.user("carol") or {})["id"]
    here.kc.request("PUT", "users", carol, "groups", alice)
    body = {"name": "context:alice", "uris": ["/else/*"], "attributes": {"x": ["1"]}}
    body.update(displayName="Alice's", ownerManagedAccess=True, scopes=[{"name": "view"}])
    here.kc.request("POST", *authz, "resource", body=body)
    policy: Json = {"name": "context:alice:groups", "logic": "NEGATIVE"}
    policy["groups"] = [{"id": group(here, "team"), "extendChildren": True}]
    here.kc.request("POST", *authz, "policy", "group", body=policy)
    access: Json = {"name": "context:alice:access", "resourceType": "urn:x"}
    access["policies"] = [policy["name"]]
    here.kc.request("POST", *authz, "permission", "resource", body=access)
    before, written = export(here, client_id), here.writes()
    with pytest.raises(OapipError, match=r"group /.*/alice is marked as another's") as told:
        here.call(keycloak_protect, **wanted)
    for name in ("resource context:alice", f"policy {policy['name']}", f"on {access['name']}"):
        assert f"{name} is marked as nobody's" in str(told.value)
    assert "adopt" in str(told.value)
    assert export(here, client_id) == before
    assert here.writes() == written
    here.settle(keycloak_protect, **wanted, adopt=True, memberships="exact")
    assert here.call(keycloak_protect, **wanted)["changes"] == []
    resource = next(
        one for one in export(here, client_id)["resources"] if one["name"] == "context:alice"
    )
    assert resource["attributes"]["x"] == ["1"]
    assert resource["displayName"] == "Alice's"
    assert resource["uris"] == ["/alice/*"]
    assert not resource["ownerManagedAccess"]
    members = here.kc.request("GET", "groups", alice, "members")
    assert [one["username"] for one in members] == ["alice"]
    assert here.kc.request("GET", "groups", alice)["attributes"]["x"] == ["1"]
    here.settle(keycloak_protect, client_id=client_id, marker=MARKER, state="absent")
    assert export(here, client_id)["resources"] == []
    assert group(here, client_id) is None


def test_a_policy_of_another_kind_is_never_taken_over(here: Realm, client_id: str) -> None:
    authz = here.authz(client_id)
    body = {"name": "context:alice:groups", "targetClaim": "sub", "pattern": ".*"}
    here.kc.request("POST", *authz, "policy", "regex", body=body)
    before, written = export(here, client_id), here.writes()
    wanted: Json = {"client_id": client_id, "marker": MARKER, "contexts": BOTH}
    reason = "policy context:alice:groups is of type regex, not group"
    for adopt in (False, True):
        with pytest.raises(OapipError, match=reason):
            here.call(keycloak_protect, **wanted, adopt=adopt)
    assert export(here, client_id) == before
    assert here.writes() == written
