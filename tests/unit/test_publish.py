"""Writing over an object whose status the controller writes meanwhile."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._publish import Publisher

ROUTE: dict[str, Any] = {
    "apiVersion": "apisix.apache.org/v2",
    "kind": "ApisixRoute",
    "metadata": {"name": "zoo", "resourceVersion": "1", "generation": 1},
    "spec": {"http": []},
}


class Server:
    """An API server on which somebody else writes between our read and our PUT."""

    def __init__(self, generation: int, conflicts: int) -> None:
        self.now = copy.deepcopy(ROUTE)
        self.now["metadata"].update(resourceVersion="2", generation=generation)
        self.conflicts = conflicts
        self.put: list[str] = []

    def get(self, _path: str) -> dict[str, Any]:
        return copy.deepcopy(self.now)

    def request(self, _method: str, _path: str, body: dict[str, Any], _query: object) -> object:
        self.put.append(body["metadata"]["resourceVersion"])
        if len(self.put) <= self.conflicts:
            raise OapipError("replacing", "Operation cannot be fulfilled", status=409)
        return body


def write(server: Server) -> None:
    wanted = {**ROUTE, "metadata": {"name": "zoo"}, "spec": {"http": [{"name": "protected"}]}}
    change = Change("update", "ApisixRoute", "zoo", {"a": 1}, {"a": 2}, wanted)
    current = {("ApisixRoute", "zoo"): copy.deepcopy(ROUTE)}
    Publisher(server, Context(), "processing", current, [change]).apply()  # type: ignore[arg-type]


def test_a_status_written_meanwhile_is_no_conflict() -> None:
    server = Server(generation=1, conflicts=1)
    write(server)
    assert server.put == ["1", "2"]


def test_somebody_elses_change_is_a_conflict() -> None:
    server = Server(generation=2, conflicts=1)
    with pytest.raises(OapipError, match="cannot be fulfilled"):
        write(server)
    assert server.put == ["1"]


def test_an_endless_conflict_ends() -> None:
    server = Server(generation=1, conflicts=99)
    with pytest.raises(OapipError, match="cannot be fulfilled"):
        write(server)
    assert len(server.put) == 6
