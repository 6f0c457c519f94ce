"""The plans of Keycloak's modules: pure, complete, and empty once they are carried out."""

from __future__ import annotations

import typing as t
from copy import deepcopy
from typing import Any

import pytest
import requests
from hypothesis import given, settings

from ansible_collections.eoepca.oapip.plugins.module_utils import _http
from ansible_collections.eoepca.oapip.plugins.module_utils import _keycloak_audience as audience
from ansible_collections.eoepca.oapip.plugins.module_utils import _keycloak_client as client_util
from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _keycloak_client_calls as client_calls,
)
from ansible_collections.eoepca.oapip.plugins.module_utils import _keycloak_links as links
from ansible_collections.eoepca.oapip.plugins.module_utils import _keycloak_protect as protect
from ansible_collections.eoepca.oapip.plugins.module_utils._http import words
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Keycloak, role_for
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_access import (
    matrix,
    normalise,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_audience import Audience
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_contexts import (
    clash,
    contexts_of,
    name_fault,
    uri_fault,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_profile import (
    faults,
    in_words,
    lacking,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.modules import keycloak_client, keycloak_user
from tests.keycloak_strategies import CLIENTS, PROTECTIONS, raw_contexts

CLIENT, MARKER = "engine", "engine 42"
Json = dict[str, Any]


def wish(**options: Any) -> protect.Wish:
    return protect.Wish(CLIENT, MARKER, **options)


def settled(current: protect.State, changes: list[Change]) -> protect.State:
    """Return the state after the changes, as a server that does what it is told has it."""
    after = deepcopy(current)
    for change in changes:
        if change.kind == "settings":
            after.settings = dict(change.after or {})
        elif change.action == "delete":
            del after.of(change.kind)[change.name]
        else:
            objects = after.of(change.kind)
            objects[change.name] = {**objects.get(change.name, {}), **(change.after or {})}
    return after


WISHES = PROTECTIONS.map(lambda options: wish(**options))


@settings(max_examples=300, deadline=None)
@given(first=raw_contexts(), then=raw_contexts(), before=WISHES, now=WISHES)
def test_a_carried_out_plan_leaves_nothing_to_do(
    first: list[Json], then: list[Json], before: protect.Wish, now: protect.Wish
) -> None:
    start = protect.desire(contexts_of(first, CLIENT), before)
    current = settled(protect.State(), protect.plan(protect.State(), start, before))
    desired = protect.desire(contexts_of(then, CLIENT), now)
    after = settled(current, protect.plan(current, desired, now))
    assert protect.plan(after, desired, now) == []


@settings(max_examples=100, deadline=None)
@given(raw=raw_contexts(), how=WISHES)
def test_a_document_reads_back_as_it_was_meant(raw: list[Json], how: protect.Wish) -> None:
    desired = protect.desire(contexts_of(raw, CLIENT), how)
    documents = {
        kind: [protect.body_of(kind, name, one) for name, one in desired.of(kind).items()]
        for kind in ("scope", "resource", "policy", "permission")
    }
    read = protect.state_of(
        {
            "scopes": documents["scope"],
            "resources": documents["resource"],
            "policies": documents["policy"] + documents["permission"],
        }
    )
    assert read.scopes == desired.scopes
    assert read.resources == desired.resources
    assert read.policies == desired.policies
    assert read.permissions == desired.permissions


@settings(max_examples=100, deadline=None)
@given(raw=raw_contexts(), how=WISHES)
def test_absent_removes_all_of_ours_and_nothing_else(raw: list[Json], how: protect.Wish) -> None:
    current = settled(
        protect.State(),
        protect.plan(protect.State(), protect.desire(contexts_of(raw, CLIENT), how), how),
    )
    strange = {
        "type": "x",
        "uris": ["/strange/*"],
        "scopes": [],
        "owner": "",
        "owner_managed": False,
    }
    current.resources["strange"] = strange
    gone = wish(purge=True, default_access="keep")
    after = settled(current, protect.plan(current, protect.State(current.settings), gone))
    assert after.resources == {"strange": strange}
    assert not after.scopes
    assert not after.policies
    assert not after.permissions
    assert not after.groups


def plan_of(raw: list[Json], current: protect.State, **options: Any) -> list[Change]:
    how = wish(**options)
    return protect.plan(current, protect.desire(contexts_of(raw, CLIENT), how), how)


def made(raw: list[Json], **options: Any) -> protect.State:
    return settled(protect.State(), plan_of(raw, protect.State(), **options))


def test_exact_removes_members_and_ensure_keeps_them() -> None:
    current = made([{"name": "alice"}])
    current.groups["/engine/alice"]["members"] = ["alice", "mallory"]
    assert plan_of([{"name": "alice"}], current, memberships="ensure") == []
    assert plan_of([{"name": "alice"}], current, memberships="unmanaged") == []
    (change,) = plan_of([{"name": "alice"}], current, memberships="exact")
    assert (change.kind, change.fields) == ("group", ["members"])
    assert (change.after or {})["members"] == ["alice"]


def test_what_closes_comes_first() -> None:
    current = made([{"name": "alice"}])
    kinds = [(one.action, one.kind) for one in plan_of([{"name": "bob"}], current)]
    assert kinds.index(("delete", "permission")) < kinds.index(("create", "group"))
    assert kinds.index(("delete", "permission")) < kinds.index(("delete", "resource"))
    assert kinds[-1] == ("delete", "group")


def test_default_access_is_closed_only_when_asked() -> None:
    kind = "urn:engine:resources:default"
    current = protect.state_of(
        {
            "policyEnforcementMode": "ENFORCING",
            "decisionStrategy": "UNANIMOUS",
            "allowRemoteResourceManagement": True,
            "resources": [{"name": "Default Resource", "type": kind, "uris": ["/*"]}],
            "policies": [
                {
                    "name": "Default Policy",
                    "type": "js",
                    "config": {"code": "$evaluation.grant();"},
                },
                {
                    "name": "Default Permission",
                    "type": "resource",
                    "config": {"defaultResourceType": kind, "applyPolicies": '["Default Policy"]'},
                },
            ],
        }
    )
    assert [(one.action, one.name) for one in plan_of([], current)] == [
        ("delete", "Default Permission"),
        ("delete", "Default Resource"),
        ("delete", "Default Policy"),
    ]
    assert plan_of([], current, default_access="keep") == []


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("/alice/*", "same URI"),
        ("/ALICE/*", "same URI"),
        ("/{user}/*", "template"),
        ("/ali*", "prefix"),
        ("/*", ""),
        ("/bob/*", ""),
        ("/alice/jobs/*", ""),
    ],
)
def test_foreign_resources_that_clash_are_refused(uri: str, reason: str) -> None:
    assert reason in clash("/alice/*", uri)
    assert bool(clash("/alice/*", uri)) == bool(reason)
    current = protect.State()
    current.resources["strange"] = {
        "type": "",
        "uris": [uri],
        "scopes": [],
        "owner_managed": False,
        "owner": "",
    }
    if not reason:
        assert plan_of([{"name": "alice"}], current)
        return
    with pytest.raises(OapipError, match=reason):
        plan_of([{"name": "alice"}], current)


def test_objects_of_another_owner_are_refused_or_adopted() -> None:
    current = made([{"name": "alice"}])
    for kind in ("group", "resource", "policy", "permission"):
        for one in current.of(kind).values():
            one["owner"] = "another"
    with pytest.raises(OapipError, match="marked as another's"):
        plan_of([{"name": "alice"}], current)
    changes = plan_of([{"name": "alice"}], current, adopt=True)
    assert {tuple(one.fields) for one in changes} == {("owner",)}


def test_another_type_is_refused_with_and_without_adopt() -> None:
    for kind, name, type_ in (
        ("policy", "context:alice:groups", "regex"),
        ("permission", "context:alice:access", "scope"),
    ):
        current = made([{"name": "alice"}])
        current.of(kind)[name].update(type=type_, owner="")
        for adopt in (False, True):
            with pytest.raises(OapipError, match=f"{kind} {name} is of type {type_}, not "):
                plan_of([{"name": "alice"}], current, adopt=adopt)


def test_a_scope_goes_with_its_last_use() -> None:
    alice = {"name": "alice", "scopes": ["a", "b", "c"]}
    current = made([alice])
    assert sorted(current.scopes) == ["a", "b", "c"]
    current.scopes["c"]["owner"] = "another"
    # somebody else's permission has the name of a resource of ours that goes
    by_scope = {"owner": "", "scopes": ["b"], "type": "scope", "policies": [], "resource_type": ""}
    current.permissions["context:alice"] = by_scope
    assert plan_of([alice], current) == []
    gone = [one.name for one in plan_of([], current) if one.kind == "scope"]
    assert gone == ["a"]
    assert not [one for one in plan_of([], current, purge=False) if one.kind == "scope"]


def test_a_group_that_somebody_filled_meanwhile_is_not_told_as_deleted() -> None:
    after = protect.State(groups={"/engine/alice": {"owner": MARKER}})
    for action, name, kept in (
        ("delete", "/engine/alice", True),
        ("delete", "/engine/bob", False),
        ("create", "/engine/alice", False),
    ):
        assert protect.was_kept(Change(action, "group", name), after) is kept


def test_the_folder_of_groups_may_be_anothers() -> None:
    current = protect.State(groups={"/engine": {"owner": "another"}})
    names = [one.name for one in plan_of([{"name": "alice"}], current) if one.kind == "group"]
    assert names == ["/engine/alice"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("Alice", "upper case"),
        ("a b", "blank"),
        ("..", "climbs"),
        ("a/b", "pattern"),
        ("a%2f", "pattern"),
        ("a;b", "pattern"),
        ("a*", "pattern"),
        ("{u}", "pattern"),
        ("ü", "only a-z"),
        ("o'brien", "only a-z"),
        ("ogc-api", "engine itself"),
        ("a" * 201, "characters"),
    ],
)
def test_names_that_bite_are_refused_with_the_reason(name: str, reason: str) -> None:
    assert reason in name_fault(name)
    with pytest.raises(OapipError, match="nothing was written"):
        contexts_of([{"name": name}], CLIENT)


