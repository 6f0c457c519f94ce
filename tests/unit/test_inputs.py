"""Inputs that are files of the controller, bounding boxes and lists: what goes over the wire."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as of_any
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _inputs, _job, _process
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_job
from tests.ogc_double import Double, Engine, serving
from tests.unit_params import params_of

BOX = {"bbox": [10.0, 46.5, 11.5, 47.5], "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
BINARY = bytes(range(256))


@pytest.mark.parametrize(
    ("name", "data", "value"),
    [
        ("a.geojson", b'{"type": "Point"}', ({"type": "Point"}, "application/geo+json")),
        ("a.JSON", b"[1]", ([1], "application/json")),
        ("a.txt", "\u00e9".encode(), ("\u00e9", "text/plain")),
        ("a.xml", b"<a/>", ("<a/>", None)),
        ("a.yml", b"a: 1", ("a: 1", "application/yaml")),
        ("a.tif", BINARY, (BINARY, "image/tiff")),
        ("a.unknown", b"abc", (b"abc", "application/octet-stream")),
        ("none", b"", (b"", "application/octet-stream")),
        ("latin.txt", b"\xe9", (b"\xe9", "text/plain")),
    ],
)
def test_a_file_is_a_value_with_its_media_type(
    tmp_path: Path, name: str, data: bytes, value: tuple[Any, str | None]
) -> None:
    (tmp_path / name).write_bytes(data)
    found = _inputs.with_files({}, {"in": str(tmp_path / name)})["in"]
    content, kind = value
    if isinstance(content, bytes):
        assert found.pop("encoding") == "base64"
        found["value"] = base64.b64decode(found["value"])
    assert found == {"value": content, "mediaType": kind or found["mediaType"]}


def test_lists_and_media_types_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"<a/>")
    one = {"path": str(tmp_path / "a.dat"), "media_type": "application/vnd.ogc.sld+xml"}
    found = _inputs.with_files({"n": 1}, {"in": [one, str(tmp_path / "a.dat")]})
    assert found == {
        "n": 1,
        "in": [
            {"value": "<a/>", "mediaType": "application/vnd.ogc.sld+xml"},
            {"value": "PGEvPg==", "mediaType": "application/octet-stream", "encoding": "base64"},
        ],
    }


def test_the_home_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    assert _inputs.with_files({}, {"in": "~/a.txt"})["in"]["value"] == "x"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"in": "{0}/gone"}, r"reading the file of input in: .*/gone: No such file"),
        ({"in": "{0}"}, "directory"),
        ({"in": "a\0b"}, "cannot be read"),
        ({"in": "{0}/bad.json"}, r"bad.json is no JSON"),
        ({"in": "{0}/nan.json"}, r"nan.json is no JSON: NaN"),
        ({"in": "{0}/huge.json"}, r"input in: .* not finite"),
        ({"in": "{0}/deep.json"}, r"input in: .*100 levels"),
        ({"in": "{0}/deeper.json"}, r"deeper.json .*nested too deeply"),
        ({"in": "{0}/bytes.json"}, r"bytes.json is no JSON"),
        ({"in": 3}, "no path"),
        ({"in": None}, "no path"),
        ({"in": {"media_type": "text/plain"}}, "no path"),
        ({"in": {"path": "{0}/bad.json", "type": "x"}}, "no path"),
        ({"n": "{0}/bad.json"}, "it is in inputs too"),
        ({"in": "{0}/long.txt"}, r"long.txt is longer than 0 MiB.*href"),
    ],
)
def test_a_file_that_cannot_be_sent_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, words: str
) -> None:
    monkeypatch.setattr(_inputs, "MOST", 9999)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "nan.json").write_text("[NaN]")
    (tmp_path / "huge.json").write_text("[1e999]")
    (tmp_path / "deep.json").write_text("[" * 101 + "]" * 101)
    (tmp_path / "deeper.json").write_text("[" * 4000 + "]" * 4000)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "long.txt").write_text("x" * 10000)
    files = json.loads(json.dumps(given).replace("{0}", str(tmp_path)))
    with pytest.raises(OapipError, match=words):
        _inputs.with_files({"n": 1}, files)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "not finite"),
        ([1, {"value": float("-inf")}], "not finite"),
        (b"bytes", "bytes"),
        ({"href": object()}, "object"),
        ({(1, 2): 3}, "tuple"),
        (json.loads("[" * 99 + "]" * 99), ""),
        (json.loads("[" * 101 + "]" * 101), "nested deeper than 100 levels"),
    ],
)
def test_an_input_that_json_cannot_tell_is_refused(value: Any, words: str) -> None:
    if not words:
        assert _inputs.with_files({"in": value}, {}) == {"in": value}
        return
    with pytest.raises(OapipError, match=rf"reading input in: .*{words}"):
        _inputs.with_files({"in": value}, {})


@of_any(
    st.binary() | st.text().map(str.encode) | st.builds(lambda n: b"[" * n, st.integers(0, 5000)),
    st.sampled_from(["application/json", "application/geo+json", "text/plain", "a/xml", "x", ""]),
)
def test_any_bytes_are_a_value_that_can_be_sent_or_are_refused(data: bytes, kind: str) -> None:
    try:
        found = _inputs.qualified(data, kind)
    except ValueError:
        assert "json" in kind
        return
    assert found["mediaType"] == kind
    if found.get("encoding") == "base64":
        assert base64.b64decode(found["value"]) == data
    with contextlib.suppress(OapipError):  # a number beyond all bounds
        assert json.dumps(_inputs.with_files({"in": found}, {}), allow_nan=False)


@pytest.fixture
def double() -> Iterator[Double]:
    engine = Engine()
    engine.packages["clip"] = "cwl"
    with serving(engine) as made:
        yield made


def test_what_is_sent(double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {
        "jobControlOptions": ["async-execute"],
        "inputs": {
            "extent": {"schema": {"allOf": [{"format": "ogc-bbox"}, {"$ref": "bbox.yaml"}]}},
            "boxes": {"schema": {"type": "object"}, "maxOccurs": 3},
            "bands": {"schema": {"type": "string"}, "maxOccurs": "unbounded"},
            "area": {"schema": {"type": "object"}},
            "flat": {"schema": {"type": "array"}},
            "more": {"schema": {"type": "string"}, "minOccurs": 0},
        },
    }
    monkeypatch.setattr(_process, "describe", lambda _server, _name: about)
    (tmp_path / "area.geojson").write_text('{"type": "Point"}')
    inputs: dict[str, Any] = {
        "extent": BOX,
        "boxes": [BOX, {"bbox": [1, 2, 3, 4]}],
        "bands": ["red", {"value": "nir", "mediaType": "text/plain"}],
        "flat": [1, 2],
    }
    given = {
        "url": f"{double.url}/alice/ogc-api",
        "process_id": "clip",
        "inputs": inputs,
        "input_files": {"area": str(tmp_path / "area.geojson")},
        "state": "started",
    }
    oapip_job.run(params_of(oapip_job, given), Context())
    (post,) = [one for one in double.asked if one.method == "POST"]
    area = {"value": {"type": "Point"}, "mediaType": "application/geo+json"}
    assert json.loads(post.body)["inputs"] == {**inputs, "area": area}
    wrong = params_of(oapip_job, {**given, "input_files": {"aera": str(tmp_path / "area.geojson")}})
    with pytest.raises(OapipError, match=r"aera: .*did you mean area.*area: it is required"):
        oapip_job.run(wrong, Context())
    assert len(double.writes()) == 1


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        (BOX, True),
        ({"bbox": [1, 2, 3, 4]}, True),
        ({"bbox": [1, 2, 0, 3, 4, 9]}, True),
        ({"bbox": [1, 2, 3]}, False),
        ({"bbox": "1,2,3,4"}, False),
        ({"bbox": [1, 2, 3, "4"]}, False),
        ([1, 2, 3, 4], False),
    ],
)
def test_a_bounding_box_has_four_or_six_numbers(box: Any, fits: bool) -> None:
    """18-062r2 7.11.2.5; only where the description says that it is one."""
    said = {"inputs": {"extent": {"schema": {"allOf": [{"format": "ogc-bbox"}, {"$ref": "x"}]}}}}
    assert (_job.check_inputs(said, {"extent": box}) == []) is fits
    plain = {"inputs": {"extent": {"schema": {"type": "object", "format": "ogc-bbox"}}}}
    assert (_job.check_inputs(plain, {"extent": box}) == []) is fits
    unsaid = {"inputs": {"extent": {"schema": {"type": "object"}}}}
    assert _job.check_inputs(unsaid, {"extent": box}) == []


def test_a_qualified_value_among_others_is_not_held_against_an_enumeration() -> None:
    said = {"inputs": {"x": {"schema": {"type": "string", "enum": ["a"]}, "maxOccurs": 2}}}
    assert _job.check_inputs(said, {"x": ["a", {"value": "a"}]}) == []
    assert _job.check_inputs(said, {"x": ["a", "b"]}) != []
