"""One object changed by hand: the dry run names it, the real run repairs it and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import changes, writes
from tests.faults.drift import (
    RELEASE,
    SPACE,
    STRANGER,
    TABLE,
    Change,
    Directory,
    Drift,
    Hands,
    together,
    wanted_objects,
)
from tests.faults.dump import difference, dump
from tests.harness import ROOT, PlaybookRun, run_playbook

HOST = "sandbox-1"
BROKER = f"{RELEASE}-rabbitmq-0"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All that goes together at once; in the full form also each row of the table alone."""
    if "drifts" in metafunc.fixturenames:
        rows = {"all at once": together()}
        if metafunc.config.getoption("--full"):
            rows |= {name: [drift] for name, drift in TABLE.items()}
        metafunc.parametrize("drifts", rows.values(), ids=rows)


class Rig:
    """The playbook, the servers' logs, and somebody who changes things by hand."""

    def __init__(self, sandbox: dict[str, Any]) -> None:
        self.sandbox = sandbox
        self.hands = Hands(sandbox)
        self.servers = writes.Servers(sandbox)

    def site(self, folder: Path, *options: str, prove: str = "never") -> PlaybookRun:
        """Run the whole playbook; the proof is left to a test of its own."""
        folder.mkdir(exist_ok=True)
        given = ("-e", f"oapip_report_dir={folder}/reports", "-e", f"oapip_prove={prove}")
        done = run_playbook(ROOT / "site.yml", folder, "-l", HOST, *given, *options)
        assert done.code == 0, done.output[-6000:]
        return done

    def proof(self) -> str:
        """Return the note of the last proof, which is the namespace's; empty for none."""
        path = "jsonpath={.metadata.annotations.oapip\\.eoepca\\.org/proved}"
        return self.hands.kubectl("get", "namespace", SPACE, "-o", path)


def named(folder: Path, *, dry: bool) -> set[Change]:
    return {key[1:] for key in changes.union(folder / "reports", dry=dry)}


@pytest.fixture(scope="module")
def rig(sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A deployed engine before the tests; a deployed and proved one after them."""
    made = Rig(sandbox)
    made.site(tmp_path_factory.mktemp("before"))
    yield made
    made.site(tmp_path_factory.mktemp("after"), prove="changed")


def repaired(rig: Rig, folder: Path, drifts: Sequence[Drift]) -> None:
    """Make changes by hand; hold the product to what it must say and do about them."""
    said = {change for drift in drifts for change in drift.changes}
    broker = rig.hands.uid("pod", BROKER)
    state, proof = dump(rig.sandbox, exact=True), rig.proof()
    directory = Directory(rig.hands)
    for drift in drifts:
        drift.make(rig.hands)
    directory.read()

    mark = rig.servers.mark()
    dry = rig.site(folder / "check", "--check", "--diff")
    assert [write.line() for write in rig.servers.since(mark)] == []
    assert named(folder / "check", dry=True) == said
    assert [name for _, kind, name, _ in said if f"{kind} {name}" not in dry.output] == []
    assert STRANGER not in dry.output

    mark = rig.servers.mark()
    real = rig.site(folder / "real", "--diff")
    assert named(folder / "real", dry=False) == said
    assert STRANGER not in real.output
    written = rig.servers.since(mark)
    directory.read()
    # a proof that no longer holds is forgotten, which is the one write beside the repair
    forgotten = {("Namespace", SPACE)} if proof else set()
    touched = {one for write in written for one in directory.objects(write)}
    assert touched == wanted_objects(said) | forgotten
    assert rig.proof() == ""

    mark = rig.servers.mark()
    rig.site(folder / "again")
    assert [write.line() for write in rig.servers.since(mark)] == []
    assert named(folder / "again", dry=False) == set()
    assert rig.hands.uid("pod", BROKER) == broker
    if not any(drift.lasting for drift in drifts):
        left = difference(state, dump(rig.sandbox, exact=True))
        assert [
            line for line in left if "oapip.eoepca.org/proved: only in the first" not in line
        ] == []


def test_the_table_covers_what_is_managed() -> None:
    kinds = {kind for drift in TABLE.values() for _, kind, _, _ in drift.changes}
    kubernetes = {"ClusterRoleBinding", "ConfigMap", "Deployment", "Namespace", "NetworkPolicy"}
    kubernetes |= {"PersistentVolumeClaim", "Secret", "Service", "ServiceAccount", "StatefulSet"}
    keycloak = {"client", "client_scope", "default_client_scope", "group", "permission", "policy"}
    keycloak |= {"resource", "settings"}
    assert kinds == {*kubernetes, *keycloak, "ApisixRoute", "ApisixTls", "Bucket"}
    objects = [(kind, name) for drift in together() for _, kind, name, _ in drift.changes]
    assert len(objects) == len(set(objects))


def test_a_repair_touches_what_was_touched(
    drifts: Sequence[Drift], rig: Rig, tmp_path: Path
) -> None:
    repaired(rig, tmp_path, drifts)


def test_a_repair_makes_the_proof_due(rig: Rig, tmp_path: Path) -> None:
    TABLE["replica-count"].make(rig.hands)
    rig.site(tmp_path, prove="changed")
    report = json.loads((tmp_path / "reports" / f"{HOST}.json").read_text())
    assert named(tmp_path, dry=False) == set(TABLE["replica-count"].changes)
    assert report["proof"]["due"]
    assert report["proof"]["wire"]["failed"] == 0
    assert report["proof"]["job"]["status"] == "successful"
