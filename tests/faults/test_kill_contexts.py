"""Runs that are killed while they make fifty contexts: the next one completes them."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.paths import write_private
from tests.faults.dump import difference, realm_dump
from tests.faults.kill import DRAWS, descendants, outliving
from tests.faults.meanwhile import Meanwhile
from tests.harness import run_playbook, start_playbook
from tests.keycloak_realm import Realm, realm

CLIENT = MARKER = "fifty"
CONTEXTS = [f"user-{number:02}" for number in range(50)]
STRANGER = "stranger"
UMA = "urn:ietf:params:oauth:grant-type:uma-ticket"


@pytest.fixture(scope="module")
def here(sandbox: dict[str, Any]) -> Iterator[Realm]:
    with realm(sandbox) as made:
        made.token_client("cli")
        made.user(STRANGER, STRANGER)
        users = [{"username": name, "enabled": True} for name in CONTEXTS]
        made.kc.request("POST", "partialImport", body={"ifResourceExists": "SKIP", "users": users})
        yield made


class Asker(Meanwhile):
    """Asks for decisions with a stranger's token, path by path, as a gateway does."""

    def __init__(self, here: Realm, ca_file: str) -> None:
        super().__init__()
        self._here = here
        self._session = requests.Session()
        self._session.verify = ca_file
        self._session.trust_env = False
        self.asked = 0
        self.breaches: list[str] = []

    def run(self) -> None:
        """Ask until told to stop, with a new token each round."""
        while not self.over.is_set():
            token = self._here.kc.user_token("cli", STRANGER, STRANGER)
            for path in [*(f"/{name}/ogc-api" for name in CONTEXTS), "/", "/elsewhere"]:
                if self.over.wait(0.02):
                    return
                answer = self._session.post(
                    f"{self._here.kc.issuer}/protocol/openid-connect/token",
                    headers={"Authorization": f"Bearer {token}"},
                    data={
                        "grant_type": UMA,
                        "audience": CLIENT,
                        "response_mode": "decision",
                        "permission": path,
                        "permission_resource_format": "uri",
                        "permission_resource_matching_uri": "true",
                    },
                    timeout=20,
                )
                self.asked += 1
                if answer.status_code == 200:
                    self.breaches.append(f"{path}: {answer.text[:200]}")


def playbook(here: Realm, folder: Path, state: str) -> Path:
    """Write a playbook that makes the client and its contexts, or takes them away."""
    common = {"client_id": CLIENT, "marker": MARKER, "state": state}
    client, protect = ("eoepca.oapip.keycloak_client", "eoepca.oapip.keycloak_protect")
    tasks: list[dict[str, Any]] = [{protect: common}, {client: common}]
    if state == "present":
        contexts = [{"name": name} for name in CONTEXTS]
        tasks = [
            {client: {**common, "authorization": True}},
            {protect: {**common, "contexts": contexts}},
        ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "module_defaults": {"group/eoepca.oapip.keycloak": here.options},
        "tasks": [{"name": "settle", **task} for task in tasks],
    }
    path = folder / f"{state}.yml"
    write_private(path, json.dumps([play]))
    return path


def test_a_batch_that_is_killed_is_completed(
    here: Realm, sandbox: dict[str, Any], tmp_path: Path, rng: random.Random, full: bool
) -> None:
    present, absent = (playbook(here, tmp_path, state) for state in ("present", "absent"))

    def run(path: Path) -> float:
        begun = time.monotonic()
        done = run_playbook(path, tmp_path, "-i", "localhost,")
        assert done.code == 0, done.output[-4000:]
        return time.monotonic() - begun

    takes = run(present)
    wanted = realm_dump(sandbox, here.name)
    groups = [name for name in wanted if name.startswith(f"keycloak: group /{CLIENT}/")]
    assert len(groups) == len(CONTEXTS)
    with Asker(here, sandbox["ca_file"]) as stranger:
        for _ in range(20 if full else 1):
            for _draw in range(DRAWS):
                run(absent)
                running = start_playbook(present, tmp_path, "-i", "localhost,")
                after = rng.uniform(0.2 * takes, takes)  # the first fifth is Ansible's own start
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.process.wait(after)
                if hit := running.process.poll() is None:
                    break
            assert hit
            family = set(descendants(running.process.pid))
            running.kill()
            print(f"killed after {after:.1f} s of {takes:.1f} s")
            assert outliving(family) == []
            run(present)
            assert difference(wanted, realm_dump(sandbox, here.name)) == []
    assert stranger.asked > 50
    assert stranger.breaches == []