@pytest.mark.parametrize("name", ["alice", "a.b", "user@example.org", "o-brien", "x_1", "a+b"])
def test_good_names_pass(name: str) -> None:
    (context,) = contexts_of([{"name": name}], CLIENT)
    assert context.uris == (f"/{name}/*",)
    assert context.users == (name,)


@pytest.mark.parametrize(
    "uri",
    [
        "x",
        "/",
        "/*",
        "/bob*",
        "/a//b",
        "/a/",
        "/a/../b",
        "/A/*",
        "/a?b",
        "/a/*/b",
        "/{u}/*",
        "/ogc-api/*",
    ],
)
def test_bad_uris_are_refused(uri: str) -> None:
    assert uri_fault(uri)


@pytest.mark.parametrize("uri", ["/a", "/a/*", "/a/b", "/a/b.c/*"])
def test_good_uris_pass(uri: str) -> None:
    assert not uri_fault(uri)


def test_all_faults_are_told_at_once() -> None:
    raw: list[Json] = [{"name": "A"}, {"name": "b"}, {"name": "b"}, {"name": "c", "uris": ["/b/*"]}]
    with pytest.raises(OapipError) as told:
        contexts_of(raw, CLIENT)
    for part in ("context 'A'", "context b: it is listed twice", "contexts b and c both claim"):
        assert part in told.value.text()


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ("/alice/x?y=1", "/alice/x"),
        ("/alice/../bob/x", "/bob/x"),
        ("/alice/%2e%2e/bob", "/bob"),
        ("//alice///x", "/alice/x"),
        ("/bob%2f..%2falice/x", "/alice/x"),
        ("/alice/", "/alice/"),
        ("/../..", "/"),
        ("/a/.", "/a/"),
    ],
)
def test_paths_are_read_as_the_gateway_reads_them(sent: str, asked: str) -> None:
    assert normalise(sent) == asked


