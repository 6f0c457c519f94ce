"""From nothing to a sandbox: checks, venv, tools, then `python -m sandbox <arguments>`.

Run by the Makefile with the machine's Python; standard library only.
Usage: bootstrap.py demo|up|... [OPTION...]     a sandbox command, with all it needs
       bootstrap.py run REQUIREMENTS... -- ARGUMENT...   only the venv with these; then python
"""

from __future__ import annotations

import fcntl
import os
import sys
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sandbox import fetch, lock, prerequisites
from sandbox.errors import SandboxError, explain
from sandbox.paths import BASE, CACHE, COLLECTIONS, LOCK, LOGS, ROOT, VENV
from sandbox.progress import Progress

REQUIREMENTS = ("requirements.txt", "sandbox/requirements.txt")
CONSTRAINTS = ROOT / "constraints.txt"
PYTHON = VENV / "bin/python"
#: Commands that start servers; the others need no tools.
STARTERS = ("demo", "up")
READERS = ("status", "summary", "logs")


def main(arguments: list[str]) -> int:
    """Prepare what the command needs, and become it."""
    try:
        if arguments[:1] == ["run"]:
            split = arguments.index("--")
            _prepare(tuple(arguments[1:split]), tools=False)
            _become([*arguments[split + 1 :]])
        command = next((word for word in arguments if not word.startswith("-")), "")
        if command in (*STARTERS, "down"):
            lock.hand_over(lock.take(LOCK, f"make {command}"))
        if command in (*READERS, "down"):
            if not PYTHON.exists():
                raise SandboxError("there is no sandbox here yet: run `make up` or `make demo`")
        else:
            _prepare(REQUIREMENTS, tools=command in STARTERS)
        _become(["-m", "sandbox", *arguments])
    except SandboxError as error:
        print(explain(error), file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    return 1


def _become(arguments: list[str]) -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(COLLECTIONS), str(ROOT)])
    os.environ["PATH"] = os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", "")])
    os.chdir(ROOT)
    os.execv(PYTHON, [str(PYTHON), *arguments])


def _prepare(requirements: tuple[str, ...], *, tools: bool) -> None:
    lanes = fetch.lanes() if tools else []
    stale = _stale(requirements)
    _check(cold=bool(lanes) or not PYTHON.exists(), tools=tools)
    _link()
    if not lanes and not stale:
        return
    with _CacheLock(), Progress() as progress:
        if not (PYTHON.exists() and (VENV / "bin/pip").is_file()):  # pip comes last
            with progress.step("Python environment"):
                venv.create(VENV, with_pip=True, symlinks=True, clear=True)
        lanes = fetch.lanes() if tools else []  # another checkout may have made them meanwhile
        with ThreadPoolExecutor(len(lanes) + 1) as pool:
            work = [partial(_make_all, progress, lane) for lane in lanes]
            if stale:
                work.append(partial(_install, progress, requirements))
            done = list(pool.map(partial(_told_at_once, progress), work))
    if not all(done):
        raise SandboxError("not all is there (see above); what is done is kept: try again")


def _told_at_once(progress: Progress, work: Callable[[], None]) -> bool:
    """Do it; a failure is told now, the other lanes go on."""
    try:
        work()
    except SandboxError as error:
        progress.say(explain(error))
        return False
    return True


def _check(*, cold: bool, tools: bool) -> None:
    if problems := prerequisites.missing(cold=cold and tools):
        raise SandboxError(prerequisites.message(problems))


def _make_all(progress: Progress, lane: list[fetch.Artifact]) -> None:
    for artifact in lane:
        with progress.step(artifact.title):
            artifact.ensure()


def _stamp(requirements: tuple[str, ...]) -> tuple[Path, str]:
    files = [ROOT / name for name in requirements]
    name = "-".join(file.relative_to(ROOT).with_suffix("").as_posix() for file in files)
    stamp = VENV / f".stamp-{name.replace('/', '.')}"
    return stamp, fetch.digest(*files, CONSTRAINTS, sys.version)


def _stale(requirements: tuple[str, ...]) -> bool:
    stamp, digest = _stamp(requirements)
    return not stamp.is_file() or stamp.read_text(encoding="utf-8") != digest


def _install(progress: Progress, requirements: tuple[str, ...]) -> None:
    with progress.step(f"Python packages ({', '.join(requirements)})"):
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / "fetch-python.log"
        log.unlink(missing_ok=True)
        options = [word for name in requirements for word in ("-r", name)]
        pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--no-compile"]
        fetch.run([*pip, "-c", CONSTRAINTS, *options], log, fetch.pip_environment())
        stamp, digest = _stamp(requirements)
        stamp.write_text(digest, encoding="utf-8")


def _link() -> None:
    """Make the checkout importable and findable as the collection eoepca.oapip."""
    link = COLLECTIONS / "ansible_collections/eoepca/oapip"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not (link.is_symlink() and link.resolve() == ROOT):
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT)


class _CacheLock:
    """Checkouts that share a cache fill it one after the other."""

    def __enter__(self) -> None:
        BASE.mkdir(exist_ok=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        self._file = (CACHE / "lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"… another command fills {CACHE}: waiting for it", flush=True)
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
