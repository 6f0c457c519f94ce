# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Files of the controller: compared, and written in one step."""

from __future__ import annotations

import os
import re
import tempfile
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

NAME_BYTES = 200
"""Length of a file name that every file system takes, with room for a temporary one."""


class Sink(t.Protocol):
    """What a download is written to; it begins anew with ``seek(0)`` and ``truncate()``."""

    def write(self, data: bytes, /) -> t.Any:
        """Take the next bytes."""

    def seek(self, place: int, /) -> t.Any:
        """Go back to the beginning."""

    def truncate(self) -> t.Any:
        """Forget what follows."""


class DifferentError(Exception):
    """What is written differs from the file it is compared with."""


class Against:
    """A sink that compares what is written with a file.

    :raises DifferentError: at the first bytes that differ.
    """

    def __init__(self, file: t.BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes, /) -> None:
        """Compare the next bytes."""
        if self._file.read(len(data)) != data:
            raise DifferentError

    def seek(self, place: int, /) -> None:
        """Compare from there on."""
        self._file.seek(place)

    def truncate(self) -> None:
        """Forget nothing: nothing is kept."""

    def end(self) -> None:
        """Compare the ends."""
        if self._file.read(1):
            raise DifferentError


def file_change(path: str, kind: str = "file") -> Change:
    """Return the change that saving to a file (or below a folder) is."""
    return Change("update" if os.path.exists(path) else "create", kind, path)


def differs(path: str, data: bytes) -> bool:
    """Whether a file is missing or holds something else."""
    try:
        with open(path, "rb") as file:
            return file.read() != data
    except OSError:
        return True


def save(path: str, write: t.Callable[[t.BinaryIO], t.Any]) -> None:
    """Write a file of the controller in one step, readable by its owner.

    :raises OapipError: it cannot be written; or what ``write`` raises, and then it is as it was.
    """
    try:
        handle, name = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        reason = error.strerror or "it cannot be written"
        raise OapipError(f"saving to {path}", reason, "Check the path.") from None


def safe_name(text: str) -> str:
    """Return a name made of a text of another's: no path, not hidden, not too long."""
    kept = re.sub(r"[^\w.+=@,() -]", "_", text).encode()[-NAME_BYTES:].decode(errors="ignore")
    return kept.strip(" .") or "_"
