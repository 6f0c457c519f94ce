"""keycloak_user on the real Keycloak: its life, the realm's profile, names, and others at work."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import keycloak_user
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
BOTH = {"view": ["admin", "user"], "edit": ["admin", "user"]}


@pytest.fixture(scope="module")
def here(sandbox: Json) -> Iterator[Realm]:
    with realm(sandbox) as made:
        made.token_client("cli")
        yield made


@pytest.fixture
def asking(here: Realm) -> Iterator[Realm]:
    """The realm while its profile asks for more."""
    before = here.kc.request("GET", "users", "profile")
    more: list[Json] = [
        {"name": "department", "permissions": BOTH, "required": {}},
        {"name": "projects", "permissions": BOTH, "multivalued": True},
        {"name": "badge", "permissions": BOTH, "required": {"roles": ["admin"]}},
        {"name": "taste", "permissions": {**BOTH, "edit": ["user"]}, "required": {}},
        {"name": "nick", "permissions": BOTH, "required": {"roles": ["user"]}},
    ]
    asked = [
        {**one, "required": {"roles": ["admin", "user"]}} if one["name"] == "lastName" else one
        for one in before["attributes"]
    ]
    here.kc.request("PUT", "users", "profile", body={**before, "attributes": [*asked, *more]})
    yield here
    here.kc.request("PUT", "users", "profile", body=before)


def refused(here: Realm, **options: Any) -> str:
    """Return the message of a call that has to fail, dry and for real, and writes nothing."""
    before = len(here.writes())
    told = []
    for check in (True, False):
        with pytest.raises(OapipError) as caught:
            here.call(keycloak_user, check=check, **options)
        told.append(str(caught.value))
    assert len(here.writes()) == before
    assert told[0] == told[1]
    return told[0]


def test_the_whole_life_of_a_user(here: Realm) -> None:
    wanted: dict[str, Any] = {
        "username": "Carol",
        "email": "Carol@example.org",
        "first_name": "Carol",
        "last_name": "C",
        "password": "first-password",
    }
    real = here.settle(keycloak_user, **wanted)
    assert "first-password" not in repr(real)
    assert here.kc.user_token("cli", "carol", "first-password")
    for option, value in (("email", "c@example.org"), ("first_name", "C"), ("last_name", "D")):
        wanted[option] = value
        (change,) = here.settle(keycloak_user, **wanted)["changes"]
        assert change["fields"] == [option]
    assert here.kc.user_token("cli", "carol", "first-password")
    wanted["password"] = "second-password"
    assert not here.call(keycloak_user, **wanted)["changed"]
    changed = here.call(keycloak_user, **wanted, update_password="always")
    assert changed["changes"][0]["fields"] == ["password"]
    assert here.kc.user_token("cli", "carol", "second-password")
    here.settle(keycloak_user, username="carol", state="absent")
    assert not here.kc.user_exists("carol")


def test_what_the_profile_asks_for_is_told_at_once(asking: Realm) -> None:
    message = refused(
        asking,
        username="dave",
        attributes={"stranger": "x", "taste": "sweet", "email": "d@example.org"},
    )
    assert f"user profile of realm {asking.name}" in message
    for part in (
        "lastName is required",
        "department is required",
        "badge is required",
        "stranger is not in the profile",
        "taste cannot be set by administrators",
        "email is no attribute",
    ):
        assert part in message
    assert "nick" not in message


def test_attributes_are_settled_by_name(asking: Realm) -> None:
    wanted: Json = {"username": "erin", "last_name": "E"}
    first = {"department": "it", "badge": 7, "nick": "e"}
    asking.settle(keycloak_user, **wanted, attributes=first)
    more = {"department": "eo", "projects": ["floods", "droughts"], "nick": None}
    (change,) = asking.settle(keycloak_user, **wanted, attributes=more)["changes"]
    assert change["fields"] == [
        "attributes.department",
        "attributes.nick",
        "attributes.projects",
    ]
    user = asking.kc.user("erin") or {}
    assert set(user["attributes"].pop("projects")) == {"floods", "droughts"}
    assert user["attributes"] == {"department": ["eo"], "badge": ["7"]}
    assert "department is required" in refused(
        asking, username="erin", attributes={"department": ""}
    )


def test_who_cannot_log_in_is_told(here: Realm) -> None:
    here.warned.clear()
    here.call(keycloak_user, username="frank", first_name="F", password="a-password")
    (warning,) = here.warned
    assert "asks users for email, lastName" in warning
    with pytest.raises(OapipError, match="not fully set up"):
        here.kc.user_token("cli", "frank", "a-password")


def test_a_refused_password_leaves_nothing_behind(here: Realm) -> None:
    here.user("grace", "old-password")
    here.kc.request("PUT", body={"realm": here.name, "passwordPolicy": "length(8)"})
    before = len(here.writes())
    for name in ("grace", "heidi"):
        with pytest.raises(OapipError, match="minimum length 8") as told:
            here.call(
                keycloak_user,
                username=name,
                first_name="New",
                password="tiny",
                update_password="always",
            )
        assert "tiny" not in repr(told.value.as_result())
    assert len(here.writes()) == before
    here.kc.request("PUT", body={"realm": here.name, "passwordPolicy": ""})
    assert (here.kc.user("grace") or {})["firstName"] == "grace"
    assert here.kc.user_token("cli", "grace", "old-password")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("O'Brien", "username has a character that the realm's profile does not allow"),
        ("a b", "username has a character"),
        ("ü", "username has fewer than 3 characters"),
        ("jürgen", ""),
        ("UPPER", ""),
        ("a/b", "username has a character"),
        ("l" * 255, ""),
        ("l" * 256, "username has more than 255 characters"),
        ("upp", ""),
        ("..", "username has fewer than 3 characters"),
    ],
)
def test_names_that_bite(here: Realm, name: str, reason: str) -> None:
    """Each works, also where it is a part of another one, or is refused with the reason."""
    wanted: Json = {"username": name, "first_name": "A", "last_name": "B"}
    if not reason:
        here.settle(keycloak_user, **wanted)
        assert (here.kc.user(name) or {})["username"] == name.lower()
        here.settle(keycloak_user, username=name, state="absent")
        return
    before = len(here.writes())
    with pytest.raises(OapipError) as told:
        here.call(keycloak_user, **wanted)
    assert reason in str(told.value)
    assert len(here.writes()) == before


def test_a_name_inside_another_is_another_user(here: Realm) -> None:
    here.user("annabel")
    assert here.settle(keycloak_user, username="anna")["changes"][0]["action"] == "create"
    here.settle(keycloak_user, username="anna", state="absent")
    assert here.kc.user_exists("annabel")


def test_an_imported_user_keeps_the_name(here: Realm) -> None:
    """The profile's rules do not hold for imports; what has such a name can be settled."""
    user = {"username": "o'neill", "enabled": True, "email": "o@example.org"}
    here.kc.request("POST", "partialImport", body={"ifResourceExists": "FAIL", "users": [user]})
    (change,) = here.settle(keycloak_user, username="O'Neill", first_name="O")["changes"]
    assert change["fields"] == ["first_name"]
    here.settle(keycloak_user, username="O'Neill", state="absent")


def test_of_many_at_once_all_end_well(here: Realm) -> None:
    wanted: Json = {"username": "ivan", "first_name": "I", "password": "a-password"}
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: here.call(keycloak_user, **wanted), range(4)))
    assert [one["changed"] for one in done].count(True) == 1
    assert here.call(keycloak_user, **wanted)["changes"] == []
