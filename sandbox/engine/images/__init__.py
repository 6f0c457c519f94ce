"""Images the sandbox offers, each as a folder of commands."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
_OFFERED = {"eoepca/convert": "eoepca-convert"}


def commands_of(image: str) -> Path | None:
    """Folder with an image's commands, whatever registry mirrors it; None if not offered."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    for offered, folder in _OFFERED.items():
        if name == offered or name.endswith("/" + offered):
            return _HERE / folder
    return None
