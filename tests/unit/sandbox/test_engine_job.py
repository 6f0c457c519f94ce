"""The sample package from deployment to objects, with a bucket and a web server in memory."""

from __future__ import annotations

import asyncio
import io
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

from sandbox.engine.jobs import JobStore
from sandbox.engine.processes import ProcessStore
from sandbox.engine.runner import Runner
from tests.unit.sandbox.engine_double import Client, Got, running

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "roles" / "validation" / "templates" / "convert-url.cwl.j2"
EXECUTION = "/alice/ogc-api/processes/convert-url/execution"
ASYNC = "respond-async;return=representation"


def sample(image: str = "eoepca/convert:latest") -> str:
    """The package as the role renders it."""
    return SAMPLE.read_text().replace("{{ validation_image }}", image)


class Bucket(dict[str, bytes]):
    """A bucket that takes PUT and gives GET, and a picture to fetch."""

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async def put(request: web.Request) -> web.Response:
            body = await request.read()
            if "aws-chunked" in request.headers.get("Content-Encoding", ""):
                body = body.split(b"\r\n", 2)[1]
            self[request.path] = body
            return web.Response()

        async def get(request: web.Request) -> web.Response:
            body = self.get(request.path)
            return web.Response(body=body, status=200 if body else 404)

        app = web.Application(client_max_size=2**24)
        app.router.add_put("/{key:.*}", put)
        app.router.add_get("/{key:.*}", get)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def picture(width: int, height: int) -> bytes:
    """A PNG of that size."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(file, "PNG")
    return file.getvalue()


def bind(engine: Client, endpoint: str) -> None:
    """Give the worker its bucket."""
    env = {
        "STAGEOUT_AWS_SERVICEURL": endpoint,
        "STAGEOUT_AWS_ACCESS_KEY_ID": "key",
        "STAGEOUT_AWS_SECRET_ACCESS_KEY": "secret",
        "STAGEOUT_AWS_REGION": "us-east-1",
        "STAGEOUT_OUTPUT": "out",
    }
    engine.double.settings = replace(engine.double.settings, worker_env=env)


async def run(engine: Client, url: str, **body: Any) -> Got:
    """Start the sample."""
    inputs = {"fn": "resize", "url": url, "size": "50%"}
    return await engine("POST", EXECUTION, {"inputs": inputs, **body}, Prefer=ASYNC)


async def finished(engine: Client, job_id: str) -> tuple[dict[str, Any], list[int]]:
    """Poll a job to its end; its status and the progress seen."""
    seen: list[int] = []
    for _ in range(600):
        got: dict[str, Any] = (await engine("GET", f"/alice/ogc-api/jobs/{job_id}")).json
        if got["status"] != "running":
            return got, seen
        seen.append(got["progress"])
        await asyncio.sleep(0.1)
    raise AssertionError(got)


def test_sample_from_package_to_object(tmp_path: Path) -> None:
    bucket = Bucket({"/in/picture.png": picture(64, 48)})

    async def go() -> None:
        async with running(tmp_path) as engine, bucket.served() as endpoint:
            bind(engine, endpoint)
            described = await engine.deploy(text=sample())
            assert "%" not in described.text
            url = f"{endpoint}/in/picture.png?X-Amz-Signature=" + "ab%2F" * 80
            made = await run(engine, url, response="document")
            job_id = made.json["jobID"]
            status, seen = await finished(engine, job_id)
            results = (await engine("GET", f"/alice/ogc-api/jobs/{job_id}/results")).json
            assert status["status"] == "successful", results
            assert seen == sorted(seen)
            assert len(set(seen)) >= 3
            collection = results["converted_image"]["value"]
            assert (collection["type"], collection["id"]) == ("Collection", job_id)
            item = next(link["href"] for link in collection["links"] if link["rel"] == "item")
            assert item.startswith(f"s3://out/processing-results/{job_id}-")
            keys = [key for key in bucket if key.startswith(f"/out/processing-results/{job_id}-")]
            assert {key.rpartition("/")[2] for key in keys} >= {"catalog.json", "collection.json"}
            stored = next(bucket[key] for key in keys if key.endswith("picture-resize.png"))
            assert Image.open(io.BytesIO(stored)).size == (32, 24)
            related = next(link for link in status["links"] if link["rel"] == "related")
            log = await engine("GET", related["href"].removeprefix("https://zoo.example.org"))
            assert "completed success" in log.text
            assert "X-Amz-Signature" not in log.text
            await engine("DELETE", f"/alice/ogc-api/jobs/{job_id}")
            assert not list(tmp_path.rglob(job_id))

    asyncio.run(go())


def test_failures_tell_why(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as engine, Bucket().served() as endpoint:
            bind(engine, endpoint)

            async def reason(url: str) -> str:
                made = await run(engine, url)
                await finished(engine, made.json["jobID"])
                path = f"/alice/ogc-api/jobs/{made.json['jobID']}/results"
                detail: str = (await engine("GET", path)).json["detail"]
                return detail

            await engine.deploy(text=sample("eoepca/unknown:1"))
            assert "ImagePullBackOff" in await reason(endpoint)
            path = "/alice/ogc-api/processes/convert-url"
            await engine("PUT", path, sample(), Content_Type="application/cwl+yaml")
            told = await reason(f"{endpoint}/in/none.png?secret=1")
            assert told.startswith("Execution failed: ")
            assert "secret" not in told

    asyncio.run(go())


def test_missing_settings_fail_the_stage_out(tmp_path: Path) -> None:
    bucket = Bucket({"/in/picture.png": picture(4, 4)})

    async def go() -> None:
        async with running(tmp_path) as engine, bucket.served() as endpoint:
            await engine.deploy(text=sample())
            made = await run(engine, f"{endpoint}/in/picture.png")
            status, _ = await finished(engine, made.json["jobID"])
            assert status["status"] == "failed"
            assert "Stage-out failed" in status["message"]

    asyncio.run(go())


def test_dismissal_kills_the_process_group(tmp_path: Path) -> None:
    tool = "[sleep, '4242']"
    text = sample().partition("    baseCommand:")[0] + f"    baseCommand: {tool}\n"
    text += "    inputs: {fn: string, url: string, size: string}\n    outputs:\n"
    text += "      results: {type: Directory, outputBinding: {glob: .}}\n"

    def sleeping() -> bool:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cmdline").read_bytes() == b"sleep\x004242\x00":
                    return (entry / "cwd").readlink().is_relative_to(tmp_path)
            except OSError:
                continue
        return False

    async def go() -> None:
        async with running(tmp_path) as engine:
            assert (await engine.deploy(text=text)).status == 201
            made = await run(engine, "x")
            for _ in range(200):
                if sleeping():
                    break
                await asyncio.sleep(0.1)
            assert sleeping()
            path = f"/alice/ogc-api/jobs/{made.json['jobID']}"
            assert (await engine("DELETE", path)).json["status"] == "dismissed"
            assert not sleeping()
            assert (await engine("GET", path)).status == 404

    asyncio.run(go())


def test_a_new_engine_ends_what_a_killed_one_left(tmp_path: Path) -> None:
    left = tmp_path / "jobs" / "some-job" / "work"
    left.mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"], cwd=left) as orphan:
        try:
            Runner(JobStore(tmp_path), ProcessStore(tmp_path), tmp_path / "trust.pem")
            assert orphan.wait(5) == -signal.SIGKILL
        finally:
            orphan.kill()
