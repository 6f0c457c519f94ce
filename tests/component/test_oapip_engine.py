"""The OGC modules against the engine stand-in itself, as chart 0.3.22 and as the newest one.

Through Ansible, in the worker and as a module process; no cluster is needed for it.
"""

from __future__ import annotations

import io
import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config
from PIL import Image

from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    oapip_job,
    oapip_job_info,
    oapip_process,
    oapip_process_info,
)
from tests.engine_stand import CWL, OTHER, Stand, call, engine, running
from tests.harness import ROOT, both_ways, run_tasks
from tests.unit_params import params_of

__all__ = ["engine"]


def test_create_again_change_check_absent_again(engine: Stand) -> None:
    def step(actions: list[str], **given: Any) -> None:
        dry = call(oapip_process, engine, check=True, **given)
        before = len(engine.writes())
        real = call(oapip_process, engine, **given)
        assert [one["action"] for one in real["changes"]] == actions
        assert dry["changes"] == real["changes"]
        assert dry["diff"] == real["diff"]
        assert len(engine.writes()) - before == len(actions)

    step(["create"], content=CWL)
    step([], content=CWL)
    step(["update"], content=OTHER)
    step([], content=OTHER)
    found = call(oapip_process_info, engine, package=True)["processes"]
    assert {one["id"]: one.get("package") for one in found} == {"echo": None, "sleeper": OTHER}
    step(["delete"], process_id="sleeper", state="absent")
    step([], process_id="sleeper", state="absent")


def test_a_package_of_several_files_converges(engine: Stand, tmp_path: Path) -> None:
    flow, tool = yaml.safe_load(CWL)["$graph"]
    flow["steps"]["step"]["run"] = "parts/tool.cwl"
    (tmp_path / "parts").mkdir()
    (tmp_path / "flow.cwl").write_text(yaml.safe_dump({"cwlVersion": "v1.2", **flow}))
    for command, changed in (("sleep", True), ("sleep", False), ("true", True), ("true", False)):
        part = {"cwlVersion": "v1.2", **tool, "baseCommand": command}
        (tmp_path / "parts" / "tool.cwl").write_text(yaml.safe_dump(part))
        made = call(oapip_process, engine, src=str(tmp_path / "flow.cwl"))
        assert (made["process_id"], made["changed"]) == ("sleeper", changed)


def test_a_job_is_started_watched_listed_and_dismissed(engine: Stand) -> None:
    call(oapip_process, engine, content=CWL)
    lines: list[str] = []
    given = {"url": engine.url, "process_id": "sleeper", "inputs": {"seconds": 60}}
    started = oapip_job.run(
        params_of(oapip_job, {**given, "state": "started"}), Context(progress=lines.append)
    )
    job_id = started["job_id"]
    assert lines == [f"[localhost] sleeper {job_id[:8]}...: {lines[0].split(': ')[1]}"]
    listed = call(oapip_job_info, engine, process_id="sleeper", status=["running"])["jobs"]
    assert [job["jobID"] for job in listed] == [job_id]
    with pytest.raises(OapipError, match="not over after 2 s") as caught:
        call(oapip_job, engine, job_id=job_id, wait_timeout=2)
    assert caught.value.extra["job_id"] == job_id
    assert call(oapip_job, engine, job_id=job_id, state="dismissed")["changed"]
    assert not call(oapip_job, engine, job_id=job_id, state="dismissed")["changed"]
    assert call(oapip_job_info, engine, job_id=job_id)["jobs"] == []


@pytest.fixture
def stocked(sandbox: dict[str, Any], tmp_path: Path) -> Iterator[tuple[Stand, str]]:
    """An engine whose worker reaches the sandbox's S3, and the presigned URL of a picture there."""
    s3 = sandbox["s3"]
    bucket = f"jobs-{uuid.uuid4().hex[:8]}"
    store: Any = boto3.client(
        "s3",
        endpoint_url=s3["endpoint"],
        aws_access_key_id=s3["access_key"],
        aws_secret_access_key=s3["secret_key"],
        region_name=s3["region"],
        verify=sandbox["ca_file"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    store.create_bucket(Bucket=bucket)
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "green").save(picture, "PNG")
    store.put_object(Bucket=bucket, Key="in.png", Body=picture.getvalue())
    stand = Stand(ca_file=Path(sandbox["ca_file"]))
    env = {
        "STAGEOUT_AWS_SERVICEURL": s3["endpoint"],
        "STAGEOUT_AWS_ACCESS_KEY_ID": s3["access_key"],
        "STAGEOUT_AWS_SECRET_ACCESS_KEY": s3["secret_key"],
        "STAGEOUT_AWS_REGION": s3["region"],
        "STAGEOUT_OUTPUT": bucket,
    }
    stand.source.settings = replace(stand.source.settings, worker_env=env)
    url = store.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "in.png"})
    try:
        with running(stand, tmp_path):
            yield stand, url
    finally:
        for one in store.list_objects_v2(Bucket=bucket).get("Contents", []):
            store.delete_object(Bucket=bucket, Key=one["Key"])
        store.delete_bucket(Bucket=bucket)


