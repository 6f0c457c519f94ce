"""Application Packages are judged on our side, and never with a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _cwl, _pack
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

TOOL = {
    "class": "CommandLineTool",
    "id": "tool",
    "baseCommand": "true",
    "inputs": {},
    "outputs": {"o": {"type": "Directory", "outputBinding": {"glob": "."}}},
}


def workflow(name: str = "water", run: Any = "#tool", **more: Any) -> dict[str, Any]:
    steps = {"one": {"run": run, "in": {}, "out": ["o"]}}
    return {"class": "Workflow", "id": name, "inputs": {}, "outputs": {}, "steps": steps, **more}


def graph(*nodes: Any, version: Any = "v1.0", **more: Any) -> str:
    return yaml.safe_dump({"cwlVersion": version, "$graph": list(nodes), **more})


@pytest.mark.parametrize("version", ["v1.0", "v1.1", "v1.2"])
def test_versions_in_use_are_accepted(version: str) -> None:
    assert _cwl.load(graph(workflow(), TOOL, version=version)).id == "water"


@pytest.mark.parametrize("version", ["v1.3.0-dev", "draft-3", 1.0, None, "", ["v1.0"], {}])
def test_other_versions_are_refused_with_the_known_ones(version: Any) -> None:
    with pytest.raises(OapipError, match=r"cwlVersion.*v1\.0, v1\.1, v1\.2"):
        _cwl.load(graph(workflow(), TOOL, version=version))


def test_the_first_workflow_is_the_default_and_another_can_be_chosen() -> None:
    text = graph(TOOL, workflow("first"), workflow("second"))
    assert _cwl.load(text).id == "first"
    assert _cwl.load(text, "second").id == "second"
    with pytest.raises(OapipError, match="no Workflow third, only first, second"):
        _cwl.load(text, "third")


def test_a_single_document_json_namespaces_and_schemas() -> None:
    one = {
        "cwlVersion": "v1.2",
        **workflow("solo", {**TOOL}),
        "$namespaces": {"s": "https://schema.org/"},
        "$schemas": ["https://schema.org/version/9.0/schemaorg-current-http.rdf"],
        "s:softwareVersion": "1.0.0",
    }
    assert _cwl.load(json.dumps(one)).id == "solo"
    assert _cwl.load("\ufeff".encode().decode("utf-8-sig") + yaml.safe_dump(one)).id == "solo"


@pytest.mark.parametrize("ident", ["#water", "file:///a/b.cwl#water", "water"])
def test_ids_lose_their_file_and_hash(ident: str) -> None:
    assert _cwl.load(graph(workflow(ident), TOOL)).id == "water"


@pytest.mark.parametrize(
    "ident", ["run", "play", "Process", "Deploy", "In", "is", "a", "e", "Notify", "securityOut"]
)
def test_ids_that_the_engine_hides_are_known(ident: str) -> None:
    """Whether they are refused depends on the server."""
    assert "engine would hide it" in _cwl.id_fault(_cwl.load(graph(workflow(ident), TOOL)).id)


@pytest.mark.parametrize("ident", ["main", "water", "convert-url", "A_1"])
def test_ids_that_are_safe_pass(ident: str) -> None:
    assert _cwl.load(graph(workflow(ident), TOOL)).id == ident
    assert _cwl.id_fault(ident) == ""


@pytest.mark.parametrize("ident", ["a.b.c", "a,b1", "50%off", "two words", "ünï", "x/y", "q;r"])
def test_ids_that_the_engine_breaks_are_known(ident: str) -> None:
    assert "which the engine breaks" in _cwl.id_fault(_cwl.load(graph(workflow(ident), TOOL)).id)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no mapping"),
        ("- a", "no mapping"),
        ("a: [", "no YAML in line"),
        (graph(TOOL), "no Workflow, only CommandLineTool"),
        (graph(workflow(), workflow(), TOOL), "two processes .* the id water"),
        (graph({"class": "Workflow"}), "has no id"),
        (graph(workflow(run="#gone"), TOOL), "runs #gone, which is not in its"),
        (graph(workflow(run="other.cwl"), TOOL), "refers to other files: other.cwl"),
        ("cwlVersion: v1.0\n$graph: 3", "no list of processes"),
        ("cwlVersion: v1.0\nclass: Workflow\nsteps: []", "has no id"),
        ("[" * 100_000, "nested too deeply"),
        ("{a: " * 100_000, "nested too deeply"),
        ("a: &a [*a]\ncwlVersion: v1.0", "no Workflow"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(OapipError, match=words):
        _cwl.load(text)


def test_percent_and_falsy_defaults_are_warned_of_where_the_engine_shows_them() -> None:
    inputs = {"n": {"type": "int", "default": 0}, "m": {"type": "int", "default": 1}}
    package = _cwl.load(graph(workflow(label="50% off", inputs=inputs), TOOL))
    assert len(package.warnings) == 2
    assert "'%'" in package.warnings[0]
    assert "input n" in package.warnings[1]
    quiet = _cwl.load(graph(workflow(), {**TOOL, "arguments": ["50%"]}))
    assert quiet.warnings == ()


def test_sameness_is_of_content_not_of_writing() -> None:
    text = graph(workflow(), TOOL)
    assert _cwl.same(text, "# seen\n" + text)
    assert _cwl.same(text, json.dumps(yaml.safe_load(text)))
    assert not _cwl.same(text, graph(workflow(label="new"), TOOL))
    assert not _cwl.same("a: [", "a: {")


def test_exactly_one_newline_of_the_engine_is_taken_away() -> None:
    assert _cwl.from_server("a: 1\n\n") == "a: 1\n"


@pytest.mark.parametrize(
    "unit",
    [
        {"value": "cwlVersion: v1.0", "mediaType": "application/cwl+yaml"},
        [{"value": "cwlVersion: v1.0", "format": {"mediaType": "application/cwl"}}],
        {"value": {"cwlVersion": "v1.0"}},
        {"cwlVersion": "v1.0"},
    ],
)
def test_packages_inside_ogcapppkg_are_found(unit: Any) -> None:
    text = _cwl.from_ogcapppkg({"executionUnit": unit})
    assert text is not None
    assert yaml.safe_load(text)["cwlVersion"] == "v1.0"


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "class",
                    "id",
                    "steps",
                    "run",
                    "out",
                    "inputs",
                    "type",
                    "name",
                    "$graph",
                    "$import",
                ]
            ),
            inner | st.sampled_from(["Workflow", "#tool", "water", "a/b#c", "record", "file://["]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


def tried(text: str) -> None:
    try:
        _pack.packed("nowhere.cwl", text, lambda _location: text)
        _cwl.load(text)
    except OapipError as error:
        assert error.text()  # noqa: PT017


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_a_traceback(data: bytes) -> None:
    try:
        text = _cwl.decode(data)
    except OapipError:
        return
    tried(text)


@settings(max_examples=400, deadline=None)
@given(st.text("{}[]:-&*!?|>%@`'\"#, \n\tabc0129.~=<", max_size=60))
def test_no_yaml_makes_a_traceback(text: str) -> None:
    tried(text)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["$graph", "class", "id", "steps"]), YAML_VALUES))
def test_no_document_makes_a_traceback(document: dict[str, Any]) -> None:
    tried(json.dumps({"cwlVersion": "v1.0", **document}))
    tried(json.dumps({"cwlVersion": "v1.0", "class": "Workflow", **document}))


@pytest.mark.parametrize(
    "text",
    [
        "2024-99-99",
        "!!int x",
        "!!python/object:os.system x",
        "? [a]\n: b",
        "0b",
        "!!binary é",
        "a: \x07",
    ],
)
def test_values_that_pyyaml_lets_fall_through(text: str) -> None:
    with pytest.raises(OapipError):
        _cwl.load(text)
