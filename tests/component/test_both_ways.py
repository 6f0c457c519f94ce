"""A module gives the same result in Ansible's worker and as a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import both_ways, run_tasks

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("[!_]*.py"))

Sandbox = dict[str, Any]


def _s3(sandbox: Sandbox) -> dict[str, Any]:
    s3 = sandbox["s3"]
    return {
        "endpoint": s3["endpoint"],
        "region": s3["region"],
        "access_key": s3["access_key"],
        "secret_key": s3["secret_key"],
        "ca_path": sandbox["ca_file"],
    }


# Dry runs and failures: both ways start from the same state and leave it as it is.
CASES: dict[str, tuple[str, Callable[[Sandbox], dict[str, Any]]]] = {
    "bucket-to-create": (
        "oapip_storage",
        lambda sandbox: {**_s3(sandbox), "buckets": ["both-ways"]},
    ),
    "wrong-s3-key": (
        "oapip_storage",
        lambda sandbox: {**_s3(sandbox), "secret_key": "wrong-on-purpose", "buckets": ["eoepca"]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_same_result_both_ways(case: str, sandbox: Sandbox, tmp_path: Path) -> None:
    module, params = CASES[case]
    here, sent = both_ways(tmp_path, module, params(sandbox), "--check", "--diff")
    assert here.contract() == sent.contract()
    assert here.status == sent.status


def test_become_and_async_give_the_same_result(sandbox: Sandbox, tmp_path: Path) -> None:
    task: dict[str, Any] = {
        "eoepca.oapip.oapip_storage": {
            **_s3(sandbox),
            "buckets": ["no-such-bucket"],
            "state": "absent",
        }
    }
    tasks = [
        {**task, "name": "here"},
        {**task, "name": "async", "async": 60, "poll": 1},
    ]
    if os.geteuid() == 0:  # becoming oneself needs no sudo
        tasks.append({**task, "name": "become", "become": True})
    done = run_tasks(tmp_path, tasks)
    here = done.of("here").contract()
    assert here["failed"] is False, done.output
    for other in tasks[1:]:
        assert done.of(other["name"]).contract() == here


def test_a_package_is_looked_for_beside_the_playbook_both_ways(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "found.cwl").write_text("cwlVersion: v0.1\n")
    (tmp_path / "beside.cwl").write_text("cwlVersion: v0.2\n")
    told = {
        "found.cwl": "its cwlVersion is 'v0.1'",
        "beside.cwl": "its cwlVersion is 'v0.2'",
        "nowhere.cwl": "reading nowhere.cwl: there is no such file beside the playbook",
    }
    for src, words in told.items():
        params = {"url": "https://localhost:1/ogc-api", "src": src}
        here, sent = both_ways(tmp_path, "oapip_process", params)
        assert words in here.result["msg"]
        assert here.contract() == sent.contract()


def test_every_module_refuses_an_unknown_option_both_ways(tmp_path: Path) -> None:
    tasks = [
        {
            "name": f"{module} {way}",
            f"eoepca.oapip.{module}": {"no_such_option": 1},
            **({"environment": {"OAPIP_TEST_SENT": "1"}} if way == "sent" else {}),
        }
        for module in MODULES
        for way in ("here", "sent")
    ]
    done = run_tasks(tmp_path, tasks)
    assert len(done.results) == len(tasks), done.output
    for module in MODULES:
        here, sent = done.of(f"{module} here"), done.of(f"{module} sent")
        assert here.status == sent.status == "ignored", (here, sent)
        assert "no_such_option" in here.result["msg"]
        # A module process names one mistake, the worker all of them.
        assert "no_such_option" in sent.result["msg"] or sent.result["msg"] in here.result["msg"]
        assert "Traceback" not in f"{here.result}{sent.result}"
