# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The ends of the log files that a server relates to a job: bounded, clean, and never a failure."""

from __future__ import annotations

import contextlib
import re
import threading
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _ogc
from ansible_collections.eoepca.oapip.plugins.module_utils._deps import requests
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import SECRET

FILES = 10
"""Log files that are read."""

SECONDS = 15.0
"""Seconds that reading all of them may take."""

PATIENCE = 5.0
"""Seconds that one of them may be silent."""

END = 64 * 1024
"""Bytes from the end of a file that are looked at."""

MOST = 16 * 1024 * 1024
"""Bytes that are read of a file whose server cannot send its end alone."""

LINES, WIDTH, TOTAL = 50, 500, 32 * 1024
"""Lines of one file, characters of one line, characters of all files that are kept."""

SHOWN = 10
"""Lines of each file that the error message shows: the last five are the runner's own."""

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]{0,15}://[^\s?\"'<>]+)\?[^\s\"'<>]+", re.IGNORECASE)
_LOGIN = re.compile(r"(\b[a-z][a-z0-9+.-]{0,15}://)[^\s/@\"'<>]+@", re.IGNORECASE)
_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[^\s\"',]+", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)*")
_NAMED = re.compile(
    r"((?:secret|passw(?:or)?d|token|credential|signature|api_?key|access_?key)[\w-]{0,40}"
    r"[\"']?\s{0,9}[=:]\s{0,9}[\"']?)(?!\s)(?:<[^>]*>|[^\s\"',;&]+)",
    re.IGNORECASE,
)


class Tail(t.NamedTuple):
    """The last lines of a log file, or why there are none."""

    url: str
    lines: t.List[str]
    trouble: str = ""


def tails(
    server: _ogc.Server,
    hrefs: t.Sequence[str],
    secrets: t.Collection[str] = (),
    seconds: float = SECONDS,
) -> t.List[Tail]:
    """Return the end of each log file, or what it could not be read for; raises nothing.

    :param hrefs: addresses as the server tells them; only those of the server itself are read.
    :param secrets: texts to hide beside what looks like one.
    """
    found = [Tail(href, [], "it was not read in time") for href in hrefs]
    read = min(len(found), FILES)

    def work() -> None:
        for at, href in enumerate(hrefs):
            if at >= FILES:
                found[at] = Tail(href, [], f"only {FILES} logs are read")
            else:
                found[at] = _tail(server, href, secrets, TOTAL // read)

    # a thread, because a server that drips byte by byte meets no timeout of a request
    reader = threading.Thread(target=work, daemon=True)
    reader.start()
    reader.join(seconds)
    return list(found)


def _tail(server: _ogc.Server, href: str, secrets: t.Collection[str], characters: int) -> Tail:
    url = server.own(href, told=True)
    if not url:
        return Tail(href, [], "it is not on this server")
    try:
        data, whole = _end_of(server, url)
    except OapipError as error:
        return Tail(url, [], f"{error.reason}{error.answered}")
    except (requests.exceptions.RequestException, OSError, ValueError):
        return Tail(url, [], "the connection broke")
    return Tail(url, clean(data, whole, secrets, characters))


def _end_of(server: _ogc.Server, url: str) -> t.Tuple[bytes, bool]:
    """Return the last bytes of a file, and whether they are all of it."""
    response = server.visit(
        "GET",
        url,
        "reading a log",
        headers={
            "Accept": "text/plain, */*;q=0.5",
            "Accept-Encoding": "identity",
            "Range": f"bytes=-{END}",
        },
        timeout=min(server.timeout, PATIENCE),
        retry=False,
        stream=True,
    )
    with contextlib.closing(response):
        if response.status_code == 416:  # an empty file has no end
            return b"", True
        if response.status_code not in (200, 206):
            raise OapipError("reading a log", f"HTTP {response.status_code}")
        if "html" in response.headers.get("Content-Type", ""):
            raise OapipError("reading a log", "it is a page, not a log")
        kept, size = b"", 0
        for chunk in response.iter_content(16 * 1024):
            size += len(chunk)
            kept = (kept + chunk)[-END:]
            if size > MOST:
                raise OapipError("reading a log", f"it is larger than {MOST // 1024**2} MiB")
        start = response.headers.get("Content-Range", "bytes 0-")
        return kept, size <= END and start.startswith("bytes 0-")


def clean(
    data: bytes, whole: bool, secrets: t.Collection[str] = (), characters: int = TOTAL
) -> t.List[str]:
    """Return the last lines of a log as text that a terminal can show and anybody may read.

    Escape sequences and control characters are left out, and what looks like a secret is hidden,
    before anything is cut: half a secret would no longer be known as one.

    :param whole: whether the data begin where the log begins, so that the first line is whole.
    """
    lines = _ESCAPE.sub("", data.decode("utf-8", "replace")).split("\n")
    kept: t.List[str] = []
    for told in reversed(lines[0 if whole else 1 :]):
        line = _plain(told, secrets)
        line = line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
        characters -= len(line)
        if characters < 0 or len(kept) == LINES:
            break
        if line:
            kept.insert(0, line)
    return kept


def _plain(line: str, secrets: t.Collection[str]) -> str:
    line = line.rstrip("\r \t").rpartition("\r")[2]  # a progress bar's last state
    line = "".join(one if one.isprintable() else " " * one.isspace() for one in line)
    for secret in sorted((one for one in secrets if len(one) > 3), key=len, reverse=True):
        line = line.replace(secret, SECRET)
    line = line[: WIDTH * 8]  # the patterns below may take the square of the length
    line = _QUERY.sub(r"\1?...", _LOGIN.sub(r"\1", line))
    line = _JWT.sub(SECRET, _SCHEME.sub(rf"\1 {SECRET}", line))
    return _NAMED.sub(rf"\1{SECRET}", line)


def shown(found: t.Iterable[Tail]) -> str:
    """Return the logs in words, for the message of an error."""
    words: t.List[str] = []
    for one in found:
        words.append(f"{one.url} ({one.trouble})" if one.trouble else one.url)
        words += [f"  {line}" for line in one.lines[-SHOWN:]]
    return "\n".join(["Its logs:", *words]) if words else ""
