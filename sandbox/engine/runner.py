"""The worker: runs a job's CWL with cwltool in a process group of its own, then stages out.

Messages and progress are those of the real runner; cwltool stands in for Calrissian.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .images import commands_of
from .jobs import ACCEPTED, Job, JobStore
from .packages import Package, images, ports, required, without_containers
from .processes import ProcessStore
from .settings import Settings
from .stageout import StageOutError, stage_out

log = logging.getLogger(__name__)
SettingsReader = Callable[[], Awaitable[Settings | None]]
Watcher = Callable[[Job], Awaitable[None]]
_TICK = 0.25
_CHILD = Path(__file__).parents[1] / "child.py"  # it dies with the engine
# `python -m cwltool` exits with 0 also when the workflow failed.
_CWLTOOL = "import sys; from cwltool.main import main; sys.exit(main())"
_MISSING = (
    "The <{}> argument was not specified in DataInputs but is required according to "
    "the ZOO ServicesProvider configuration file."
)
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")


class JobError(RuntimeError):
    """A job failed; the text is what its results will say."""


@dataclass(frozen=True)
class Order:
    """What to run for a job: the package as it was when the job was accepted."""

    job: Job
    package: Package
    inputs: Mapping[str, Any]
    settings: SettingsReader
    watch: Watcher


class Runner:
    """Tasks and process groups of one engine's jobs."""

    def __init__(self, jobs: JobStore, processes: ProcessStore, trust: Path) -> None:
        self._jobs = jobs
        self._processes = processes
        self._trust = trust
        self._tasks: dict[str, asyncio.Task[None]] = {}
        _reap(jobs.root)

    def start(self, order: Order) -> None:
        """Run a job in the background."""
        job_id = order.job.job_id
        task = asyncio.create_task(self._run(order))
        self._tasks[job_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job_id, None))

    async def stop(self, job_id: str) -> None:
        """Kill a job's process group and forget its task."""
        task = self._tasks.pop(job_id, None)
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Stop all jobs."""
        await asyncio.gather(*(self.stop(job_id) for job_id in list(self._tasks)))

    async def _run(self, order: Order) -> None:
        job = order.job
        try:
            settings = await self._worker(order)
            missing = [name for name in required(order.package) if name not in order.inputs]
            if missing:
                job.fail("MissingParameterValue", _MISSING.format(missing[0]), ACCEPTED)
            else:
                job.succeed(await self._execute(order, settings))
        except (JobError, StageOutError) as error:
            job.fail("NoApplicableCode", str(error))
        except Exception:
            log.exception("job %s", job.job_id)
            job.fail("NoApplicableCode", "The stand-in engine failed, see its log.")
        self._jobs.save(job)
        await order.watch(job)

    async def _worker(self, order: Order) -> Settings:
        """Wait for a ready worker: without one the job stays in the queue."""
        while True:
            settings = await order.settings()
            if settings and settings.worker_ready:
                return settings
            await asyncio.sleep(1)

    async def _execute(self, order: Order, settings: Settings) -> dict[str, Any]:
        job = order.job
        await self._tell(order, 3, "upload required files")
        path = self._offered(order.package)
        work = self._jobs.folder(job.job_id) / "work"
        work.mkdir(parents=True, exist_ok=True)
        (work / "app-package.cwl").write_text(without_containers(order.package.cwl))
        (work / "inputs.json").write_text(json.dumps(_job_order(order)))
        await self._tell(order, 18, "Processing environment created, preparing execution")
        try:
            code = await self._cwltool(order, settings, work, path)
        finally:
            self._keep_log(job, work)
        if code:
            raise JobError(_reason(work / "job.log"))
        await self._tell(order, 90, "delivering outputs, logs and usage report")
        name, folder = _first_folder(json.loads((work / "outputs.json").read_text()))
        collection = await asyncio.to_thread(
            stage_out, folder, settings.worker_env, job.job_id, self._trust
        )
        shutil.rmtree(work, ignore_errors=True)
        await self._tell(order, 100, "delivering outputs, logs and usage report")
        return {name: {"value": collection}}

    async def _tell(self, order: Order, progress: int, message: str) -> None:
        order.job.advance(progress, message)
        self._jobs.save(order.job)
        await order.watch(order.job)

    def _offered(self, package: Package) -> list[Path]:
        folders: list[Path] = []
        for image in images(package.cwl):
            folder = commands_of(image)
            if folder is None:
                raise JobError(
                    f'Back-off pulling image "{image}": ImagePullBackOff '
                    "(the sandbox does not offer this image's commands)"
                )
            folders.append(folder)
        return folders

    async def _cwltool(
        self, order: Order, settings: Settings, work: Path, images_path: list[Path]
    ) -> int:
        """Run cwltool; its exit code. A cancelled task leaves no process behind."""
        pod_env = {**settings.pod_env, **_trusting(self._trust)}
        env = _environment(work, images_path) | pod_env
        kept = [f"--preserve-environment={name}" for name in (*pod_env, "SANDBOX_PYTHON")]
        entry = f"#{order.package.identifier}" if "$graph" in order.package.cwl else ""
        command = [sys.executable, "-I", str(_CHILD), sys.executable, "-c", _CWLTOOL]
        command += ["--no-container", "--disable-color", *kept]
        command += ["--outdir", "out", "--tmpdir-prefix", "tmp/", "--rm-tmpdir"]
        command += [f"app-package.cwl{entry}", "inputs.json"]
        with (work / "outputs.json").open("wb") as out, (work / "job.log").open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=work, env=env, stdout=out, stderr=err, start_new_session=True
            )
        try:
            await self._tell(order, 20, "execution submitted")
            while True:
                try:
                    return await asyncio.wait_for(process.wait(), _TICK)
                except TimeoutError:
                    await self._tell(order, min(order.job.progress + 6, 80), "execution submitted")
        finally:
            _kill(process.pid)
            await process.wait()

    def _keep_log(self, job: Job, work: Path) -> None:
        """The tool's log stays readable under /{user}/temp/."""
        name = f"{job.job_id}/job.log"
        place = self._processes.folder(job.user) / "temp" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (work / "job.log").exists():
            place.write_text(_QUERY.sub(r"\1?...", (work / "job.log").read_text(errors="replace")))
            job.logs = [name]

    def forget(self, job: Job) -> None:
        """Remove a dismissed job's record, results and files."""
        shutil.rmtree(self._processes.folder(job.user) / "temp" / job.job_id, ignore_errors=True)
        self._jobs.remove(job.job_id)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _reap(folder: Path) -> None:
    """Kill what an engine that was itself killed left at work under its jobs' folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(folder):
                os.kill(int(entry.name), signal.SIGKILL)


def _trusting(trust: Path) -> dict[str, str]:
    names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
    return dict.fromkeys(names, str(trust))


def _environment(work: Path, folders: list[Path]) -> dict[str, str]:
    """Nothing of the engine's own environment but the PATH, after the image's commands."""
    (work / "tmp").mkdir(exist_ok=True)
    path = [*map(str, folders), os.environ.get("PATH", "/usr/bin:/bin")]
    python = {"SANDBOX_PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"}
    return {"PATH": os.pathsep.join(path), "HOME": str(work), "LANG": "C.UTF-8", **python}


def _job_order(order: Order) -> dict[str, Any]:
    """CWL's job order: declared inputs only, `{"value": ..}` and `{"href": ..}` unwrapped."""
    kinds = {
        name: port.get("type") for name, port in ports(order.package.workflow, "inputs").items()
    }
    return {
        name: _value(value, str(kinds[name]))
        for name, value in order.inputs.items()
        if name in kinds
    }


def _value(value: Any, kind: str) -> Any:
    if isinstance(value, list):
        return [_value(item, kind) for item in value]
    if isinstance(value, dict) and ("value" in value or "href" in value):
        value = value.get("value", value.get("href"))
    if "Directory" in kind and isinstance(value, str):
        raise JobError("Stage-in of a Directory input is not offered by the sandbox")
    if "File" in kind and isinstance(value, str):
        return {"class": "File", "location": value}
    return value


def _first_folder(outputs: Mapping[str, Any]) -> tuple[str, Path]:
    """The first Directory: stage-out knows nothing else."""
    for name, value in outputs.items():
        if isinstance(value, dict) and value.get("class") == "Directory":
            return name, Path(value["path"])
    raise JobError("Stage-out failed: the workflow has no Directory output")


def _reason(path: Path) -> str:
    """Last telling lines of a log, without query strings, which may be signatures."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    told = [line for line in lines if line and not line.startswith("INFO")]
    return "Execution failed: " + _QUERY.sub(r"\1", " | ".join(told[-4:]))[-800:]
