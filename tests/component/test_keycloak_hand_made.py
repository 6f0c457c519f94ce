"""What others made by hand, at the client and below its groups: left alone, or taken over as asked.

What is compared is what Keycloak exports.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Keycloak
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


def test_a_group_made_below_ours_at_the_last_moment_survives(
    here: Realm, client_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours: Json = {"client_id": client_id, "marker": MARKER}
    here.call(keycloak_protect, **ours, contexts=BOTH)
    request = Keycloak.request
    made: list[tuple[str, ...]] = []

    def faster(self: Keycloak, method: str, *segments: str, **more: Any) -> Any:
        done = request(self, method, *segments, **more)
        if method == "DELETE" and "policy" in segments and not made:
            made.append(segments)
            below(here, "assistants", client_id, "alice")
        return done

    monkeypatch.setattr(Keycloak, "request", faster)
    changes = here.call(keycloak_protect, **ours, state="absent")["changes"]
    assert made
    assert group(here, client_id, "alice", "assistants")
    assert group(here, client_id, "bob") is None
    gone = {one["name"] for one in changes if one["kind"] == "group"}
    assert gone == {f"/{client_id}/bob"}