def test_the_matrix_denies_everybody_else() -> None:
    checks = matrix(contexts_of([{"name": "alice"}, {"name": "bob"}], CLIENT))
    told = {(one.user, one.path, one.expect) for one in checks}
    assert told == {
        ("alice", "/alice/ogc-api", "allow"),
        ("bob", "/alice/ogc-api", "deny"),
        (None, "/alice/ogc-api", "deny"),
        ("bob", "/bob/ogc-api", "allow"),
        ("alice", "/bob/ogc-api", "deny"),
        (None, "/bob/ogc-api", "deny"),
    }


# ---------------------------------------------------------------------- clients

EMPTY = dict.fromkeys(
    (
        *client_util.FIELDS,
        "attributes",
        "attributes_mode",
        "device_grant",
        "pkce",
        "marker",
        "audience",
        "token_clients",
        "secret",
        "secret_rotation_id",
        "mappers",
        *links.OPTIONS,
    )
)


def client_after(current: client_util.Settled, changes: list[Change]) -> client_util.Settled:
    """Return the state after the changes, as Keycloak keeps it."""
    after = deepcopy(current)
    after.audience = after.audience or Audience()
    for change in changes:
        if change.kind == "client":
            given = {k: v for k, v in (change.after or {}).items() if k != "secret"}
            have = after.client or client_util.normalise({})
            kept = {
                k: v
                for k, v in have["attributes"].items()
                if k not in ((change.before or {}).get("attributes") or {})
            }
            attributes = {**kept, **(given.get("attributes") or {})}
            attributes = {k: v for k, v in attributes.items() if v}
            shown = (change.before or {}).get("mappers") or {}
            mappers = {k: v for k, v in have["mappers"].items() if k not in shown}
            for name, one in (given.get("mappers") or {}).items():
                old = have["mappers"].get(name, {"config": {}})
                mappers[name] = {**one, "config": {**old["config"], **one["config"]}}
            after.client = {**have, **given, "attributes": attributes, "mappers": mappers}
            after.secret = change.payload or after.secret or "made by the server"
        elif change.kind == "client_scope":
            gone = change.action == "delete"
            after.audience.scope = None if gone else dict(change.after or {})
        else:
            client, name = change.payload
            audience = change.kind == links.DEFAULT and name == f"{CLIENT}-audience"
            names, one = (
                (after.audience.carriers, client)
                if audience
                else (after.links.setdefault(change.kind, set()), name)
            )
            (names.discard if change.action == "delete" else names.add)(one)
    return after


