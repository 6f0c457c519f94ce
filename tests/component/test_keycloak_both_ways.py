"""Keycloak's modules in the worker and as processes: the same results, no secret in either."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.paths import write_private
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
        made.user("alice", "hush-hush-4")
        made.token_client("cli")
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


#: As variables, since Ansible shows the lines of a playbook around a task that failed.
HUSH = {f"hush{number}": f"hush-hush-{number}" for number in range(4, 9)}


def real_tasks() -> list[Json]:
    """Return tasks that are given secrets, or make some, each by another option."""
    client, access = "eoepca.oapip.keycloak_client", "eoepca.oapip.keycloak_access_info"
    user = {"username": "carol", "email": "c@example.org", "first_name": "C", "last_name": "D"}
    password = {"password": "{{ hush5 }}", "update_password": "always"}
    keeper = {"client_id": "keeper", "direct_access_grants": True, "secret": "{{ hush6 }}"}
    rotated = {"client_id": "rotated", "service_accounts": True}
    engine = {"client_id": "real", "marker": "m"}
    checks = [{"user": name, "path": "/carol/x", "expect": "allow"} for name in ("carol", "alice")]
    credentials = [
        {"username": "carol", "password": "{{ hush5 }}"},
        {"username": "alice", "token": "{{ token }}"},
    ]
    ask = {
        "client_id": "real",
        "checks": checks,
        "credentials": credentials,
        "token_client_id": "keeper",
        "token_client_secret": "{{ hush7 }}",
    }
    wrong = [{"username": "carol", "password": "{{ hush8 }}"}]
    return [
        {"name": "engine", client: {**engine, "authorization": True}},
        {"name": "user", "eoepca.oapip.keycloak_user": {**user, **password}},
        {"name": "contexts", "eoepca.oapip.keycloak_protect": {**engine, "contexts": CAROL}},
        {"name": "secret", client: keeper},
        {"name": "another secret", client: {**keeper, "secret": "{{ hush7 }}"}},
        {
            "name": "made secret",
            client: {**rotated, "secret_rotation_id": "1", "return_secret": True},
            "no_log": True,
        },
        {"name": "rotation", client: {**rotated, "secret_rotation_id": "{{ generation }}"}},
        {"name": "access", access: {**ask, "fail_on_mismatch": False}},
        {"name": "mismatch", access: ask},
        {"name": "wrong credentials", access: {**ask, "credentials": wrong}},
    ]


CAROL = [{"name": "carol"}]
SENT = {"user", "rotation", "access", "mismatch", "wrong credentials"}
"""Those that are run as processes too."""


def test_no_secret_is_shown_in_a_real_run(here: Realm, tmp_path: Path) -> None:
    whole = here.kc.request("GET")  # a token that is given has to last as long as the run
    here.kc.request("PUT", body={**whole, "accessTokenLifespan": 600})
    token = here.kc.user_token("cli", "alice", HUSH["hush4"])
    given = tmp_path / "given.yml"
    write_private(given, json.dumps({**HUSH, "token": token}))
    tasks: list[Json] = [
        {**task, "name": f"{task['name']}, here", "vars": {"generation": 2}}
        for task in real_tasks()
    ] + [
        {
            **task,
            "name": f"{task['name']}, sent",
            "vars": {"generation": 3},
            "environment": {"OAPIP_TEST_SENT": "1"},
        }
        for task in real_tasks()
        if task["name"] in SENT
    ]
    options = ("--diff", "-vvvv", "-e", f"@{given}")
    defaults = {"group/eoepca.oapip.keycloak": here.options}
    done = run_tasks(tmp_path, tasks, *options, module_defaults=defaults)
    for task in tasks:
        bad = task["name"].startswith(("wrong", "mismatch"))
        found = done.of(task["name"])
        assert found.status == ("ignored" if bad else "ok"), found
    for way in ("here", "sent"):
        methods = [one["method"] for one in done.of(f"access, {way}").result["decisions"]]
        assert methods == ["admin", "token"] * 2
        assert done.of(f"rotation, {way}").result["changed"]
    made = [str(here.kc.client_secret(name)) for name in ("real", "rotated")]
    for secret in (*made, "hush-hush", here.options["auth_password"]):
        assert secret not in done.output
    assert not re.search(r"eyJ[\w-]{10,}\.", done.output)
