"""Generated options on the real Keycloak: dry tells the truth, what is settled is left alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from ansible_collections.eoepca.oapip.plugins.modules import keycloak_client, keycloak_protect
from tests.keycloak_realm import Realm, realm
from tests.keycloak_strategies import CLIENTS, PROTECTIONS, raw_contexts

Json = dict[str, Any]
MARKER = "engine 42"
NUMBERS = itertools.count()
# a failure is shown as it is found: to shrink it takes hundreds of calls
SAMPLE = settings(max_examples=6, phases=[Phase.reuse, Phase.generate])


@pytest.fixture(scope="module")
def here(sandbox: Json) -> Iterator[Realm]:
    """Return a realm that has what the generated options name."""
    with realm(sandbox) as made:
        for name in ("alice", "bob", "team", "a.b", "o-brien", "u_1", "carol", "dave"):
            made.user(name)
        group = made.kc.create("groups", body={"name": "g"})
        made.kc.create("groups", group, "children", body={"name": "h"})
        for role in ("r", "reader"):
            made.kc.create("roles", body={"name": role})
        for client, role in (("c", "r"), ("other", "writer")):
            made.kc.create("clients", made.token_client(client), "roles", body={"name": role})
        for client in ("engine", "cli", "web"):
            made.token_client(client)
        yield made


@SAMPLE
@given(first=raw_contexts(), then=raw_contexts(), before=PROTECTIONS, now=PROTECTIONS)
def test_settled_contexts_are_left_alone(
    here: Realm, first: list[Json], then: list[Json], before: Json, now: Json
) -> None:
    client_id = f"generated-{next(NUMBERS)}"
    owned: Json = {"client_id": client_id, "marker": MARKER}
    here.call(keycloak_client, **owned, authorization=True)
    here.settle(keycloak_protect, **owned, contexts=first, **before)
    here.settle(keycloak_protect, **owned, contexts=then, **now)


@SAMPLE
@given(first=CLIENTS, then=CLIENTS)
def test_a_settled_client_is_left_alone(here: Realm, first: Json, then: Json) -> None:
    owned = {"client_id": f"generated-{next(NUMBERS)}", "marker": MARKER}
    here.settle(keycloak_client, **owned, **first)
    here.settle(keycloak_client, **owned, **then)
