"""Where the sandbox keeps its things (standard library only: used before the venv exists)."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / ".sandbox"
VENV = BASE / "venv"
COLLECTIONS = BASE / "collections"

#: Downloads, build caches and binaries; OAPIP_CACHE lets several checkouts share one.
CACHE = Path(os.environ.get("OAPIP_CACHE") or BASE / "cache").resolve()
BIN = CACHE / "bin"

#: One sandbox's servers; OAPIP_SANDBOX gives a second one beside the first.
STATE = Path(os.environ.get("OAPIP_SANDBOX") or BASE).resolve()
RUN = STATE / "run"
LOGS = STATE / "logs"
ENV_FILE = STATE / "env"
RECORD = RUN / "sandbox.json"
LOCK = STATE / "lock"

#: Linux refuses longer Unix socket addresses (sun_path, unix(7)).
SOCKET_PATH_MAX = 107


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(path)