@settings(max_examples=300, deadline=None)
@given(first=CLIENTS, then=CLIENTS)
def test_a_settled_client_is_left_alone(first: Json, then: Json) -> None:
    state = client_util.Settled()
    for options in (first, then):
        params = {**EMPTY, "client_id": CLIENT, "marker": MARKER, **options}
        desired = client_util.desire(params)
        changes = client_util.plan(CLIENT, state, desired)
        told = client_util.planned(state.client, changes)
        fields = [one.as_dict() for one in changes]
        assert [one.as_dict() for one in client_util.shown(changes)] == fields
        state = client_after(state, changes)
        assert told == state.client
        assert client_util.plan(CLIENT, state, desired) == []


def test_a_rotation_makes_one_new_secret() -> None:
    params = {**EMPTY, "client_id": CLIENT, "secret_rotation_id": "r2"}
    desired = client_util.desire(params)
    for kept in ({}, {"oapip.secret.rotation": "r1"}):
        current = client_util.Settled(client_util.normalise({"attributes": kept}), "old")
        (change,) = client_util.plan(CLIENT, current, desired)
        assert change.fields == ["attributes.oapip.secret.rotation", "secret"]
    kept = {"oapip.secret.rotation": "r2"}
    current = client_util.Settled(client_util.normalise({"attributes": kept}), "old")
    assert client_util.plan(CLIENT, current, desired) == []


def test_exact_attributes_leave_the_servers_own() -> None:
    own = {"client.secret.creation.time": "1", "realm_client": "false", "oapip.owner": MARKER}
    raw = {"attributes": {**own, "a": "1", "b": "2"}}
    current = client_util.Settled(client_util.normalise(raw))
    options = {"attributes": {"a": "1"}, "attributes_mode": "exact", "marker": MARKER}
    desired = client_util.desire({**EMPTY, "client_id": CLIENT, **options})
    (change,) = client_util.plan(CLIENT, current, desired)
    assert change.fields == ["attributes.b"]


