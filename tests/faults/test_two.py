"""Two controllers at once: on one cluster, and on two that share Keycloak and the object store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.component.test_fleet import scale
from tests.faults.dump import difference, dump, facts, holder, merged
from tests.faults.kill import REMOVE, SITE
from tests.faults.stranger import Stranger
from tests.harness import PlaybookRun, Running, run_playbook, start_playbook

HOST = "sandbox-1"
ALWAYS = ("-e", "oapip_prove=always")


def begin(folder: Path, name: str, *options: str, host: str = HOST) -> Running:
    """Start site.yml as one of several, with a folder of its own."""
    own = folder / name
    own.mkdir()
    return start_playbook(SITE, own, "-l", host, "-e", f"oapip_report_dir={own}", *options)


def report(folder: Path, name: str, host: str = HOST) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / name / f"{host}.json").read_text())
    return loaded


def play(playbook: Path, folder: Path, *options: str) -> PlaybookRun:
    done = run_playbook(playbook, folder, "-e", f"oapip_report_dir={folder}", *options, timeout=900)
    assert done.code == 0, done.output[-6000:]
    return done


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[None]:
    """The cluster is deployed and proved when the test begins, and when it has ended."""
    play(SITE, tmp_path, "-l", HOST)
    yield
    play(SITE, tmp_path, "-l", HOST)


@pytest.mark.usefixtures("deployed")
def test_of_three_at_once_one_works_one_waits_and_one_stops(
    sandbox: dict[str, Any], tmp_path: Path, full: bool
) -> None:
    there = dump(sandbox, HOST)
    if full:
        play(REMOVE, tmp_path, "-l", HOST)
    with Stranger(sandbox) as stranger:
        patient = {
            name: begin(tmp_path, name, "-e", "oapip_lock_wait=600", *ALWAYS)
            for name in ("one", "other")
        }
        while not (first := holder(sandbox, HOST)):
            assert all(running.process.poll() is None for running in patient.values())
        hasty = begin(tmp_path, "hasty").wait()
        ends = {name: running.wait() for name, running in patient.items()}
    assert hasty.code == 2
    assert f"{first} since" in hasty.output
    assert "reason" in report(tmp_path, "hasty")
    for name, end in ends.items():
        assert end.code == 0, end.output[-6000:]
        assert report(tmp_path, name)["ok"]
        assert report(tmp_path, name)["proof"]["wire"]["failed"] == 0
    waited = [name for name, end in ends.items() if f"{first} since" in end.output]
    assert len(waited) == 1
    assert report(tmp_path, waited[0])["changes"] == []
    assert stranger.breaches == []
    assert holder(sandbox, HOST) == ""
    assert difference(there, dump(sandbox, HOST)) == []


@pytest.fixture
def two(sandbox: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Two clusters, the second one empty."""
    before = len(sandbox["clusters"])
    yield scale(2)
    scale(before)


@pytest.mark.full  # the fleet's tests run clusters at once too, from one controller
def test_two_clusters_with_one_keycloak_at_once(two: dict[str, Any], tmp_path: Path) -> None:
    hosts = [cluster["name"] for cluster in two["clusters"]]
    play(REMOVE, tmp_path)
    gone = {host: dump(two, host) for host in hosts}
    alone: dict[str, Any] = {}
    for host in hosts:  # each on its own
        play(SITE, tmp_path, "-l", host)
        alone[host] = dump(two, host)
        play(REMOVE, tmp_path, "-l", host)
    running = {host: begin(tmp_path, host, host=host) for host in hosts}
    for host, one in running.items():
        end = one.wait()
        assert end.code == 0, end.output[-6000:]
        assert report(tmp_path, host, host)["ok"]
    for host in hosts:
        at_once = dump(two, host)
        # what the other one has in Keycloak is there too
        ours = {name: at_once.get(name) for name in alone[host] if name not in gone[host]}
        wanted = {name: state for name, state in alone[host].items() if name in ours}
        assert difference(wanted, ours) == []
    # what both write to: neither may undo what the other one did there
    for name in (name for name in gone[HOST] if name.startswith("keycloak: ")):
        ends = [alone[host][name] for host in hosts]
        assert facts(at_once[name]) == merged(gone[HOST][name], *ends), name
    written = f"keycloak: client {two['token_client']}"
    scopes = [set(state[written]["defaultClientScopes"]) for state in (gone[HOST], at_once)]
    assert len(scopes[1] - scopes[0]) == len(hosts)
    play(REMOVE, tmp_path, "-l", hosts[1])
