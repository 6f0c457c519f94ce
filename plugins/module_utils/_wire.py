# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Requests whose target goes on the wire byte by byte, and the judgement of their answers.

requests and urllib3 normalise ``..``, ``%2e`` and ``//``; a proof about a gateway must not.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
import typing as t
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils._http import (
    TRANSIENT,
    USER_AGENT,
    pause,
    retry_after,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

Check = t.Mapping[str, t.Any]
Verdict = t.Dict[str, t.Any]

BODY = 1_000_000
"""Bytes of a body that are read."""

ATTEMPTS = 4
"""Tries of a request that meets a fault of transport or an overloaded gateway."""

PATIENCE = 30.0
"""Seconds that a gateway may ask to wait before the next try."""

THREADS = 8


@dataclass(frozen=True)
class Answer:
    """An answer; header names in lower case. Status 0: none came, and ``trouble`` says why."""

    status: int
    headers: t.Mapping[str, str]
    body: bytes = b""
    trouble: str = ""


class Wire:
    """Opens a connection for each request to one root URL.

    :raises OapipError: the URL or the CA file cannot be used.
    """

    def __init__(
        self, url: str, validate_certs: bool, ca_path: t.Optional[str], timeout: float
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OapipError(
                "reading the option url", "it is no absolute URL", "Write https://host."
            )
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._timeout = timeout
        self._context: t.Optional[ssl.SSLContext] = None
        if self._secure:
            try:
                self._context = ssl.create_default_context(cafile=ca_path)
            except (OSError, ssl.SSLError):
                raise OapipError(
                    f"reading {ca_path}", "it holds no PEM certificates", "Check ca_path."
                ) from None
            if not validate_certs:
                self._context.check_hostname = False
                self._context.verify_mode = ssl.CERT_NONE
        self._proxy = self._proxy_of_environment()

    def _proxy_of_environment(self) -> t.Optional[t.Tuple[str, int]]:
        proxy = urllib.request.getproxies().get("https") if self._secure else None
        if not proxy or urllib.request.proxy_bypass(self._host):
            return None
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        return (parts.hostname, parts.port or 80) if parts.hostname else None

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._proxy or (self._host, self._port)
        if not self._secure:
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        made = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._context)
        if self._proxy:
            made.set_tunnel(self._host, self._port)
        return made

    def send(self, method: str, target: str, headers: t.Mapping[str, str]) -> Answer:
        """Send one request with the very target and return the answer, or what kept it away."""
        connection = self._connection()
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            sent = {"Accept": "application/json", "User-Agent": USER_AGENT, **headers}
            if method in ("POST", "PUT", "PATCH"):
                sent["Content-Length"] = "0"
            for name, value in {**sent, "Connection": "close"}.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            body = response.read(BODY)
            # a limited read does not tell that the connection broke: half a body proves nothing
            if response.length and len(body) < BODY:
                return Answer(0, {}, trouble="the connection broke inside the answer")
            return Answer(response.status, found, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = re.sub(r"\s+", " ", str(error)) or type(error).__name__
            return Answer(0, {}, trouble=words[:200])
        finally:
            connection.close()


def miss_of(check: Check, answer: Answer) -> str:
    """Return why an answer is not what a check expects; empty where it is."""
    if not answer.status:
        return f"no answer: {answer.trouble}"
    expect = check["expect"]
    if answer.status not in expect:
        return f"{answer.status} instead of {' or '.join(str(code) for code in expect)}"
    prefix = check.get("location_prefix")
    if prefix and 300 <= answer.status < 400:
        location = answer.headers.get("location", "")
        if not under(location, prefix):
            shown = location.split("?")[0] or "nowhere"
            return f"redirected to {shown}, not below {prefix}"
    told = [name for name in check.get("forbid_headers") or [] if name.lower() in answer.headers]
    if told:
        return f"the answer bears {', '.join(told)}: it comes from behind the gateway"
    text = answer.body.decode("utf-8", "replace")
    if check.get("contains") and check["contains"] not in text:
        return f"the body does not contain {check['contains']!r}"
    leaked = [word for word in check.get("forbid_text") or [] if word in text]
    return f"the body contains {', '.join(leaked)}" if leaked else ""


def under(location: str, prefix: str) -> bool:
    """Whether a URL is a prefix, or below it: not merely a text that begins like it."""
    wanted, got = urlsplit(prefix), urlsplit(location)
    path = wanted.path.rstrip("/")
    return (
        (got.scheme, got.netloc) == (wanted.scheme, wanted.netloc)
        and (got.path == path or got.path.startswith(f"{path}/"))
        and "/../" not in got.path + "/"
    )


def verdict(wire: Wire, check: Check, token: str, sleep: t.Callable[[float], None]) -> Verdict:
    """Make one check; only faults of transport and an overloaded gateway are tried again."""
    headers = dict(check.get("headers") or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    for attempt in range(ATTEMPTS):
        answer = wire.send(check["method"], check["path"], headers)
        wanted = answer.status in check["expect"]
        passing = not answer.status or answer.status in TRANSIENT
        if wanted or not passing or attempt == ATTEMPTS - 1:
            break
        wait = pause(
            attempt, retry_after(answer.headers.get("retry-after"), answer.headers.get("date"))
        )
        if wait > PATIENCE:
            break
        sleep(wait)
    why = miss_of(check, answer)
    return {
        "name": check["name"],
        "method": check["method"],
        "path": check["path"],
        "user": check.get("user") or "",
        "expected": list(check["expect"]),
        "got": answer.status,
        "ok": not why,
        "why": why,
    }


def prove(
    wire: Wire,
    checks: t.Sequence[Check],
    tokens: t.Mapping[str, str],
    sleep: t.Callable[[float], None] = time.sleep,
) -> t.List[Verdict]:
    """Make all checks, several at once, and return the verdicts in their order."""
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        jobs = [
            pool.submit(verdict, wire, check, tokens.get(check.get("user") or "", ""), sleep)
            for check in checks
        ]
        return [job.result() for job in jobs]