def test_a_scope_changes_its_side_in_two_steps() -> None:
    current = {links.DEFAULT: {"email"}, links.OPTIONAL: {"phone"}}
    changes = links.plan(CLIENT, current, {links.DEFAULT: {"email", "phone"}}, ())
    steps = [(one.action, one.kind, one.payload[1]) for one in changes]
    assert steps == [("delete", links.OPTIONAL, "phone"), ("create", links.DEFAULT, "phone")]


def test_a_scope_on_both_sides_is_refused() -> None:
    options = {"default_scopes": ["email"], "optional_scopes": ["email"]}
    with pytest.raises(OapipError, match="at once"):
        client_util.desire({**EMPTY, "client_id": CLIENT, **options})


def test_turning_authorization_off_is_refused() -> None:
    current = client_util.Settled(client_util.normalise({"authorizationServicesEnabled": True}))
    off = {**EMPTY, "client_id": CLIENT, "authorization": False}
    with pytest.raises(OapipError, match="destroys"):
        client_util.plan(CLIENT, current, client_util.desire(off), force=True)
    for more in ({}, {"public": True}, {"service_accounts": False}):
        desired = client_util.desire({**off, **more})
        assert client_util.plan(CLIENT, current, desired, destroy=True)


@pytest.mark.parametrize("wrong", [{"public": True}, {"service_accounts": False}])
@pytest.mark.parametrize("live", [True, False])
def test_authorization_keeps_what_it_needs(wrong: Json, live: bool) -> None:
    current = client_util.Settled(client_util.normalise({"authorizationServicesEnabled": live}))
    given = {**EMPTY, "client_id": CLIENT, **({} if live else {"authorization": True}), **wrong}
    with pytest.raises(OapipError, match="needs a confidential client with a service account"):
        client_util.plan(CLIENT, current, client_util.desire(given), force=True, destroy=True)


@pytest.mark.parametrize("current", [None, client_util.normalise({})])
def test_roles_without_a_service_account_are_refused(current: Json | None) -> None:
    options = {**EMPTY, "client_id": CLIENT, "service_account_roles": ["reader"]}
    with pytest.raises(OapipError, match="needs a service account"):
        client_util.plan(CLIENT, client_util.Settled(current), client_util.desire(options))
    desired = client_util.desire({**options, "service_accounts": True})
    assert client_util.plan(CLIENT, client_util.Settled(current), desired)


def test_a_masked_secret_is_unknown() -> None:
    current = client_util.Settled(client_util.normalise({}), secret="**********")
    desired = client_util.Settled({}, secret="mine", audience=None)
    assert client_util.plan(CLIENT, current, desired) == []


def test_a_masked_secret_is_never_written_back() -> None:
    """Keycloak 26.8 shows it so to who may view clients, but not manage them."""
    sent: list[Json] = []

    class Server:
        ctx = Context()

        def request(self, method: str, *_path: str, body: Json | None = None, **_more: Any) -> Json:
            sent.append(body or {})
            return {"id": "1", "secret": "**********", "attributes": {}}

    (change,) = client_util.plan(
        CLIENT,
        client_util.Settled(client_util.normalise({}), secret="**********"),
        client_util.desire({**EMPTY, "client_id": CLIENT, "name": "x"}),
    )
    seen = client_calls.Seen(client_util.Settled())
    seen.ids.clients[CLIENT] = "1"
    client_calls.apply(t.cast("Keycloak", Server()), CLIENT, [change], seen)
    assert [one.get("name") for one in sent] == [None, "x"]
    assert "secret" not in sent[1]


def test_who_does_not_see_a_secret_is_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    current = client_util.Settled(client_util.normalise({}), secret="**********")
    monkeypatch.setattr(keycloak_client, "observe", lambda *_args: client_calls.Seen(current))
    warned: list[str] = []
    params = {**EMPTY, "client_id": CLIENT, "state": "present", "secret": "mine", "force": False}
    params.update(destroy_authorization=False, return_secret=False)
    params.update(server_url="https://localhost:9", realm="r")
    result = keycloak_client.run(params, Context(warn=warned.append))
    assert result["changes"] == []
    (warning,) = warned
    assert f"secret of client {CLIENT} is the given one is unknown" in warning


