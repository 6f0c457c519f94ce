"""The OGC modules against pygeoapi: a server of Part 1 that we did not write, in its own process.

It takes `http://wrong.invalid` for its address, shows three jobs a page and ignores every filter.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from ansible_collections.eoepca.oapip.plugins.module_utils import _job
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    oapip_job,
    oapip_job_info,
    oapip_process,
    oapip_process_info,
)
from tests.lint import venvs
from tests.unit_params import params_of

ROOT = venvs.ROOT
CWL = """\
cwlVersion: v1.2
class: Workflow
id: water
inputs: {}
outputs: {}
steps: {}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running server."""
    constraints = str(ROOT / "constraints.txt")
    venv = venvs.ensure("venv-pygeoapi", "requirements-pygeoapi.txt", "-c", constraints)
    folder = tmp_path_factory.mktemp("pygeoapi")
    script = ROOT / "tests" / "pygeoapi" / "serve.py"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [venv / "bin" / "python", script, folder],
            env=venvs.environment(venv),
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 60
        while not (folder / "port").exists():
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, "it does not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{(folder / 'port').read_text()}"
    finally:
        process.terminate()
        process.wait(10)


class Told(Context):
    """A context that keeps what it is told."""

    def __init__(self, check_mode: bool = False) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        super().__init__(
            check_mode=check_mode, progress=self.lines.append, warn=self.warnings.append
        )


def call(module: ModuleType, url: str, ctx: Context | None = None, **given: Any) -> dict[str, Any]:
    made: dict[str, Any] = module.run(
        params_of(module, {"url": url, "timeout": 10, **given}), ctx or Told()
    )
    return made


def jobs(url: str) -> list[str]:
    return [job["jobID"] for job in call(oapip_job_info, url, limit=1000)["jobs"]]


# What it has


def test_processes_are_listed_and_described(url: str) -> None:
    found = call(oapip_process_info, url, package=True)["processes"]
    assert {one["id"] for one in found} == {"echo", "hello-world", "sleeper"}
    assert {one["package"] for one in found} == {None}
    (one,) = call(oapip_process_info, url, process_id="sleeper")["processes"]
    assert set(one["inputs"]) == {"seconds", "fail", "picture"}
    assert call(oapip_process_info, url, process_id="nope")["processes"] == []


def test_a_token_that_nobody_asked_for_is_no_hindrance(url: str) -> None:
    assert call(oapip_process_info, url, process_id="echo", token="abc.def.ghi")["processes"]
    given: dict[str, Any] = {"process_id": "hello-world", "inputs": {"name": "x"}}
    assert call(oapip_job, url, **given, token="abc.def.ghi")["job"]["status"] == "successful"


# Jobs


def test_a_job_runs_asynchronously_and_its_results_come_back(url: str, tmp_path: Path) -> None:
    dest = tmp_path / "results.json"
    ctx = Told()
    given: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 1.5}}
    begin = time.monotonic()
    started = call(oapip_job, url, **given, state="started")
    assert time.monotonic() - begin < 1.4
    job_id = started["job_id"]
    made = call(oapip_job, url, ctx, job_id=job_id, dest=str(dest))
    assert made["job"]["jobID"] == job_id
    assert made["job_results"] == {"outputs": [{"id": "slept", "value": 1.5}]}
    assert dest.exists()
    assert ctx.lines[-1] == f"[localhost] job {job_id[:8]}...: successful"
    again = call(oapip_job_info, url, job_id=job_id, results=True)
    assert again["job_results"] == made["job_results"]


def test_a_job_runs_synchronously_and_keeps_its_id(url: str) -> None:
    given: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 0}}
    for response, results in (
        ("raw", {"id": "slept", "value": 0}),
        ("document", {"outputs": [{"id": "slept", "value": 0}]}),
    ):
        made = call(oapip_job, url, **given, mode="sync", response=response)
        assert made["job_results"] == results
        assert made["job"]["status"] == "successful"
        assert made["job_id"] in jobs(url)


def test_results_that_are_no_json_are_told_by_type_and_size(url: str) -> None:
    given: dict[str, Any] = {
        "process_id": "sleeper",
        "inputs": {"seconds": 0, "picture": True},
        "response": "raw",
    }
    for mode in ("sync", "async"):
        assert call(oapip_job, url, **given, mode=mode)["job_results"] == {
            "type": "image/png",
            "size": 8,
        }


def test_check_mode_starts_nothing(url: str) -> None:
    given: dict[str, Any] = {"process_id": "hello-world", "inputs": {"name": "x"}}
    before = jobs(url)
    dry = call(oapip_job, url, Told(check_mode=True), **given)
    assert jobs(url) == before
    real = call(oapip_job, url, **given)
    assert dry["changes"] == real["changes"]
    assert set(jobs(url)) == {*before, real["job_id"]}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_failure_is_told_in_the_servers_words(url: str, mode: str) -> None:
    given: dict[str, Any] = {"seconds": 0, "fail": "no such scene"}
    with pytest.raises(OapipError, match="Error executing process: no such scene"):
        call(oapip_job, url, process_id="sleeper", inputs=given, mode=mode)


def test_inputs_are_checked_by_the_description(url: str) -> None:
    with pytest.raises(OapipError) as caught:
        call(oapip_job, url, process_id="echo", inputs={"echoInput": "x", "paus": 1})
    assert caught.value.extra["inputs_wrong"] == [
        "paus: the process has no such input (did you mean pause?)",
        "echoInput: it must be one of Echo, Test, 42",
        "pause: it is required",
    ]


def test_dismissed_and_dismissed_again(url: str) -> None:
    given: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 0}}
    job_id = call(oapip_job, url, **given)["job_id"]
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        made = call(oapip_job, url, Told(check), job_id=job_id, state="dismissed")
        assert made["changed"] is changed
    assert call(oapip_job_info, url, job_id=job_id)["jobs"] == []


def test_a_job_dismissed_by_another_ends_the_wait(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "GRACE", 1.0)  # it was never seen
    given: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 30}}
    job_id = call(oapip_job, url, **given, state="started")["job_id"]
    requests.delete(f"{url}/jobs/{job_id}", timeout=10).raise_for_status()
    with pytest.raises(OapipError, match="dismissed by somebody else, or the server lost it"):
        call(oapip_job, url, job_id=job_id)


def test_filters_that_the_server_ignores_hold_over_its_pages(url: str) -> None:
    wanted = []
    for _ in range(4):
        call(oapip_job, url, process_id="hello-world", inputs={"name": "x"}, mode="sync")
        made = call(oapip_job, url, process_id="sleeper", inputs={"seconds": 0}, mode="sync")
        wanted.append(made["job_id"])
    found = call(oapip_job_info, url, process_id="sleeper", status=["successful"])["jobs"]
    assert set(wanted) <= {job["jobID"] for job in found}
    assert {(job["processID"], job["status"]) for job in found} == {("sleeper", "successful")}
    assert len({job["jobID"] for job in found}) == len(found)
    few = call(oapip_job_info, url, process_id="sleeper", limit=4)["jobs"]
    assert len(few) == 4


def test_times_that_the_server_ignores_hold(url: str) -> None:
    given: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 2}}
    job_id = call(oapip_job, url, **given, mode="sync")["job_id"]
    (job,) = call(oapip_job_info, url, job_id=job_id)["jobs"]

    def names(**wanted: Any) -> list[str]:
        return [one["jobID"] for one in call(oapip_job_info, url, limit=1000, **wanted)["jobs"]]

    assert job_id in names(min_duration=1)
    assert job_id not in names(max_duration=1)
    assert job_id in names(datetime=f"{job['created']}/..")
    assert names(datetime="../2001-01-01") == []


def test_what_is_not_there_is_said(url: str) -> None:
    with pytest.raises(OapipError, match="there is no such process"):
        call(oapip_job, url, process_id="nope")
    assert call(oapip_job_info, url, job_id="nope")["jobs"] == []
    assert not call(oapip_job, url, job_id="nope", state="dismissed")["changed"]


# What it has not: Part 2


def test_that_it_cannot_deploy_is_said_by_its_conformance(url: str) -> None:
    words = r"/conformance names no class of Part 2 \(deploy, replace, undeploy\)"
    with pytest.raises(OapipError, match=rf"deploying process water.*{words}"):
        call(oapip_process, url, content=CWL)
    with pytest.raises(OapipError, match=rf"undeploying process echo.*{words}"):
        call(oapip_process, url, process_id="echo", state="absent")
    ctx = Told(check_mode=True)
    dry = call(oapip_process, url, ctx, content=CWL)
    assert dry["changed"]
    (warning,) = ctx.warnings
    assert "names no class of Part 2" in warning
    assert not call(oapip_process, url, process_id="water", state="absent")["changed"]
