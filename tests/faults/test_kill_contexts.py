"""Runs that are killed while they make fifty contexts: the next one completes them."""

from __future__ import annotations

import contextlib
import itertools
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
from tests.faults.kill import descendants, outliving
from tests.faults.meanwhile import Meanwhile
from tests.harness import PlaybookRun, run_playbook, start_playbook
from tests.keycloak_realm import Realm, realm

CLIENT = MARKER = "fifty"
CONTEXTS = [f"user-{number:02}" for number in range(50)]
MEMBER = CONTEXTS[7]
MAKING = "contexts"
STRANGER = "stranger"
PATHS = [*(f"/{name}/ogc-api" for name in CONTEXTS), "/", "/elsewhere"]
UMA = "urn:ietf:params:oauth:grant-type:uma-ticket"
NO = {
    "access_denied",
    "invalid_resource",  # nothing has this path
    "invalid_request",  # no client yet, or none with permissions
}
"""Keycloak's words for a refusal; all others are no decision."""


@pytest.fixture(scope="module")
def here(sandbox: dict[str, Any]) -> Iterator[Realm]:
    with realm(sandbox) as made:
        made.token_client("cli")
        for name in (STRANGER, MEMBER):
            made.user(name, name)
        users = [{"username": name, "enabled": True} for name in CONTEXTS]
        made.kc.request("POST", "partialImport", body={"ifResourceExists": "SKIP", "users": users})
        yield made


class Asker(Meanwhile):
    """Asks for decisions path by path, as a gateway does, on a stranger and one context's user.

    `asked` counts the decisions, `breaches` has a line for each that lets somebody in wrongly.
    """

    def __init__(self, here: Realm, ca_file: str) -> None:
        super().__init__()
        self._here = here
        self._session = requests.Session()
        self._session.verify = ca_file
        self._session.trust_env = False
        self.asked = 0
        self.breaches: list[str] = []

    def go(self) -> None:
        """Ask until told to stop, with a new token each round."""
        for user in itertools.cycle((STRANGER, MEMBER)):
            token = self.token(user)
            for path in PATHS:
                if self.over.wait(0.01):
                    return
                if path.startswith(f"/{user}/"):
                    continue
                allowed = None
                with contextlib.suppress(requests.RequestException):  # a busy server
                    allowed = self.allowed(token, path)
                self.asked += allowed is not None
                if allowed:
                    self.breaches.append(f"{user} on {path}")

    def token(self, user: str) -> str:
        """Return a token of a user."""
        return self._here.kc.user_token("cli", user, user)

    def allowed(self, token: str, path: str) -> bool | None:
        """Return Keycloak's decision; None where it had no time for one."""
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
        if answer.status_code == 200:
            return True
        if answer.status_code >= 500:
            return None
        assert answer.json()["error"] in NO, answer.text[:200]
        return False


def playbook(here: Realm, folder: Path, state: str) -> Path:
    """Write a playbook that makes the client and its contexts, or takes them away."""
    common = {"client_id": CLIENT, "marker": MARKER, "state": state}
    client, protect = ("eoepca.oapip.keycloak_client", "eoepca.oapip.keycloak_protect")
    tasks: list[dict[str, Any]] = [
        {"name": "no contexts", protect: common},
        {"name": "no client", client: common},
    ]
    if state == "present":
        contexts = [{"name": name} for name in CONTEXTS]
        tasks = [
            {"name": "client", client: {**common, "authorization": True}},
            {"name": MAKING, protect: {**common, "contexts": contexts}},
        ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "module_defaults": {"group/eoepca.oapip.keycloak": here.options},
        "tasks": tasks,
    }
    path = folder / f"{state}.yml"
    write_private(path, json.dumps([play]))
    return path


def made_so_far(here: Realm) -> tuple[int, int]:
    """Return how many contexts have a group, and how many have all of their permission."""
    whole = {"first": 0, "max": 1000}
    top = here.kc.request("GET", "group-by-path", CLIENT, absent=True)
    groups = here.kc.request("GET", "groups", top["id"], "children", query=whole) if top else []
    permissions = here.kc.request("GET", *here.authz(CLIENT), "permission", query=whole)
    return len(groups), len(permissions)


def test_a_batch_that_is_killed_is_completed(
    here: Realm, sandbox: dict[str, Any], tmp_path: Path, rng: random.Random, full: bool
) -> None:
    present, absent = (playbook(here, tmp_path, state) for state in ("present", "absent"))

    def run(path: Path) -> PlaybookRun:
        done = run_playbook(path, tmp_path, "-i", "localhost,")
        assert done.code == 0, done.output[-4000:]
        return done

    takes = run(present).of(MAKING).seconds
    wanted = realm_dump(sandbox, here.name)
    groups = [name for name in wanted if name.startswith(f"keycloak: group /{CLIENT}/")]
    assert len(groups) == len(CONTEXTS)
    kills = 20 if full else 1
    hits = halves = 0
    with Asker(here, sandbox["ca_file"]) as asker:
        for _ in range(3 * kills):
            run(absent)
            asked = asker.asked
            running = start_playbook(present, tmp_path, "-i", "localhost,")
            after = rng.uniform(0, takes)
            while f"TASK [{MAKING}]" not in running.output.read_text():
                assert running.process.poll() is None, running.output.read_text()[-4000:]
                time.sleep(0.02)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(after)
            hit = running.process.poll() is None
            family = set(descendants(running.process.pid))
            running.kill()
            assert outliving(family) == []
            when = f"killed after {after:.1f} s of {takes:.1f} s"
            made = made_so_far(here)
            halves += made not in ((0, 0), (len(CONTEXTS), len(CONTEXTS)))
            print(f"{when}, {'live' if hit else 'too late'}: groups, permissions made: {made}")
            run(present)
            assert difference(wanted, realm_dump(sandbox, here.name)) == []
            # the very question that nobody else may have answered so
            let_in = asker.allowed(asker.token(MEMBER), f"/{MEMBER}/ogc-api")
            assert let_in
            assert asker.asked - asked >= len(PATHS), "not every path was asked about"
            hits += hit
            if hits == kills:
                break
    assert hits == kills, "too few kills met a run at work"
    assert halves or not full, "no kill left anything half-made"
    assert asker.breaches == []
