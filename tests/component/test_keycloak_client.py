"""keycloak_client on the real Keycloak."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any

import jwt
import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _keycloak_client
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import keycloak_client
from tests.keycloak_realm import Realm, realm

MARKER = "engine 42"
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def here(sandbox: dict[str, Any]) -> Iterator[Realm]:
    with realm(sandbox) as made:
        made.token_client("cli")
        made.user("alice", "alice-password")
        yield made


def options(client_id: str, **more: Any) -> dict[str, Any]:
    return {"client_id": client_id, "marker": MARKER, **more}


def test_the_whole_life_of_a_client(here: Realm) -> None:
    wanted = options(
        "life",
        root_url="https://zoo.example.org",
        redirect_uris=["https://zoo.example.org/*"],
        authorization=True,
        audience=["life"],
        token_clients=["cli"],
    )
    real = here.settle(keycloak_client, **wanted)
    kinds = [(one["action"], one["kind"]) for one in real["changes"]]
    assert kinds[:2] == [("create", "client"), ("create", "client_scope")]
    claims = jwt.decode(
        here.kc.user_token("cli", "alice", "alice-password"), options={"verify_signature": False}
    )
    assert "life" in claims["aud"]

    gone = here.settle(
        keycloak_client,
        client_id="life",
        marker=MARKER,
        token_clients=["cli"],
        state="absent",
    )
    assert {one["action"] for one in gone["changes"]} == {"delete"}
    assert here.kc.client("life") is None
    assert "life-audience" not in here.kc.client("cli")["defaultClientScopes"]  # type: ignore[index]


ALONE: list[tuple[dict[str, Any], Any, Any, set[str]]] = [
    ({"name": "Engine"}, {"name": ""}, {"name": "Engine"}, set()),
    ({"description": "An engine"}, {"description": ""}, {"description": "An engine"}, set()),
    (
        {"secret": "a-secret-of-mine"},
        {"secret": "<secret>"},
        {"secret": "<new secret>"},
        {"attributes"},  # Keycloak notes the time of a new secret
    ),
    (
        {"root_url": "https://b.example.org"},
        {"root_url": ""},
        {"root_url": "https://b.example.org"},
        set(),
    ),
    (
        {"redirect_uris": ["https://b.example.org/*", "https://a.example.org/*"]},
        {"redirect_uris": []},
        {"redirect_uris": ["https://a.example.org/*", "https://b.example.org/*"]},
        set(),
    ),
    (
        {"web_origins": ["https://b.example.org"]},
        {"web_origins": []},
        {"web_origins": ["https://b.example.org"]},
        set(),
    ),
    ({"enabled": False}, {"enabled": True}, {"enabled": False}, set()),
    ({"standard_flow": False}, {"standard_flow": True}, {"standard_flow": False}, set()),
    ({"implicit_flow": True}, {"implicit_flow": False}, {"implicit_flow": True}, set()),
    (
        {"direct_access_grants": True},
        {"direct_access_grants": False},
        {"direct_access_grants": True},
        set(),
    ),
    ({"public": True}, {"public": False}, {"public": True}, set()),
    ({"service_accounts": True}, {"service_accounts": False}, {"service_accounts": True}, set()),
    (
        {"authorization": True},
        {"authorization": False, "service_accounts": False},
        {"authorization": True, "service_accounts": True},  # which it implies
        set(),
    ),
    (
        {"device_grant": True},
        {"attributes": {}},
        {"attributes": {"oauth2.device.authorization.grant.enabled": "true"}},
        set(),
    ),
    (
        {"pkce": "S256"},
        {"attributes": {}},
        {"attributes": {"pkce.code.challenge.method": "S256"}},
        set(),
    ),
    ({"attributes": {"x.y": 1}}, {"attributes": {}}, {"attributes": {"x.y": "1"}}, set()),
    (
        {"attributes": {"post.logout.redirect.uris": ["https://a/*", "https://b/*"]}},
        {"attributes": {}},
        {"attributes": {"post.logout.redirect.uris": "https://a/*##https://b/*"}},
        set(),
    ),
    (
        {"attributes": {"kept": "1"}, "attributes_mode": "exact"},
        {"attributes": {"stray": "1"}},
        {"attributes": {}},
        set(),
    ),
    (
        {"marker": MARKER},
        {"attributes": {}},
        {"attributes": {"oapip.owner": MARKER}},
        set(),
    ),
    (
        {
            "mappers": [
                {
                    "name": "full",
                    "type": "oidc-full-name-mapper",
                    "config": {"id.token.claim": True},
                }
            ]
        },
        {"mappers": {}},
        {
            "mappers": {
                "full": {"type": "oidc-full-name-mapper", "config": {"id.token.claim": "true"}}
            }
        },
        set(),
    ),
]


@pytest.mark.parametrize(("given", "before", "after", "more"), ALONE)
def test_each_option_changes_itself_alone(
    here: Realm, given: dict[str, Any], before: Any, after: Any, more: set[str]
) -> None:
    """The plan and the diff show just that, and nothing else of the client is another."""
    client_id = f"each-{next(NUMBERS)}"
    body = {"clientId": client_id, "publicClient": False, "webOrigins": [], "redirectUris": []}
    body.update(directAccessGrantsEnabled=False, attributes={"kept": "1", "stray": "1"})
    here.kc.create("clients", body=body)
    old = here.kc.client(client_id) or {}
    real = here.settle(keycloak_client, client_id=client_id, **given)
    (change,), (diff,) = real["changes"], real["diff"]
    assert change["kind"] == "client"
    unnamed = ("public",) if given == {"authorization": True} else ()
    shown = [
        {k: v for k, v in diff[side].items() if k not in unnamed} for side in ("before", "after")
    ]
    named = given.get("attributes") if "attributes_mode" in given else None
    if named:  # what is kept is shown beside it
        shown = [
            {"attributes": {k: v for k, v in one["attributes"].items() if k not in named}}
            for one in shown
        ]
    assert shown == [before, after]
    new = here.kc.client(client_id) or {}
    fields = {_keycloak_client.FIELDS.get(one, one) for one in (*after, *before)}
    fields |= {"protocolMappers" if one == "mappers" else one for one in fields} | more
    if given == {"public": True}:
        fields |= {"secret", "attributes"}
    if "service_accounts" in after:
        fields |= {"defaultClientScopes"}  # Keycloak adds the one of service accounts
    assert {key for key in {*old, *new} if old.get(key) != new.get(key)} <= fields
    if "attributes" in fields and not more and given != {"public": True}:
        attributes = {**old["attributes"], **after["attributes"]}
        gone = set(before["attributes"]) - set(after["attributes"])
        assert new["attributes"] == {k: v for k, v in attributes.items() if k not in gone}
    assert "a-secret-of-mine" not in repr(real)


def scopes_of(here: Realm, client_id: str) -> tuple[set[str], set[str]]:
    client = here.kc.client(client_id) or {}
    return set(client["defaultClientScopes"]), set(client["optionalClientScopes"])


def test_scopes_are_exact_sets_and_the_audience_stays(here: Realm) -> None:
    wanted = options("scoped", audience=["scoped"], service_accounts=True)
    here.settle(keycloak_client, **wanted, default_scopes=["basic", "email"], optional_scopes=[])
    assert scopes_of(here, "scoped") == (
        {"basic", "email", "scoped-audience", "service_account"},
        set(),
    )
    real = here.settle(
        keycloak_client, **wanted, default_scopes=["basic"], optional_scopes=["email", "phone"]
    )
    kinds = [(one["action"], one["kind"], one["name"]) for one in real["changes"]]
    assert kinds == [
        ("delete", "default_client_scope", "scoped email"),
        ("create", "optional_client_scope", "scoped email"),
        ("create", "optional_client_scope", "scoped phone"),
    ]
    before = len(here.writes())
    with pytest.raises(OapipError, match=r"no client scope emial; it has .*email"):
        here.call(keycloak_client, **options("unscoped", default_scopes=["emial"]))
    assert len(here.writes()) == before


def test_mappers_are_settled_by_name(here: Realm) -> None:
    claim = {"claim.name": "project", "claim.value": "floods", "access.token.claim": True}
    mapper = {"name": "project", "type": "oidc-hardcoded-claim-mapper", "config": claim}
    here.settle(keycloak_client, **options("mapped", direct_access_grants=True, public=True))
    here.settle(keycloak_client, **options("mapped", mappers=[mapper]))
    token = here.kc.user_token("mapped", "alice", "alice-password")
    assert jwt.decode(token, options={"verify_signature": False})["project"] == "floods"
    mapper["config"] = {"claim.value": "fires"}
    (change,) = here.settle(keycloak_client, **options("mapped", mappers=[mapper]))["changes"]
    assert change["fields"] == ["mappers.project.config.claim.value"]
    token = here.kc.user_token("mapped", "alice", "alice-password")
    assert jwt.decode(token, options={"verify_signature": False})["project"] == "fires"
    gone = {"name": "project", "state": "absent"}
    here.settle(keycloak_client, **options("mapped", mappers=[gone]))
    assert not (here.kc.client("mapped") or {}).get("protocolMappers")


def test_a_service_account_gets_its_roles(here: Realm) -> None:
    here.kc.request("POST", "roles", body={"name": "reader"})
    roles = ["reader", "realm-management/view-users"]
    wanted = options("robot", service_accounts=True)
    real = here.settle(keycloak_client, **wanted, service_account_roles=roles)
    assert [one["kind"] for one in real["changes"]][1:] == ["service_account_role"] * 2
    before = len(here.writes())
    with pytest.raises(OapipError, match="no role realm-management/nothing, writer"):
        here.call(
            keycloak_client,
            **wanted,
            service_account_roles=["reader", "writer", "realm-management/nothing"],
        )
    assert len(here.writes()) == before


def test_a_secret_is_rotated_once(here: Realm) -> None:
    first = here.call(keycloak_client, **options("turned", return_secret=True))["secret"]
    wanted = options("turned", secret_rotation_id="2026-11")
    (change,) = here.settle(keycloak_client, **wanted)["changes"]
    assert change["fields"] == ["attributes.oapip.secret.rotation", "secret"]
    second = here.kc.client_secret("turned")
    assert second not in (None, first)
    here.settle(keycloak_client, **wanted, name="Turned")
    assert here.kc.client_secret("turned") == second


def test_authorization_data_and_foreign_settings_survive(here: Realm) -> None:
    here.call(keycloak_client, **options("rich", authorization=True))
    authz = here.authz("rich")
    uuid = authz[1]
    here.kc.request("POST", *authz, "resource", body={"name": "hand-made", "uris": ["/x"]})
    mapper = {"name": "m", "protocol": "openid-connect", "protocolMapper": "oidc-full-name-mapper"}
    here.kc.create("clients", uuid, "protocol-mappers", "models", body=mapper)
    before = here.kc.request("GET", *authz, "settings")
    mappers = here.kc.client("rich")["protocolMappers"]  # type: ignore[index]
    here.settle(keycloak_client, **options("rich", name="Rich", redirect_uris=["https://r/*"]))
    assert here.kc.request("GET", *authz, "settings") == before
    assert "m" in [one["name"] for one in mappers]
    left = here.kc.client("rich")["protocolMappers"]  # type: ignore[index]
    assert sorted(left, key=itemgetter("name")) == sorted(mappers, key=itemgetter("name"))
    with pytest.raises(OapipError, match="destroys its resources"):
        here.call(keycloak_client, **options("rich", authorization=False, force=True))


def test_secrets_are_kept_given_and_returned_only_on_request(here: Realm) -> None:
    dry = here.call(keycloak_client, check=True, **options("hush", return_secret=True))
    assert dry["secret"] == "<generated>"
    made = here.call(keycloak_client, **options("hush", return_secret=True))
    again = here.call(keycloak_client, **options("hush", return_secret=True))
    assert made["secret"] == again["secret"] == here.kc.client_secret("hush")
    assert "secret" not in here.call(keycloak_client, **options("hush"))
    real = here.settle(keycloak_client, **options("hush", secret="one-of-ours", return_secret=True))
    assert real["secret"] == "one-of-ours"
    assert "one-of-ours" not in repr(real["diff"])


def test_the_audience_follows_the_options(here: Realm) -> None:
    here.settle(keycloak_client, **options("heard", audience=["heard"]))
    real = here.settle(keycloak_client, **options("heard", audience=["heard", "cli"]))
    assert [(one["kind"], one["fields"]) for one in real["changes"]] == [
        ("client_scope", ["clients"])
    ]
    real = here.settle(keycloak_client, **options("heard", audience=["cli"]))
    assert real["changed"]
    real = here.settle(keycloak_client, **options("heard", audience=[]))
    assert {one["action"] for one in real["changes"]} == {"delete"}


def test_what_is_not_ours_is_refused_before_any_write(here: Realm) -> None:
    here.call(keycloak_client, **options("ours"))
    before = len(here.writes())
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"client_id": "ours", "marker": "another"}, "belongs to another installation"),
        ({"client_id": "ours", "marker": "another", "state": "absent"}, "not marked as ours"),
        ({"client_id": "cli", "state": "absent"}, "not marked as ours"),
        (options("ours", audience=["ours"], token_clients=["nowhere"]), "client nowhere"),
    )
    for wrong, message in cases:
        with pytest.raises(OapipError, match=message):
            here.call(keycloak_client, **wrong)
    assert len(here.writes()) == before
    dry = here.call(
        keycloak_client, check=True, **options("ours", audience=["ours"], token_clients=["nowhere"])
    )
    assert dry["assumed"] == ["client nowhere"]


def test_of_many_at_once_all_end_well(here: Realm) -> None:
    wanted = options(
        "crowd",
        authorization=True,
        audience=["crowd"],
        token_clients=["cli"],
        mappers=[{"name": "full", "type": "oidc-full-name-mapper"}],
    )
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: here.call(keycloak_client, **wanted), range(4)))
    assert any(one["changed"] for one in done)
    assert here.call(keycloak_client, **wanted)["changes"] == []
    scopes = [one["name"] for one in here.kc.request("GET", "client-scopes")]
    assert scopes.count("crowd-audience") == 1


# ---------------------------------------------------------------------- the audience scope


def scope_of(here: Realm, client_id: str) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = here.kc.request("GET", "client-scopes")
    return next((one for one in found if one["name"] == f"{client_id}-audience"), None)


def hand_made(here: Realm, client_id: str, owner: str = "") -> str:
    """Make an audience scope by hand, with an audience that we would not put there."""
    mapper = {
        "name": "theirs",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {"included.client.audience": "cli", "access.token.claim": "true"},
    }
    body = {
        "name": f"{client_id}-audience",
        "protocol": "openid-connect",
        "attributes": {"oapip.owner": owner},
        "protocolMappers": [mapper],
    }
    return here.kc.create("client-scopes", body=body)


@pytest.mark.parametrize("owner", ["", "another"])
def test_the_scope_of_others_is_not_taken_over(here: Realm, owner: str) -> None:
    name = f"scope-{owner or 'nobody'}"
    hand_made(here, name, owner)
    theirs = scope_of(here, name)
    absent: dict[str, Any] = {"client_id": name, "state": "absent"}
    here.settle(keycloak_client, **absent)  # there is no client, and the scope is not ours
    here.settle(keycloak_client, **absent, marker=MARKER)
    here.settle(keycloak_client, **options(name))
    before = len(here.writes())
    for audience in ([name], []):
        with pytest.raises(OapipError, match=f"client scope {name}-audience .*(nobody|another)"):
            here.call(keycloak_client, **options(name, audience=audience))
    assert len(here.writes()) == before
    here.settle(keycloak_client, **absent, marker=MARKER)
    assert scope_of(here, name) == theirs
    here.settle(keycloak_client, **options(name, audience=[name], force=True))
    ours = scope_of(here, name) or {}
    assert ours["attributes"]["oapip.owner"] == MARKER
    assert [one["name"] for one in ours["protocolMappers"]] == [name]
    here.settle(keycloak_client, **absent, marker=MARKER)
    assert scope_of(here, name) is None


def test_a_scope_without_a_marker_goes_only_by_force(here: Realm) -> None:
    here.settle(keycloak_client, client_id="plain", audience=["plain"])
    here.settle(keycloak_client, client_id="plain", audience=["plain", "cli"])
    with pytest.raises(OapipError, match=r"client scope plain-audience .*nobody"):
        here.call(keycloak_client, client_id="plain", audience=[])
    here.settle(keycloak_client, client_id="plain", audience=[], force=True)
    assert scope_of(here, "plain") is None


def test_a_client_that_users_no_longer_get_tokens_from_is_let_go(here: Realm) -> None:
    for name in ("web", "app", "hand"):
        here.token_client(name)
    common = options("left", audience=["left"])
    here.settle(keycloak_client, **common, token_clients=["web", "app"])
    by_hand = (scope_of(here, "left") or {})["id"]
    hand = (here.kc.client("hand") or {})["id"]
    here.kc.request("PUT", "clients", hand, "default-client-scopes", by_hand)
    assert not here.settle(keycloak_client, **common)["changed"]  # not given: left alone
    real = here.settle(keycloak_client, **common, token_clients=["app"])
    assert [(one["action"], one["kind"], one["fields"]) for one in real["changes"]] == [
        ("delete", "default_client_scope", []),
        ("update", "client_scope", ["token_clients"]),
    ]
    carriers = [
        one for one in ("left", "web", "app", "hand") if "left-audience" in scopes_of(here, one)[0]
    ]
    assert carriers == ["left", "app", "hand"]
    real = here.settle(keycloak_client, client_id="left", marker=MARKER, state="absent")
    names = [one["name"] for one in real["changes"] if one["kind"] == "default_client_scope"]
    assert names == ["app left-audience", "left left-audience"]
    assert "left-audience" not in scopes_of(here, "hand")[0]


# ---------------------------------------------------------------------- what is destroyed


def test_what_authorization_needs_is_not_taken_from_it(here: Realm) -> None:
    here.call(keycloak_client, **options("needs", authorization=True))
    before = len(here.writes())
    for wrong, words in (
        ({"service_accounts": False}, "authorization needs .* service account"),
        ({"public": True, "force": True}, "authorization needs a confidential client"),
        ({"authorization": False, "force": True}, "destroys its resources"),
    ):
        with pytest.raises(OapipError, match=words):
            here.call(keycloak_client, **options("needs", **wrong))
    assert len(here.writes()) == before
    gone = {"authorization": False, "public": True, "destroy_authorization": True}
    here.settle(keycloak_client, **options("needs", **gone))


def test_a_client_of_another_installation_needs_its_marker(here: Realm) -> None:
    here.call(keycloak_client, **options("marked"))
    before = len(here.writes())
    with pytest.raises(OapipError, match="belongs to another installation"):
        here.call(keycloak_client, client_id="marked", name="mine")
    assert len(here.writes()) == before
    here.settle(keycloak_client, client_id="marked", name="mine", force=True)


# ---------------------------------------------------------------------- what is told


def test_no_secret_of_a_client_is_shown(here: Realm) -> None:
    """Keycloak shows a rotated secret in clear, among the attributes."""
    secret = {"client.secret.rotated": "old-and-hidden", "my.password": "hidden-too"}
    first = here.settle(keycloak_client, **options("shown", attributes=secret))
    assert first["client"]["attributes"]["my.password"] == "<secret>"
    secret["my.password"] = "hidden-again"
    second = here.settle(keycloak_client, **options("shown", attributes=secret))
    assert second["changes"][0]["fields"] == ["attributes.my.password"]
    gone = here.settle(keycloak_client, **options("shown", state="absent"))
    assert "hidden" not in repr([first, second, gone])


def test_the_client_that_is_returned_is_the_client_after_the_call(here: Realm) -> None:
    mappers = [{"name": one, "type": "oidc-full-name-mapper"} for one in ("m", "n")]
    wanted = options("told", attributes={"a": "1", "b": "2"}, mappers=mappers)
    here.settle(keycloak_client, **wanted)
    wanted.update(attributes={"a": "", "c": ["x", "y"]}, mappers=[{"name": "m", "state": "absent"}])
    dry = here.call(keycloak_client, check=True, **wanted)["client"]
    real = here.call(keycloak_client, **wanted)["client"]
    again = here.call(keycloak_client, **wanted)["client"]
    assert dry == real == again
    assert list(real["mappers"]) == ["n"]
    assert {k: v for k, v in real["attributes"].items() if len(k) == 1} == {"b": "2", "c": "x##y"}


def test_a_secret_to_come_is_not_shown_as_the_one_there_is(here: Realm) -> None:
    here.call(keycloak_client, **options("coming"))
    rotated = options("coming", secret_rotation_id="1", return_secret=True)
    assert here.call(keycloak_client, check=True, **rotated)["secret"] == "<generated>"
    here.settle(keycloak_client, **options("coming", public=True))
    private = options("coming", public=False, return_secret=True)
    assert here.call(keycloak_client, check=True, **private)["secret"] == "<generated>"
    real = here.settle(keycloak_client, **private)
    assert real["changes"][0]["fields"] == ["public", "secret"]
    assert real["secret"] == here.kc.client_secret("coming")
    with pytest.raises(OapipError, match="a public client has no secret"):
        here.call(keycloak_client, **options("coming", public=True, secret="mine"))
