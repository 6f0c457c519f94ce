"""Hundreds of contexts of one client with keycloak_protect, and a few beside the stock modules."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.eoepca.oapip.plugins.modules import keycloak_client
from tests.bench.converged import Baseline
from tests.bench.measure import Budget, CommandError
from tests.harness import TaskResult, run_tasks
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
MARKER = "bench"
MANY, FEW, CHANGED = 500, 20, 3
CREATED_REQUESTS, CONVERGED_REQUESTS, CONVERGED_SECONDS = 40, 10, 1.0
"""DESIGN: with a user policy for each context; a managed group costs one request more."""


@dataclass(frozen=True)
class Settled:
    """One task of keycloak_protect: its wall time, its requests, and what it wrote."""

    seconds: float
    requests: int
    writes: list[str]

    def rows(
        self,
        who: str,
        seconds: float | None = None,
        requests: int | None = None,
        writes: int | None = None,
    ) -> Iterator[Budget]:
        """Yield the figures, with their limits."""
        yield Budget(f"{who}: wall time", self.seconds, "s", seconds)
        yield Budget(f"{who}: requests", self.requests, "", requests)
        yield Budget(f"{who}: writes", len(self.writes), "", writes)


class Client:
    """A client whose contexts are settled by tasks in a playbook."""

    def __init__(self, here: Realm, folder: Path, access: str, contexts: list[str]) -> None:
        self._here, self._folder = here, folder
        self._access = access
        self.name = f"{access}-{len(contexts)}"
        self.contexts: list[Json] = [{"name": name} for name in contexts]
        here.call(keycloak_client, client_id=self.name, marker=MARKER, authorization=True)

    def settle(self) -> Settled:
        """Run the task, after one that loads what a run loads once."""
        events = self._here.kc.request
        events("DELETE", "admin-events")
        options = {**self._here.options, "client_id": self.name, "marker": MARKER}
        absent = {**options, "client_id": "nobody", "state": "absent"}
        wanted = {**options, "user_access": self._access, "contexts": self.contexts}
        tasks = [
            {"name": "first", "eoepca.oapip.keycloak_protect": absent},
            {"name": "settle", "eoepca.oapip.keycloak_protect": wanted},
        ]
        done: TaskResult = run_tasks(self._folder, tasks).of("settle")
        if done.status != "ok":
            raise CommandError(str(done.result.get("msg")))
        return Settled(done.seconds, done.result["requests"], self._here.writes())


def import_users(here: Realm, names: list[str]) -> None:
    """Make users in one request."""
    users = [{"username": name, "enabled": True, "email": f"{name}@example.org"} for name in names]
    here.kc.request("POST", "partialImport", body={"ifResourceExists": "SKIP", "users": users})


def many(
    sandbox: Mapping[str, Any], folder: Path, count: int = MANY, access: str = "policy"
) -> Iterator[Budget]:
    """Yield what it costs to create many contexts, to look again, and to change a few of them."""
    names = [f"user{number}" for number in range(count)]
    with realm(dict(sandbox)) as here:
        import_users(here, names)
        client = Client(here, folder, access, names)
        made, again = client.settle(), client.settle()
        for one in client.contexts[:CHANGED]:
            one["uris"] = [f"/{one['name']}/*", f"/{one['name']}-shared/*"]
        few = client.settle()
    who = f"{count} contexts, {access}"
    limits = access == "policy"
    yield from made.rows(f"{who}, created", requests=CREATED_REQUESTS if limits else None)
    yield from again.rows(
        f"{who}, converged",
        seconds=CONVERGED_SECONDS if limits else None,
        requests=CONVERGED_REQUESTS if limits else None,
        writes=0,
    )
    yield from few.rows(f"{who}, {CHANGED} changed", writes=CHANGED)


def beside(sandbox: Mapping[str, Any], folder: Path, count: int = FEW) -> Iterator[Budget]:
    """Yield what creating a few and looking again cost, and the same with stock modules."""
    names = [f"user{number}" for number in range(count)]
    with realm(dict(sandbox)) as here:
        import_users(here, names)
        ours = Client(here, folder, "group", names)
        theirs = Client(here, folder, "stock", names)
        admin = here.call(
            keycloak_client,
            client_id="admin",
            service_accounts=True,
            service_account_roles=["realm-management/realm-admin"],
            attributes={"access.token.lifespan": "600"},
            return_secret=True,
        )
        variables = folder / "variables.json"
        variables.touch(mode=0o600)
        given = {
            "oapip_keycloak_url": here.options["server_url"],
            "oapip_keycloak_realm": here.name,
            "oapip_ca_path": here.options["ca_path"],
            "baseline_admin": "admin",
            "baseline_admin_secret": admin["secret"],
            "baseline_client": theirs.name,
            "baseline_contexts": names,
        }
        variables.write_text(json.dumps(given))
        baseline = Baseline(folder, "keycloak.yml", "-i", "localhost,", "-e", f"@{variables}")
        for what in ("created", "converged"):
            yield from ours.settle().rows(f"{count} contexts, group, {what}")
            here.kc.request("DELETE", "admin-events")
            run = baseline.run()
            who = f"{count} contexts, stock modules, {what}"
            yield Budget(f"{who}: wall time", sum(one.seconds for one in run.results), "s")
            yield Budget(f"{who}: writes", len(here.writes()))


def measure(sandbox: Mapping[str, Any], folder: Path) -> Iterator[Budget]:
    """Yield the figures of many contexts, by user policies and by groups, and of a few."""
    for access in ("policy", "group"):
        yield from many(sandbox, folder, access=access)
    yield from beside(sandbox, folder)
