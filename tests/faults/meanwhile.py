"""Something that goes on beside a test while a `with` block runs."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self


class Meanwhile(threading.Thread):
    """Begins with the block and ends with it; `run` goes on until `over` is set."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()

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
