# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A process that ends with its parent, however the parent ends.

A run that is killed must not go on writing through its orphans: the next run takes its lock over.
On Linux the kernel sees to that (prctl(2), PR_SET_PDEATHSIG); elsewhere only a parent that is gone
already is noticed. As a program, ``<parent's pid> <program> <arguments>``, it becomes another one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """End this process at once when the thread that started it ends; now, where it has ended."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Become the program that the arguments name."""
    end_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
