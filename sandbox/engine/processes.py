"""Deployed processes: the database's rows and, apart from them, the files in users' folders.

The two are kept apart because the kernel does: stale package files and rows without code are
among the things a client meets.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import md5
from pathlib import Path
from urllib.parse import quote

from .descriptions import is_hidden
from .flavours import Flavour
from .packages import Package, PackageError, read_package
from .tokens import ANONYMOUS


@dataclass(frozen=True)
class Process:
    """A deployed process, and whose it is."""

    owner: str
    package: Package


class ProcessStore:
    """Rows (`db.json`), service folders and package files of one engine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._database = root / "db.json"
        self._rows: dict[str, dict[str, str]] = {}
        if self._database.exists():
            self._rows = json.loads(self._database.read_text())

    def folder(self, user: str) -> Path:
        """A user's folder; made on the first request, whatever the name."""
        path = self.root / "users" / ("u-" + quote(user, safe=""))
        (path / "temp").mkdir(parents=True, exist_ok=True)
        return path

    def own(self, user: str, identifier: str) -> Process | None:
        """The user's own process."""
        code = self._rows.get(user, {}).get(identifier)
        return Process(user, _package(code, identifier)) if code is not None else None

    def find(self, user: str, identifier: str) -> Process | None:
        """The user's own process, else the anonymous user's, which everybody shares."""
        return self.own(user, identifier) or self.own(ANONYMOUS, identifier)

    def listed(self, user: str, flavour: Flavour) -> tuple[list[Process], int]:
        """Processes a list shows, and the count that also holds the hidden ones."""
        owners = [user] if user == ANONYMOUS else [user, ANONYMOUS]
        rows = [(owner, name) for owner in owners for name in self._rows.get(owner, {})]
        shown = [pair for pair in rows if not is_hidden(pair[1], flavour) and "." not in pair[1]]
        found = [self.own(owner, name) for owner, name in shown]
        return [process for process in found if process], len(rows)

    def save_row(self, user: str, identifier: str, code: str) -> None:
        """Insert or replace a row."""
        self._rows.setdefault(user, {})[identifier] = code
        self._write()

    def drop_row(self, user: str, identifier: str) -> None:
        """Remove a row, if there is one."""
        self._rows.get(user, {}).pop(identifier, None)
        self._write()

    def _write(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        partial = self._database.with_suffix(".part")
        partial.write_text(json.dumps(self._rows))
        partial.replace(self._database)

    def code(self, user: str, identifier: str) -> str | None:
        """What the service folder holds: left over when only the rows were lost."""
        path = self._service(user, identifier)
        return path.read_text() if path.exists() else None

    def save_code(self, user: str, identifier: str, code: str) -> None:
        """Write the service folder."""
        path = self._service(user, identifier)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)

    def drop_code(self, user: str, identifier: str) -> None:
        """Remove the service folder."""
        shutil.rmtree(self._service(user, identifier).parent, ignore_errors=True)

    def package_file(self, user: str, identifier: str, kind: str) -> Path:
        """Stored body of the last deployment of that kind (`cwl` or `json`)."""
        return self.folder(user) / f"{quote(identifier, safe='')}.{kind}"

    def has_package(self, user: str, identifier: str) -> bool:
        """The test of immutability: a package file in the caller's own folder."""
        return any(self.package_file(user, identifier, kind).exists() for kind in ("cwl", "json"))

    def cached(self, url: str) -> Path:
        """Where a fetched package is kept for ever."""
        folder = self.root / "cache"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / md5(url.encode(), usedforsecurity=False).hexdigest()

    def _service(self, user: str, identifier: str) -> Path:
        folder = self.folder(user) / "services"
        return folder / quote(identifier, safe="") / "app-package.cwl"


@lru_cache(maxsize=256)
def _package(code: str, identifier: str) -> Package:
    return read_package(code, identifier)


def readable(code: str, identifier: str) -> bool:
    """The code holds a workflow of that name."""
    try:
        _package(code, identifier)
    except PackageError:
        return False
    return True


def stored(path: Path) -> str | None:
    """Text of a stored body, cut at a NUL as C would."""
    if not path.exists():
        return None
    return path.read_bytes().partition(b"\0")[0].decode(errors="surrogateescape")


def execution_unit(body: Mapping[str, object]) -> Mapping[str, object] | None:
    """The unit a JSON package carries; None for the forms the kernel cannot convert."""
    unit = body.get("executionUnit")
    if "processDescription" in body:
        return None
    if isinstance(unit, list):
        unit = unit[0] if unit else None
    if not isinstance(unit, Mapping) or not ("href" in unit or "value" in unit):
        return None
    return unit
