"""keycloak_client on the real Keycloak."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any

import jwt
import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import keycloak_client
from tests.keycloak_realm import Realm, realm

MARKER = "engine 42"


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


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [
        ("name", "Engine", "name"),
        ("description", "An engine", "description"),
        ("secret", "a-secret-of-mine", "secret"),
        ("root_url", "https://b.example.org", "root_url"),
        ("redirect_uris", ["https://b.example.org/*", "https://a.example.org/*"], "redirect_uris"),
        ("web_origins", ["https://b.example.org"], "web_origins"),
        ("enabled", False, "enabled"),
        ("standard_flow", False, "standard_flow"),
        ("implicit_flow", True, "implicit_flow"),
        ("direct_access_grants", True, "direct_access_grants"),
        ("device_grant", True, "attributes.oauth2.device.authorization.grant.enabled"),
        ("pkce", "S256", "attributes.pkce.code.challenge.method"),
        ("attributes", {"x.y": "1"}, "attributes.x.y"),
        (
            "mappers",
            [{"name": "full", "type": "oidc-full-name-mapper", "config": {"id.token.claim": True}}],
            "mappers.full",
        ),
    ],
)
def test_each_option_changes_itself_alone(here: Realm, option: str, value: Any, field: str) -> None:
    here.call(keycloak_client, **options("each", authorization=True))
    real = here.settle(keycloak_client, **options("each", **{option: value}))
    assert [(one["kind"], one["fields"]) for one in real["changes"]] == [("client", [field])]
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
        here.call(keycloak_client, **options("rich", authorization=False))


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
