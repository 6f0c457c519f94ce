"""Run a server so that it dies with its supervisor, however that ends.

Usage: child.py PROGRAM [ARGUMENT...]. The process id stays the same (exec).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)

if __name__ == "__main__":
    parent = os.getppid()
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died in between
        sys.exit("the supervisor is gone")
    os.execv(sys.argv[1], sys.argv[1:])
