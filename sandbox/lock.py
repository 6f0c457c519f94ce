"""One command at a time on one sandbox."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from sandbox.errors import SandboxError

#: Hands the lock over the exec from bootstrap to `python -m sandbox`.
INHERITED = "OAPIP_LOCK_FD"


def take(path: Path, command: str) -> int:
    """Take the lock, or say who holds it. The kernel frees it when its holder dies."""
    inherited = os.environ.pop(INHERITED, None)
    if inherited is not None:
        descriptor = int(inherited)
        os.set_inheritable(descriptor, False)  # no server may keep it
        return descriptor
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        os.close(descriptor)
        message = f"another command is at work on this sandbox: {holder or 'unknown'}. Wait for it"
        raise SandboxError(f"{message} (or stop that process), then try again.") from None
    os.ftruncate(descriptor, 0)
    note = f"`{command}`, process {os.getpid()}, since {time.strftime('%H:%M:%S')}\n"
    os.pwrite(descriptor, note.encode(), 0)
    return descriptor


def hand_over(descriptor: int) -> None:
    """Let the next program image in this process hold the lock."""
    os.set_inheritable(descriptor, True)
    os.environ[INHERITED] = str(descriptor)
