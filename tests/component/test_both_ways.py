"""A module gives the same result in Ansible's worker and as a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.harness import both_ways, run_tasks
from tests.ogc_double import Asked, Double, Engine, Reply, serving

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


@pytest.fixture
def clip() -> Iterator[Double]:
    """A server with a process that says nothing of its inputs."""
    engine = Engine()
    about = {"id": "clip", "jobControlOptions": ["async-execute"]}

    def answer(asked: Asked) -> Reply:
        if asked.method == "GET" and asked.path.endswith("/processes/clip"):
            return Reply(200, about)
        return engine(asked)

    engine.packages["clip"] = "cwl"
    with serving(answer) as double:
        yield double


def test_inputs_are_the_same_both_ways(tmp_path: Path, clip: Double) -> None:
    """Files are those of the controller, beside the playbook; dates are text."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "area.geojson").write_text('{"type": "Point", "day": "2024-01-01"}')
    (tmp_path / "style.txt").write_text("a: 2024-01-01\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    whole = {"path": str(tmp_path / "picture.png"), "media_type": "image/x-own"}
    params = {
        "url": f"{clip.url}/alice/ogc-api",
        "process_id": "clip",
        "inputs": {"day": date(2024, 1, 1), "days": [date(2024, 2, 1)], "n": 1.5, "on": True},
        "input_files": {"area": "area.geojson", "style": ["style.txt", whole]},
        "state": "started",
    }
    here, sent = both_ways(tmp_path, "oapip_job", params)
    assert (here.status, sent.status) == ("ok", "ok"), (here, sent)
    first, second = (json.loads(one.body)["inputs"] for one in clip.asked if one.method == "POST")
    assert first == second
    assert first == {
        "day": "2024-01-01",
        "days": ["2024-02-01"],
        "n": 1.5,
        "on": True,
        "area": {
            "value": {"type": "Point", "day": "2024-01-01"},
            "mediaType": "application/geo+json",
        },
        "style": [
            {"value": "a: 2024-01-01\n", "mediaType": "text/plain"},
            {"value": "iVBORwA=", "mediaType": "image/x-own", "encoding": "base64"},
        ],
    }
    # what is shown of a task holds no file
    assert sent.result["invocation"]["module_args"]["input_files"] == params["input_files"]
    assert "iVBORwA=" not in str(sent.result)


def test_wrong_inputs_are_told_the_same_both_ways(tmp_path: Path, clip: Double) -> None:
    (tmp_path / "beside.txt").write_text("x")
    cases: dict[str, dict[str, Any]] = {
        "reading input n: a number in it is not finite": {"inputs": {"n": float("nan")}},
        "reading gone.txt: there is no such file beside": {"input_files": {"n": "gone.txt"}},
        "reading the file of input n: it is no path": {"input_files": {"n": 3}},
        "reading the file of input n: it is no path, nor": {"input_files": {"n": {"path": [1]}}},
        "reading the file of input n: /: Is a directory": {"input_files": {"n": "/"}},
        "it is in inputs too": {"inputs": {"n": 1}, "input_files": {"n": "beside.txt"}},
        "input_files": {"input_files": [1]},
    }
    params = {"url": f"{clip.url}/alice/ogc-api", "process_id": "clip"}
    tasks = [
        {
            "name": f"{words} {way}",
            "eoepca.oapip.oapip_job": {**params, **given},
            **({"environment": {"OAPIP_TEST_SENT": "1"}} if way == "sent" else {}),
        }
        for words, given in cases.items()
        for way in ("here", "sent")
    ]
    done = run_tasks(tmp_path, tasks)
    for words in cases:
        here, sent = (done.of(f"{words} {way}").contract() for way in ("here", "sent"))
        assert words in here["msg"]
        assert words in sent["msg"]
        assert here.get("error") == sent.get("error")
    assert clip.writes() == []


def test_files_of_a_command_line_and_of_a_job_that_is_there(tmp_path: Path, clip: Double) -> None:
    """On a command line, options are texts; what is waited for or dismissed needs no file."""
    (tmp_path / "area.geojson").write_text('{"type": "Point"}')
    given = f"""url={clip.url}/alice/ogc-api process_id=clip state=started inputs='{{"n": 1}}'"""
    given += """ input_files='{"area": "area.geojson"}'"""
    gone = {"job_id": "1", "state": "dismissed", "input_files": {"n": "gone"}}
    gone["url"] = f"{clip.url}/alice/ogc-api"
    sent = {"environment": {"OAPIP_TEST_SENT": "1"}}
    done = run_tasks(
        tmp_path,
        [
            {"name": "here", "eoepca.oapip.oapip_job": given},
            {"name": "sent", "eoepca.oapip.oapip_job": given, **sent},
            {"name": "gone", "eoepca.oapip.oapip_job": gone},
            {"name": "gone, sent", "eoepca.oapip.oapip_job": gone, **sent},
        ],
    )
    assert [one.status for one in done.results] == ["ok"] * 4, done.output
    first, second = (json.loads(one.body)["inputs"] for one in clip.asked if one.method == "POST")
    area = {"value": {"type": "Point"}, "mediaType": "application/geo+json"}
    assert first == second == {"n": 1, "area": area}


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
