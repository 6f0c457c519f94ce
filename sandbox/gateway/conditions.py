"""``match.exprs`` and ``match.remoteAddrs`` of an ApisixRoute as predicates on a request."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from sandbox.gateway.request import Request

Condition = Callable[[Request], bool]


class ConditionError(ValueError):
    """The controller refuses the expression."""


def _number(compare: Callable[[float, float], bool]) -> Callable[[str, Any], bool]:
    def check(value: str, wanted: Any) -> bool:
        try:
            return compare(float(value), float(wanted))
        except ValueError:
            return False

    return check


_ANY = re.IGNORECASE
_OPERATORS: dict[str, Callable[[str, Any], bool]] = {
    "Equal": lambda value, wanted: value == wanted,
    "NotEqual": lambda value, wanted: value != wanted,
    "GreaterThan": _number(lambda value, wanted: value > wanted),
    "GreaterThanEqual": _number(lambda value, wanted: value >= wanted),
    "LessThan": _number(lambda value, wanted: value < wanted),
    "LessThanEqual": _number(lambda value, wanted: value <= wanted),
    "In": lambda value, wanted: value in wanted,
    "NotIn": lambda value, wanted: value not in wanted,
    "RegexMatch": lambda value, wanted: re.search(wanted, value) is not None,
    "RegexNotMatch": lambda value, wanted: re.search(wanted, value) is None,
    "RegexMatchCaseInsensitive": lambda value, wanted: (
        re.search(wanted, value, re.IGNORECASE) is not None
    ),
    "RegexNotMatchCaseInsensitive": lambda value, wanted: (
        re.search(wanted, value, re.IGNORECASE) is None
    ),
}


def _subject(scope: str, name: str) -> Callable[[Request], str]:
    if scope == "Path":
        return lambda request: request.uri
    if scope == "Header":
        return lambda request: request.headers.get(name, "")
    if scope == "Query":
        return lambda request: parse_qs(request.args or "").get(name, [""])[0]
    if scope == "Cookie":
        return lambda request: _cookie(request, name)
    raise ConditionError(f"invalid scope {scope!r}")


def _cookie(request: Request, name: str) -> str:
    found = SimpleCookie(request.headers.get("Cookie", "")).get(name)
    return found.value if found is not None else ""


def conditions(match: Mapping[str, Any]) -> tuple[Condition, ...]:
    """All conditions of a rule beside host, path and method. Raises ConditionError."""
    built = [_expression(expr) for expr in match.get("exprs", [])]
    if match.get("remoteAddrs"):
        built.append(_remote(match["remoteAddrs"]))
    return tuple(built)


def _expression(expr: Mapping[str, Any]) -> Condition:
    subject, operator = expr.get("subject", {}), expr.get("op", "")
    scope, name = subject.get("scope", ""), subject.get("name", "")
    if scope != "Path" and not name:
        raise ConditionError("empty subject.name")
    if operator not in _OPERATORS:
        raise ConditionError(f"unknown operator {operator!r}")
    wanted = expr.get("set", []) if operator in ("In", "NotIn") else expr.get("value", "")
    if operator.startswith("Regex"):
        try:
            re.compile(wanted)
        except re.error as error:
            raise ConditionError(f"invalid regex: {error}") from error
    read, compare = _subject(scope, name), _OPERATORS[operator]
    return lambda request: compare(read(request), wanted)


def _remote(addresses: Sequence[str]) -> Condition:
    try:
        networks = [ipaddress.ip_network(address, strict=False) for address in addresses]
    except ValueError as error:
        raise ConditionError(f"invalid remote address: {error}") from error
    return lambda request: any(ipaddress.ip_address(request.remote) in n for n in networks)
