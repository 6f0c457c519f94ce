"""The comparison of a dry run with the real one."""

from __future__ import annotations

import json
from pathlib import Path

from tests.changes import union

_CHANGE = {"action": "create", "kind": "Namespace", "name": "processing", "fields": []}


def test_changes_are_found_at_any_depth_and_in_any_order(tmp_path: Path) -> None:
    flat, deep = tmp_path / "flat", tmp_path / "deep"
    flat.mkdir()
    deep.mkdir()
    other = {**_CHANGE, "action": "update", "fields": ["b", "a"]}
    (flat / "one.json").write_text(json.dumps({"host": "one", "changes": [_CHANGE, other]}))
    stages = {
        "engine": {"changes": [{**other, "fields": ["a", "b"]}]},
        "more": [{"changes": [_CHANGE]}],
    }
    (deep / "one.json").write_text(json.dumps({"host": "one", "stages": stages}))
    assert union(flat) == union(deep)
    assert len(union(flat)) == 2


def test_a_change_on_another_host_or_field_is_another_change(tmp_path: Path) -> None:
    for host, fields in (("one", ["a"]), ("two", ["a"]), ("three", ["b"])):
        change = {**_CHANGE, "fields": fields}
        (tmp_path / f"{host}.json").write_text(json.dumps({"changes": [change]}))
    assert len(union(tmp_path)) == 3


def test_results_of_tasks_are_read_too(tmp_path: Path) -> None:
    results = tmp_path / "site.results.jsonl"
    results.write_text(json.dumps({"host": "one", "result": {"changes": [_CHANGE]}}) + "\n")
    assert union(results) == {("one", "create", "Namespace", "processing", ())}
