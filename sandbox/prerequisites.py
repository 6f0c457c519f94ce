"""What the machine must have; everything missing is told at once (standard library only)."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from sandbox.paths import BASE, CACHE, RUN, SOCKET_PATH_MAX, STATE

PYTHON = (3, 11)
JAVA_FOR_MAVEN = 17
GIB = 2**30
DISK_COLD, DISK_WARM = 8 * GIB, 1 * GIB
MEMORY = 4 * GIB

Problem = tuple[str, str]  # what is missing, how to get it


def missing(*, cold: bool) -> list[Problem]:
    """Everything this machine lacks; `cold` means that tools are still to be built."""
    found = [_system(), _python(), _folder_depth(), _disk(cold), _memory()]
    if cold:
        found.append(_maven())
    return [problem for problem in found if problem]


def message(problems: list[Problem]) -> str:
    """One text for all of them."""
    lines = ["The sandbox cannot start on this machine yet:"]
    for what, cure in problems:
        lines += [f"  - {what}", f"      {cure}"]
    return "\n".join(lines)


def _system() -> Problem | None:
    system, machine = platform.system(), platform.machine()
    if (system, machine) == ("Linux", "x86_64"):
        return None
    return f"this is {system} on {machine}", "Use Linux on x86-64 (a virtual machine will do)."


def _python() -> Problem | None:
    if sys.version_info < PYTHON:
        have = platform.python_version()
        cure = "Install it (apt install python3.11 python3.11-venv), then: make PYTHON=python3.11"
        return f"Python {have} is older than 3.11", cure
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        return "Python has no venv", "Install it: apt install python3-venv (dnf: python3 has it)."
    return None


def _maven() -> Problem | None:
    cure = "Install them: apt install maven openjdk-17-jre-headless (dnf install maven)."
    if shutil.which("mvn") is None:
        return "Maven (mvn) is not on PATH", cure
    try:
        answer = subprocess.run(
            ["mvn", "--version"], capture_output=True, text=True, check=False, timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"`mvn --version` does not run: {error}", cure
    version = re.search(r"^Java version: (?:1\.)?(\d+)", answer, re.MULTILINE)
    if version is None:
        return "Maven finds no Java", cure
    if int(version[1]) < JAVA_FOR_MAVEN:
        return f"Maven runs on Java {version[1]}, older than {JAVA_FOR_MAVEN}", cure
    return None


def _disk(cold: bool) -> Problem | None:
    wanted = DISK_COLD if cold else DISK_WARM
    folder = next(path for path in (CACHE, *CACHE.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if free >= wanted:
        return None
    what = f"{free / GIB:.1f} GiB free in {folder}, {wanted / GIB:.0f} GiB are needed"
    return what, "Free some space, or point OAPIP_CACHE at a folder on another disk."


def _memory() -> Problem | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    total = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    if total is None or int(total[1]) * 1024 >= MEMORY:
        return None
    what = f"{int(total[1]) / 2**20:.1f} GiB of memory, {MEMORY / GIB:.0f} GiB are needed"
    return what, "Use a larger machine."


def _folder_depth() -> Problem | None:
    longest = os.fsencode(RUN / "sandbox-99/engine.sock")
    if len(longest) <= SOCKET_PATH_MAX:
        return None
    what = f"{STATE} is too long a path for Unix sockets ({len(longest)} > {SOCKET_PATH_MAX} bytes)"
    hint = "Clone into a shorter path" if STATE == BASE else "Give OAPIP_SANDBOX a shorter path"
    return what, f"{hint}."
