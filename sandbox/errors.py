"""The one error a sandbox command ends with."""

from __future__ import annotations

from pathlib import Path


class SandboxError(Exception):
    """A step failed; `log` is the file that tells more, if there is one."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


def explain(error: SandboxError, lines: int = 15) -> str:
    """The message, the log's path and its last lines."""
    text = f"✗ {error}"
    if error.log is None:
        return text
    text += f"\n  log: {error.log}"
    if error.log.is_file():
        tail = error.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        text += "".join(f"\n  | {line}" for line in tail)
    return text
