"""Answers as ZOO-Project and its Apache word them.

Source: K`service_json.c createExceptionJ`, K`response_print.c produceStatusString` of
ZOO-Project/ZOO-Project (K = zoo-project/zoo-kernel).
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from html import escape

JSON = "application/json;charset=UTF-8"
_PART_1 = "http://www.opengis.net/def/rel/ogc/1.0/exception/"
_PART_2 = "http://www.opengis.net/def/exceptions/ogcapi-processes-2/1.0/"
_TYPES = {
    "NoSuchProcess": _PART_1 + "no-such-process",
    "NoSuchJob": _PART_1 + "no-such-job",
    "NoSuchOutput": _PART_1 + "no-such-output",
    "ResultNotReady": _PART_1 + "result-not-ready",
    "InvalidQueryParameterValue": _PART_1 + "invalid-query-parameter-value",
    "DuplicatedProcess": _PART_2 + "duplicated-process",
    "ImmutableProcess": _PART_2 + "immutable-process",
    "UnsupportedMediaType": _PART_2 + "unsupported-media-type",
    "WorkflowNotFound": _PART_2 + "workflow-not-found",
}
_NOT_FOUND = ("NotFound", "NoSuchProcess", "NoSuchJob", "ResultNotReady", "NoSuchOutput")
_BAD_REQUEST = (
    "MissingParameterValue",
    "InvalidParameterValue",
    "InvalidUpdateSequence",
    "OptionNotSupported",
    "VersionNegotiationFailed",
    "NoSuchMode",
    "BadRequest",
    "WorkflowNotFound",
)
_REASONS = {
    200: "OK ",
    201: "Created",
    204: "No Content",
    301: "Moved Permanently",
    302: "Found",
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    415: "Unsupported Media Type",
    500: "Not Implemented",
    503: "Service Unavailable",
}
_CRASH = "ZOO Kernel failed to process your request, receiving signal 11 = SIGSEGV "
_CONVERSION = re.compile(r"%[-+ #0']*\d*(?:\.\d+)?(?:hh|h|ll|l|q|L|j|z|t)?([diouxXeEfFgGaAcspn%])")
_calls = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `kernel` is false for what Apache says by itself."""

    status: int
    body: str = ""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    kernel: bool = True

    @property
    def reason(self) -> str:
        return _REASONS.get(self.status, "")

    def with_headers(self, **headers: str) -> Answer:
        """Add headers; `_` in a name stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **named})


class RefusedError(Exception):
    """Carries the answer of a request that goes no further."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body)
        self.answer = answer


def exception_body(code: str, detail: str) -> dict[str, str]:
    """The three members of every error: no `status`, no `instance`."""
    return {"title": code, "type": _TYPES.get(code, code), "detail": detail}


def exception(code: str, detail: str, status: int | None = None) -> Answer:
    """An error of the kernel; a code it does not know is `500 Not Implemented`."""
    if status is None:
        status = 404 if code in _NOT_FOUND else 400 if code in _BAD_REQUEST else 500
    return document(exception_body(code, detail), status)


def refuse(code: str, detail: str, status: int | None = None) -> RefusedError:
    """The same as an exception to raise."""
    return RefusedError(exception(code, detail, status))


def document(value: object, status: int = 200) -> Answer:
    """A JSON answer, printed as the kernel prints: its text is the format of a `printf`."""
    try:
        text = printf(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
    except CrashError:
        return crash()
    return Answer(status, text)


def crash() -> Answer:
    """What is left of a request that killed the kernel."""
    body = exception_body("NoApplicableCode", _CRASH)
    return Answer(500, json.dumps(body, separators=(",", ":")))


def html(status: int, title: str = "") -> Answer:
    """A page of Apache itself: no JSON, none of the kernel's headers."""
    title = escape(title or _REASONS.get(status, "Error").strip())
    page = f"<!DOCTYPE HTML><html><head><title>{status} {title}</title></head>"
    page += f"<body><h1>{title}</h1></body></html>\n"
    return Answer(status, page, "text/html; charset=iso-8859-1", kernel=False)


class CrashError(Exception):
    """The format string made printf read or write where nothing is."""


def printf(text: str) -> str:
    """Print a text as a C format without arguments: each conversion becomes garbage.

    The garbage is a digest of the text and of the number of the call, so it differs on each
    request, as it does in the kernel.

    Raises:
        CrashError: the text holds `%s` or `%n`.
    """
    if "%" not in text:
        return text
    call = next(_calls)

    def garbage(found: re.Match[str]) -> str:
        if found[1] == "%":
            return "%"
        if found[1] in "sn":
            raise CrashError(found[0])
        digest = sha256(f"{call}:{found.start()}".encode()).hexdigest()
        return str(int(digest[:8], 16)) if found[1] in "diouc" else digest[:10]

    return _CONVERSION.sub(garbage, text)
