"""Something that goes on beside a test while a `with` block runs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Meanwhile(threading.Thread, ABC):
    """Begins with the block and ends with it; `go` goes on until `over` is set.

    What `go` raises ends the block with that error, as nobody would know of it otherwise.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._error: BaseException | None = None

    @abstractmethod
    def go(self) -> None:
        """Do it until told to stop."""

    def run(self) -> None:
        """Keep the error for the block."""
        try:
            self.go()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self.join()
        if self._error is None:
            return
        if error is None:
            raise self._error
        error.add_note(f"{type(self).__name__} had ended before: {self._error!r}")
