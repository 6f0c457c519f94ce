"""The plan: fields, diff and result."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
STATES = st.dictionaries(st.text("abc", min_size=1, max_size=2), VALUES, max_size=4)


@given(STATES)
def test_a_state_does_not_differ_from_itself(state: dict[str, object]) -> None:
    assert _plan.fields_of(state, dict(state)) == []
    assert _plan.update("Kind", "name", state, dict(state)) == []


@given(STATES, STATES)
def test_fields_name_every_difference(before: dict[str, object], after: dict[str, object]) -> None:
    named = {field.split(".")[0] for field in _plan.fields_of(before, after)}
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert named == differing


def test_nested_fields_have_dotted_names() -> None:
    before = {"spec": {"replicas": 1, "image": "a"}}
    after = {"spec": {"replicas": 2, "image": "a"}}
    assert _plan.fields_of(before, after) == ["spec.replicas"]


def test_a_result_says_the_same_in_changes_and_diff() -> None:
    changes = [
        Change("create", "Bucket", "a", after={"name": "a"}),
        Change("update", "Route", "b", {"x": 1, "y": 1}, {"x": 2, "y": 1}, payload="hidden"),
        Change("delete", "Secret", "c", before={"name": "c"}),
    ]
    result = _plan.result(changes, ["Namespace d"], extra=1)
    assert result["changed"] is True
    assert result["assumed"] == ["Namespace d"]
    assert result["extra"] == 1
    assert result["changes"] == [
        {"action": "create", "kind": "Bucket", "name": "a", "fields": []},
        {"action": "update", "kind": "Route", "name": "b", "fields": ["x"]},
        {"action": "delete", "kind": "Secret", "name": "c", "fields": []},
    ]
    diff = {one["before_header"]: one for one in result["diff"]}
    assert list(diff) == ["Bucket a", "Route b", "Secret c"]
    assert [bool(one["before"]) for one in diff.values()] == [False, True, True]
    assert [bool(one["after"]) for one in diff.values()] == [True, True, False]
    assert "hidden" not in str(result)


def test_no_change_is_no_change() -> None:
    assert _plan.result([])["changed"] is False