def test_the_sample_package_runs_and_its_results_come_back(
    stocked: tuple[Stand, str], sandbox: dict[str, Any], tmp_path: Path
) -> None:
    engine, url = stocked
    template = ROOT / "roles" / "validation" / "templates" / "convert-url.cwl.j2"
    text = template.read_text().replace("{{ validation_image }}", "eoepca/convert:latest")
    call(oapip_process, engine, content=text)
    given = {
        "url": engine.url,
        "process_id": "convert-url",
        "inputs": {"fn": "resize", "url": url, "size": "50%"},
        "dest": str(tmp_path / "results.json"),
        "wait_timeout": 120,
    }
    lines: list[str] = []
    made = oapip_job.run(params_of(oapip_job, given), Context(progress=lines.append))
    assert made["job"]["status"] == "successful"
    assert json.loads((tmp_path / "results.json").read_text()) == made["job_results"]
    assert made["job_id"] in json.dumps(made["job_results"])
    assert "successful" in lines[-1]
    assert len(lines) == len(set(lines)) >= 2
    info = call(oapip_job_info, engine, job_id=made["job_id"], results=True)
    assert info["job_results"] == made["job_results"]
    the_files_of_results_come_from_s3(engine, sandbox, made["job_id"], tmp_path)


def the_files_of_results_come_from_s3(
    engine: Stand, sandbox: dict[str, Any], job_id: str, tmp_path: Path
) -> None:
    s3 = sandbox["s3"]
    folder = tmp_path / "files"
    keys = ("endpoint", "access_key", "secret_key", "region")
    given: dict[str, Any] = {
        "job_id": job_id,
        "assets_dest": str(folder),
        "storage": {**{key: s3[key] for key in keys}, "ca_path": sandbox["ca_file"]},
    }
    assert call(oapip_job, engine, check=True, **given)["changed"]
    assert not folder.exists()
    made = call(oapip_job, engine, **given)
    saved = sorted(path for path in folder.rglob("*") if path.is_file())
    assert sorted(one["path"] for one in made["assets"]) == [str(path) for path in saved]
    assert [path.suffix for path in saved] == [".json", ".png"]
    document, picture = saved
    assert json.loads(document.read_text())["id"] == document.parent.name
    with Image.open(picture) as image:
        assert image.size == (32, 24)
    assert not call(oapip_job, engine, **given)["changed"]
    picture.write_bytes(bytes(picture.stat().st_size))
    for check in (True, False):
        again = call(oapip_job, engine, check=check, **given)
        assert [one["path"] for one in again["assets"] if one["changed"]] == [str(picture)]
    with Image.open(picture) as image:
        assert image.size == (32, 24)
    task = {"name": "again", "eoepca.oapip.oapip_job": {"url": engine.url, **given}}
    done = run_tasks(tmp_path, [task], "-vvvv", "--diff")
    assert [one.result["changed"] for one in done.results] == [False], done.output[-2000:]
    assert s3["secret_key"] not in done.output
    given["storage"]["secret_key"] = "no-such-key"
    with pytest.raises(OapipError, match=r"downloading s3://.* in S3 \(HTTP 403") as caught:
        call(oapip_job, engine, **given)
    assert caught.value.extra["job_id"] == job_id
    assert "no-such-key" not in str(caught.value)


def test_both_ways_through_ansible_with_progress_and_no_token(
    engine: Stand, tmp_path: Path
) -> None:
    base = {"url": engine.url, "token": "no-such-token-in-any-output"}
    names = itertools.count()

    def task(module: str, **given: Any) -> dict[str, Any]:
        return {"name": f"task {next(names)}", f"eoepca.oapip.{module}": {**base, **given}}

    job: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 0}}
    done = run_tasks(
        tmp_path,
        [
            task("oapip_process", content=CWL),
            task("oapip_process", content=CWL),
            task("oapip_job", **job, state="started"),
            task("oapip_process", content="cwlVersion: v9"),
        ],
        "-vvvv",
        "--diff",
    )
    states = [result.status for result in done.results]
    assert states == ["ok", "ok", "ok", "ignored"], done.output[-3000:]
    assert [result.result["changed"] for result in done.results[:3]] == [True, False, True]
    assert "] sleeper " in done.output
    assert "no-such-token-in-any-output" not in done.output
    assert "Traceback" not in done.output
    for module, given in (
        ("oapip_process", {"content": OTHER}),
        ("oapip_process", {"content": "cwlVersion: v9"}),
        ("oapip_process_info", {"package": True}),
        ("oapip_job", job),
        ("oapip_job_info", {}),
    ):
        here, sent = both_ways(tmp_path, module, {**base, **given}, "--check", "--diff")
        assert here.contract() == sent.contract(), module
        assert here.status == sent.status
