"""The EXAMPLES of Keycloak's modules run as they are pasted, and do what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from ansible_collections.eoepca.oapip.plugins.modules import (
    keycloak_access_info,
    keycloak_client,
    keycloak_protect,
    keycloak_user,
)
from sandbox.paths import write_private
from tests.harness import run_playbook
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
JWT = re.compile(r"eyJ[\w-]{10,}\.")
USERS = 'Username,Email,Name\r\nAlice,a@example.org,"Liddell, Alice"\r\n"bob" ,,\r\n\r\nbob;x\r\n'
"""As people save them: upper case, quotes, more columns, an empty line, one twice."""
ALICE = "alice-hush-hush"


@pytest.fixture
def here(sandbox: Json) -> Iterator[Realm]:
    """A realm with what the examples take for granted."""
    with realm(sandbox) as made:
        profile = made.kc.request("GET", "users", "profile")
        more = [
            {"name": name, "multivalued": name == "projects", "permissions": {"edit": ["admin"]}}
            for name in ("department", "projects")
        ]
        attributes = [*profile["attributes"], *more]
        made.kc.request("PUT", "users", "profile", body={**profile, "attributes": attributes})
        made.token_client("oapip-cli")
        made.kc.create("groups", body={"name": "hydrology"})
        made.kc.create("roles", body={"name": "processing-user"})
        yield made


def tasks_of(module: ModuleType, here: Realm) -> list[Json]:
    """Return the tasks of the EXAMPLES, with this server and realm for the ones that they name."""
    text: str = module.EXAMPLES
    text = text.replace("https://auth.example.org", here.options["server_url"])
    text = text.replace("realm: eoepca", f"realm: {here.name}")
    tasks: list[Json] = yaml.safe_load(text)
    return tasks


def test_examples_run_as_pasted(here: Realm, tmp_path: Path) -> None:
    alice, bob, no_alice = tasks_of(keycloak_user, here)
    engine, pipeline, no_engine = tasks_of(keycloak_client, here)
    protect, leaver, many, nothing = tasks_of(keycloak_protect, here)
    asked = tasks_of(keycloak_access_info, here)
    made = [alice, bob, engine, pipeline, protect, *asked]
    gone = [leaver, many, nothing, no_engine, no_alice]
    options = {"ca_path": here.options["ca_path"]}
    play = {
        "name": "Examples",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "module_defaults": {"group/eoepca.oapip.keycloak": options},
        "vars": {"oapip_contexts": protect["eoepca.oapip.keycloak_protect"]["contexts"]},
        "tasks": [*made, *gone],
    }
    playbook, given = tmp_path / "examples.yml", tmp_path / "given.yml"
    playbook.write_text(yaml.safe_dump([play], sort_keys=False))
    (tmp_path / "users.csv").write_bytes(USERS.encode())
    passwords = {"keycloak_admin_password": here.options["auth_password"], "alice_password": ALICE}
    write_private(given, yaml.safe_dump(passwords))
    done = run_playbook(playbook, tmp_path, "-i", "localhost,", "-e", f"@{given}", "-vvvv")
    assert done.code == 0, done.output[-6000:]
    for secret in (*passwords.values(), str(here.kc.client_secret("pipeline"))):
        assert secret not in done.output
    assert not JWT.search(done.output)

    def changes(task: Json) -> list[tuple[str, str]]:
        found = done.of(task["name"]).result["changes"]
        return [(one["action"], one["name"]) for one in found]

    for task in (alice, bob, engine, protect, many, nothing, no_engine, no_alice):
        assert changes(task), task["name"]
    assert {one["method"] for one in done.of(asked[1]["name"]).result["decisions"]} == {
        "admin",
        "token",
    }
    assert [one for one in changes(leaver) if one[0] != "delete"] == [
        ("update", "/oapip-engine/flood-mapping")
    ]
    assert ("delete", "context:bob") in changes(leaver)
    assert not [one for one in changes(leaver) if one[0] == "delete" and "bob" not in one[1]]
    shown = done.of(many["name"]).result["contexts"]
    assert [(one["name"], one["users"]) for one in shown] == [
        ("alice", ["alice"]),
        ("bob", ["bob"]),
    ]
    kept = (here.kc.client("pipeline") or {})["attributes"]
    assert kept["oapip.secret.rotation"] == "2026-11"
    assert here.kc.client("oapip-engine") is None
    assert here.kc.user("alice") is None
    assert (here.kc.user("bob") or {})["attributes"]["department"] == ["hydrology"]