def test_values_that_look_secret_are_hidden_and_their_change_is_not() -> None:
    hidden = {"client.secret.rotated": "a", "jwt.credential.certificate": "b", "x.Password": "c"}
    open_ = {"client.secret.creation.time": "1", client_util.ROTATION: "r1", "y": "z"}
    config = {"client.private.key": "d", "claim": "e"}
    mappers = {"the secret one": {"type": "x", "config": config}}
    state = {"attributes": {**hidden, **open_}, "mappers": mappers, "secret": "<generated>"}
    assert client_util.redacted(state) == {
        "attributes": {**dict.fromkeys(hidden, "<secret>"), **open_},
        "mappers": {
            "the secret one": {
                "type": "x",
                "config": {"client.private.key": "<secret>", "claim": "e"},
            }
        },
        "secret": "<generated>",
    }
    after = {"attributes": {**hidden, "x.Password": "new"}}
    change = Change("update", "client", CLIENT, {"attributes": hidden}, after)
    (one,) = client_util.shown([change])
    assert one.fields == change.fields == ["attributes.x.Password"]
    assert (one.after or {})["attributes"]["x.Password"] == "<new secret>"


@pytest.mark.parametrize(
    ("owner", "audiences", "strange", "marker", "wanted", "refused"),
    [
        (MARKER, ["x"], {"y"}, MARKER, ["engine"], False),
        (MARKER, ["x"], set(), MARKER, None, False),
        ("", [], set(), MARKER, ["engine"], False),
        ("", ["engine"], set(), MARKER, ["engine", "x"], False),
        ("", ["engine"], set(), "", ["engine", "x"], False),
        ("", ["x"], set(), MARKER, ["engine"], True),
        ("", ["engine"], {"y"}, MARKER, ["engine"], True),
        ("", [], set(), MARKER, None, True),
        ("", [], set(), "", None, True),
        ("another", ["engine"], set(), MARKER, ["engine"], True),
        ("another", ["engine"], set(), "", ["engine"], True),
    ],
)
def test_a_scope_that_is_not_ours_is_left_alone(
    owner: str,
    audiences: list[str],
    strange: set[str],
    marker: str,
    wanted: list[str] | None,
    refused: bool,
) -> None:
    scope: Json = {"clients": audiences, "owner": owner, "token_clients": []}
    current = Audience(scope, {CLIENT}, strange)
    desired = Audience(None if wanted is None else {"clients": wanted, "owner": marker})
    if refused:
        with pytest.raises(OapipError, match=f"marked as {owner or 'nobody'}'s"):
            audience.plan(CLIENT, current, desired, marker)
    else:
        audience.plan(CLIENT, current, desired, marker)
    changes = audience.plan(CLIENT, current, desired, marker, force=True)
    for one in changes:
        if one.action == "update":  # whoever takes over without a marker does not wipe it out
            assert (one.after or {})["owner"] == (marker or owner)
    absent = client_util.plan_absent(CLIENT, client_util.Settled(audience=current), marker)
    assert bool(absent) == (owner == marker == MARKER)


@pytest.mark.parametrize(
    ("status", "kind", "body", "decision"),
    [
        (200, "application/json", '{"result": true}', True),
        (200, "application/json", '{"result": false}', False),
        (403, "application/json", '{"error": "access_denied"}', False),
        (400, "application/json", '{"error": "invalid_resource"}', False),
        (400, "application/json", '{"error": "invalid_scope"}', False),
        (400, "application/json", '{"error": "invalid_request"}', None),
        (400, "application/json", '{"error": "invalid_grant"}', None),
        (401, "application/json", '{"error": "invalid_grant"}', None),
        (403, "application/json", '{"error": "HTTP 403 Forbidden"}', None),
        (403, "application/json", '["access_denied"]', None),
        (403, "text/html", "<h1>access_denied</h1>", None),
    ],
)
def test_only_a_decision_is_read_as_one(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: str, body: str, decision: bool | None
) -> None:
    """What a firewall says, or Keycloak about the request itself, proves nothing."""
    answer = requests.Response()
    answer.status_code, answer._content, answer.url = status, body.encode(), "https://k/x"
    answer.headers["Content-Type"] = kind
    monkeypatch.setattr(_http, "send", lambda *_args, **_more: answer)
    kc = Keycloak({"server_url": "https://k", "realm": "r"})
    if decision is None:
        with pytest.raises(OapipError, match="asking for the decision"):
            kc.uma_decision(CLIENT, "token", "resource")
    else:
        assert kc.uma_decision(CLIENT, "token", "resource")[0] is decision


