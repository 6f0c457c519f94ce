"""Three clusters: the canary protects the others; one of them without OIDC.

The two further clusters are started for this and stopped again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import writes
from tests.harness import ROOT, PlaybookRun, run_playbook

SITE = ROOT / "site.yml"
REMOVE = ROOT / "playbooks" / "remove.yml"
OTHERS = "sandbox-2,sandbox-3"


def scale(count: int) -> dict[str, Any]:
    """Bring the sandbox to a number of clusters and return its record."""
    environment = {k: v for k, v in os.environ.items() if k != "CLUSTERS"}
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "up", "--clusters", str(count)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    state = Path(os.environ.get("OAPIP_SANDBOX") or ROOT / ".sandbox")
    record: dict[str, Any] = json.loads((state / "run" / "sandbox.json").read_text())
    return record


@pytest.fixture(scope="module")
def fleet(sandbox: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Three clusters, the first as `make demo` left it."""
    before = len(sandbox["clusters"])
    yield scale(3)
    scale(before)


def play(playbook: Path, folder: Path, *options: str, code: int = 0) -> PlaybookRun:
    report = f"oapip_report_dir={folder}/reports"
    done = run_playbook(playbook, folder, "-e", report, *options, timeout=900)
    assert done.code == code, done.output[-6000:]
    return done


def test_a_failing_canary_leaves_the_others_untouched(
    fleet: dict[str, Any], tmp_path: Path
) -> None:
    servers = writes.Servers(fleet)
    hosts = tmp_path / "hosts.yml"
    canary = {"oapip_shared_storage_class": "nowhere", "oapip_prove": "never"}
    hosts.write_text(json.dumps({"all": {"hosts": {"sandbox-1": canary}}}))
    inventories = ("-i", str(ROOT / "inventories" / "sandbox"), "-i", str(hosts))
    mark = servers.mark()
    done = play(SITE, tmp_path, *inventories, code=2)
    assert "oapip_shared_storage_class" in done.output
    assert [write.line() for write in servers.since(mark)] == []
    assert {result.host for result in done.results} == {"sandbox-1"}

    # mended and run again, all three are done
    done = play(SITE, tmp_path)
    for host in ("sandbox-1", "sandbox-2", "sandbox-3"):
        report = json.loads((tmp_path / "reports" / f"{host}.json").read_text())
        assert report["ok"], report["reason"]
    for cluster in fleet["clusters"]:
        answer = requests.get(
            f"{cluster['gateway_url']}/alice/ogc-api/jobs", verify=fleet["ca_file"], timeout=10
        )
        assert answer.status_code == 401

    mark = servers.mark()
    done = play(SITE, tmp_path)
    assert [write.line() for write in servers.since(mark)] == []


def test_two_clusters_with_one_client_are_refused(fleet: dict[str, Any], tmp_path: Path) -> None:
    servers = writes.Servers(fleet)
    mark = servers.mark()
    done = play(SITE, tmp_path, "-e", "oapip_client_id=oapip-engine", code=2)
    assert "oapip_client_id: oapip-engine is also the client of" in done.output
    assert [write.line() for write in servers.since(mark)] == []


def test_without_oidc_the_engine_is_open_and_proved(fleet: dict[str, Any], tmp_path: Path) -> None:
    play(REMOVE, tmp_path, "-l", OTHERS)
    opened = ("-l", "sandbox-2", "-e", '{"oapip_oidc_enabled": false}')
    play(SITE, tmp_path, *opened)
    report = json.loads((tmp_path / "reports" / "sandbox-2.json").read_text())
    assert report["proof"]["job"]["status"] == "successful"
    assert report["proof"]["wire"]["failed"] == 0
    url = fleet["clusters"][1]["gateway_url"]
    answer = requests.get(f"{url}/oapip/ogc-api/jobs", verify=fleet["ca_file"], timeout=10)
    assert answer.status_code == 200
    servers = writes.Servers(fleet)
    mark = servers.mark()
    play(SITE, tmp_path, *opened)
    assert [write.line() for write in servers.since(mark)] == []
    play(REMOVE, tmp_path, *opened)
