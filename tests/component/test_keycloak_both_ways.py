"""Keycloak's modules in the worker and as processes: the same results, no secret in either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import run_tasks
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
CASES: dict[str, tuple[str, Json]] = {
    "client to create": (
        "keycloak_client",
        {"client_id": "x", "authorization": True, "secret": "hush-hush-1"},
    ),
    "wrong password": ("keycloak_client", {"client_id": "x", "auth_password": "hush-hush-2"}),
    "user to create": ("keycloak_user", {"username": "carol", "password": "hush-hush-3"}),
    "contexts to create": (
        "keycloak_protect",
        {"client_id": "x", "marker": "m", "contexts": [{"name": "alice"}]},
    ),
    "unknown user": (
        "keycloak_protect",
        {"client_id": "x", "marker": "m", "contexts": [{"name": "nobody"}]},
    ),
    "access to come": (
        "keycloak_access_info",
        {"client_id": "x", "contexts": [{"name": "alice"}]},
    ),
}


FAILING = {"wrong password", "unknown user"}


@pytest.fixture(scope="module")
def here(sandbox: Json) -> Iterator[Realm]:
    with realm(sandbox) as made:
        made.user("alice")
        yield made


def test_same_result_both_ways(here: Realm, tmp_path: Path) -> None:
    tasks = []
    for case, (module, params) in CASES.items():
        task: Json = {f"eoepca.oapip.{module}": {**here.options, **params}}
        tasks += [
            {**task, "name": f"{case}, here"},
            {**task, "name": f"{case}, sent", "environment": {"OAPIP_TEST_SENT": "1"}},
        ]
    done = run_tasks(tmp_path, tasks, "--check", "--diff", "-vvvv")
    for case in CASES:
        worker, process = done.of(f"{case}, here"), done.of(f"{case}, sent")
        assert worker.contract() == process.contract(), case
        assert worker.status == process.status == ("ignored" if case in FAILING else "ok")
    assert "hush-hush" not in done.output
    assert here.options["auth_password"] not in done.output
    assert here.kc.client("x") is None
