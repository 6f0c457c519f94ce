"""Names that bite: each works in the Keycloak modules, or is refused before anything is written.

What keycloak_user makes of them is in test_keycloak_user.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    keycloak_access_info,
    keycloak_client,
    keycloak_protect,
)
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
MARKER = "engine 42"
LONG = "l" * 255
NAMES = ["O'Brien", "a b", "ü", "UPPER", "a/b", "a%2Fb", "a;b?c#d", LONG, "alic"]
"""The last one is a part of another name."""
BARE = ["", ".", ".."]
"""These cannot stand in a URL, where they are another path."""


@pytest.fixture(scope="module")
def here(sandbox: Json) -> Iterator[Realm]:
    with realm(sandbox) as made:
        # an import, as the profile's rules would refuse some of the names
        users = [{"username": name.lower(), "enabled": True} for name in [*NAMES, "alice"]]
        made.kc.request("POST", "partialImport", body={"ifResourceExists": "FAIL", "users": users})
        made.kc.create("clients", body={"clientId": "other"})
        other = (made.kc.client("other") or {})["id"]
        for name in [*NAMES, ".", "..", "alice"]:
            made.kc.create("groups", body={"name": name})
            for where in (("roles",), ("clients", other, "roles")):
                made.kc.request("POST", *where, body={"name": name})
        made.call(keycloak_client, client_id="engine", marker=MARKER, authorization=True)
        yield made


def refused(here: Realm, module: ModuleType, reason: str, **options: Any) -> None:
    """Call, which has to fail with the reason, having written nothing."""
    before = len(here.writes())
    with pytest.raises(OapipError) as told:
        here.call(module, marker=MARKER, **options)
    assert reason in str(told.value)
    assert len(here.writes()) == before


def protect(here: Realm, contexts: list[Json], **more: Any) -> Json:
    options = {"client_id": "engine", "marker": MARKER, "contexts": contexts, **more}
    return here.settle(keycloak_protect, **options)


def shared(**more: Any) -> list[Json]:
    return [{"name": "team", "mode": "shared", **more}]


@pytest.mark.parametrize("name", ["O'Brien", "UPPER", "a%2Fb", "a;b?c#d", "l" * 233, "engin"])
def test_client_ids_that_work_everywhere(here: Realm, name: str) -> None:
    options: Json = {"client_id": name, "marker": MARKER}
    made = here.call(
        keycloak_client, **options, authorization=True, audience=[name], return_secret=True
    )
    assert made["secret"]
    contexts = [{"name": "alice"}]
    here.settle(keycloak_protect, **options, contexts=contexts)
    here.call(keycloak_access_info, client_id=name, contexts=contexts)
    here.call(keycloak_protect, **options, state="absent")
    here.call(keycloak_client, **options, state="absent")
    assert here.kc.client("engine") is not None
    assert here.kc.client(name) is None


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("a b", {"audience": ["a b"]}, "its audience scope can only have printable ASCII"),
        ("ü", {"audience": ["ü"]}, "its audience scope can only have printable ASCII"),
        ("l" * 247, {"audience": ["x"]}, "more than 246 characters"),
        ("l" * 240, {"service_accounts": True}, "more than 239 characters"),
        ("l" * 234, {"authorization": True}, "more than 233 characters"),
        ("l" * 256, {}, "more than 255 characters"),
        ("x", {"name": "n" * 256}, "name 'nnn"),
        ("x", {"redirect_uris": ["https://x/" + "x" * 246]}, "redirect_uris 'https"),
        ("x", {"service_account_roles": [".."]}, "'..' cannot stand in a URL"),
        ("x", {"service_account_roles": ["other/."]}, "'.' cannot stand in a URL"),
        ("x", {"default_scopes": [""]}, "no client scope"),
    ],
)
def test_clients_that_keycloak_cannot_hold(
    here: Realm, name: str, options: Json, reason: str
) -> None:
    more = {"service_accounts": True} if "service_account_roles" in options else {}
    refused(here, keycloak_client, reason, client_id=name, **options, **more)


@pytest.mark.parametrize("name", ["a b", "ü", LONG])
def test_the_same_work_without_an_audience(here: Realm, name: str) -> None:
    here.settle(keycloak_client, client_id=name, marker=MARKER)
    here.settle(keycloak_client, client_id=name, marker=MARKER, state="absent")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"client_id": "a/b"}, "which parts the names of groups"),
        ({"client_id": ".."}, "'..' cannot stand in a URL"),
        ({"marker": "m" * 228}, "marker: it has more than 227 characters"),
        ({"contexts": shared(users=[""])}, "user '': it is empty"),
        ({"contexts": shared(users=["alice2"])}, "no user alice2"),
        ({"contexts": shared(groups=["/a/b"])}, "group /a/b has a / in a name"),
        ({"contexts": shared(groups=["/.."])}, "'..' cannot stand in a URL"),
        ({"contexts": shared(groups=["/" + "l" * 256])}, "no group /lll"),
        ({"contexts": shared(roles=["a/b"])}, "role a/b has a / in a name"),
        ({"contexts": shared(roles=["other/a/b"])}, "tell client and role apart by one /"),
        ({"contexts": shared(roles=["other/.."])}, "'..' cannot stand in a URL"),
        ({"contexts": shared(roles=[""])}, "cannot stand in a URL"),
        ({"contexts": shared(users=["alice"], scopes=["l" * 256])}, "more than 255"),
        ({"contexts": shared(users=["alice"], scopes=[""])}, "scope '': it is empty"),
        ({"contexts": shared(users=["alice"], type="l" * 256)}, "more than 255"),
        ({"contexts": shared(users=["alice"], uris=["/" + "l" * 253 + "/*"])}, "more than 255"),
        *(({"contexts": [{"name": name}]}, "context ") for name in [*NAMES[:-1], *BARE]),
    ],
)
def test_contexts_that_are_refused(here: Realm, options: Json, reason: str) -> None:
    options = {"client_id": "engine", "contexts": [], "marker": MARKER, **options}
    before = len(here.writes())
    with pytest.raises(OapipError) as told:
        here.call(keycloak_protect, **options)
    assert reason in str(told.value)
    assert len(here.writes()) == before


@pytest.mark.parametrize("user_access", ["group", "policy"])
def test_each_user_gets_into_the_own_context_alone(here: Realm, user_access: str) -> None:
    names = [*NAMES, "alice"]
    contexts = [
        {"name": f"c{number}", "mode": "shared", "users": [name]}
        for number, name in enumerate(names)
    ]
    protect(here, contexts, user_access=user_access)
    result = here.call(keycloak_access_info, client_id="engine", contexts=contexts)
    assert len(result["decisions"]) == len(names) * (len(names) + 1)


def test_groups_roles_and_scopes_of_such_names_open(here: Realm) -> None:
    plain = [name for name in NAMES if "/" not in name]
    contexts: list[Json] = [
        {
            "name": f"c{number}",
            "mode": "shared",
            "groups": [f"/{name}"],
            "roles": [name, f"other/{name}"],
            "scopes": [*NAMES],
        }
        for number, name in enumerate(plain)
    ]
    protect(here, contexts)
    alice = (here.kc.user("alice") or {})["id"]
    group = here.kc.request("GET", "group-by-path", "a b")["id"]
    here.kc.request("PUT", "users", alice, "groups", group)
    role = here.kc.role("other/ü") or {}
    where = ("role-mappings", "clients", role["containerId"])
    here.kc.request("POST", "users", alice, *where, body=[role])
    let_in = {plain.index("a b"), plain.index("ü")}
    checks = [
        {
            "user": "alice",
            "path": f"/c{number}/x",
            "scope": scope,
            "expect": "allow" if number in let_in else "deny",
        }
        for number in range(len(plain))
        for scope in ("O'Brien", "a/b", LONG)
    ]
    here.call(keycloak_access_info, client_id="engine", checks=checks)


def test_roles_of_a_service_account_may_have_any_name(here: Realm) -> None:
    roles = [*NAMES, *(f"other/{name}" for name in NAMES if "/" not in name)]
    options: Json = {"client_id": "robot", "marker": MARKER, "service_accounts": True}
    made = here.settle(keycloak_client, **options, service_account_roles=roles)
    assert len(made["changes"]) == 1 + len(roles)


def test_a_group_below_one_with_a_slash_is_refused(here: Realm) -> None:
    top = here.kc.request("GET", "group-by-path", "alice")["id"]
    middle = here.kc.create("groups", top, "children", body={"name": "x/y"})
    here.kc.create("groups", middle, "children", body={"name": "z"})
    reason = "group /alice/x/y/z has a / in a name"
    contexts = shared(groups=["/alice/x/y/z"])
    refused(here, keycloak_protect, reason, client_id="engine", contexts=contexts)


@pytest.mark.parametrize("user", ["alice2", "ali", ".."])
def test_a_name_inside_another_is_nobody(here: Realm, user: str) -> None:
    checks = [{"user": user, "path": "/team/x", "expect": "deny"}]
    with pytest.raises(OapipError, match=f"no user {re.escape(user)}[. ]"):
        here.call(keycloak_access_info, client_id="engine", checks=checks)