def test_secrets_are_not_shown() -> None:
    desired = client_util.Settled({}, secret="hidden-one", audience=None)
    changes = client_util.plan(CLIENT, client_util.Settled(), desired)
    changes += client_util.plan(
        CLIENT, client_util.Settled(client_util.normalise({}), "hidden-two"), desired
    )
    assert "hidden" not in repr([changes, desired])
    assert len(changes) == 2


def test_a_user_is_compared_where_asked() -> None:
    options = ["email", "first_name", "last_name", "enabled", "password", "attributes"]
    params: Json = dict.fromkeys(options)
    params.update(state="present", username="Alice", update_password="on_create", first_name="A")
    current = {"email": "a@x", "first_name": "B", "last_name": "C", "enabled": True}
    (change,) = keycloak_user.plan(current, params)
    assert (change.name, change.fields) == ("alice", ["first_name"])
    assert keycloak_user.plan({**current, "first_name": "A"}, params) == []


PROFILE: Json = {
    "attributes": [
        {"name": name, "permissions": {"edit": edit}, "required": required, **more}
        for name, edit, required, more in (
            ("username", ["admin"], None, {"validations": {"length": {"min": 3, "max": 5}}}),
            ("email", ["admin", "user"], {"roles": ["user"]}, {}),
            ("always", ["admin"], {}, {}),
            ("own", ["user"], {}, {}),
            ("scoped", ["admin", "user"], {"roles": ["admin", "user"], "scopes": ["s"]}, {}),
        )
    ]
}


def test_a_profile_asks_each_role_for_its_own() -> None:
    user: Json = {"username": "alice", "attributes": {"always": [""]}}
    assert lacking(PROFILE, user, "admin") == ["always"]
    assert lacking(PROFILE, user, "user") == ["email", "own"]
    assert faults(PROFILE, user, ["always"]) == ["always is required"]
    user = {"username": "alice!", "attributes": {"always": ["x"], "own": ["y"], "new": ["z"]}}
    assert faults(PROFILE, user, ["always", "own", "new"]) == [
        "new is not in the profile, and would be dropped without a word",
        "own cannot be set by administrators",
        "username has more than 5 characters",
    ]
    assert len(faults({**PROFILE, "unmanagedAttributePolicy": "ENABLED"}, user, ["new"])) == 1
    assert faults({}, user, ["new"]) == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            {"errorMessage": "error-invalid-length", "field": "username", "params": ["u", 3, 255]},
            "username has not 3 to 255 characters",
        ),
        (
            {
                "errors": [
                    {"errorMessage": "error-invalid-email", "field": "email", "params": ["e", "x"]},
                    {"errorMessage": "error-of-tomorrow", "field": "nick", "params": ["nick"]},
                ]
            },
            "email is no email address; nick: error-of-tomorrow",
        ),
        ({"errorMessage": "User exists with same email"}, "User exists with same email"),
    ],
)
def test_refusals_of_the_profile_are_put_into_words(body: Json, told: str) -> None:
    assert in_words(words(body)) == told


def test_the_missing_role_is_named() -> None:
    assert role_for("GET", ("users",)) == "view-users"
    assert role_for("PUT", ("clients", "1")) == "manage-clients"
    assert role_for("POST", ("clients", "1", "authz", "x")) == "manage-authorization"


@pytest.mark.parametrize(
    ("marker", "owner", "gone"), [("me", "me", 1), ("me", "", 0), (None, "", 0)]
)
def test_an_audience_scope_that_nobody_marked_is_not_removed_unless_forced(
    marker: str | None, owner: str, gone: int
) -> None:
    scope = {"clients": [CLIENT], "owner": owner}
    seen = client_util.Settled(audience=Audience(scope))
    assert len(client_util.plan_absent(CLIENT, seen, marker)) == gone
    assert len(client_util.plan_absent(CLIENT, seen, marker, force=True)) == 1
