"""The report of a run and the sample picture."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest
from PIL import Image

from ansible_collections.eoepca.oapip.plugins.module_utils import _report
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context
from ansible_collections.eoepca.oapip.plugins.modules import oapip_report, oapip_sample

CHANGE = {"action": "create", "kind": "Bucket", "name": "a", "fields": []}


def report(**given: object) -> dict[str, object]:
    values = {"host": "c1", "check": False, "reason": "", "stages": {}, "proof": {}, **given}
    return _report.build(**values)  # type: ignore[arg-type]


def test_changes_of_all_stages_and_loops_are_gathered() -> None:
    made = report(
        stages={
            "object_storage": {"changes": [CHANGE]},
            "identity_users": {"results": [{"changes": [CHANGE]}, {"changes": []}]},
            "gateway": {"skipped": True, "changes": [CHANGE]},
            "engine": {},
        }
    )
    assert made["changes"] == [CHANGE, CHANGE]
    assert set(made["stages"]) == {"object_storage", "identity_users"}  # type: ignore[call-overload]


def test_what_the_proof_made_for_itself_is_no_change() -> None:
    proof = {
        "due": True,
        "endpoints": {"checks": [{"ok": True}, {"ok": False}]},
        "job": {"job_id": "1", "job": {"status": "successful"}, "changes": [CHANGE]},
        "picture": {"key": "k", "width": 32, "height": 24, "url": "hidden"},
    }
    made = report(proof=proof)
    assert made["changes"] == []
    assert made["proof"]["wire"]["failed"] == 1  # type: ignore[index]
    assert "hidden" not in str(made)
    lines = _report.summary(made)
    assert any("1 of 2 as expected" in line for line in lines)
    assert any("32 x 24 pixels" in line for line in lines)


def test_a_reason_is_a_failure() -> None:
    made = report(reason="Engine: no chart")
    assert made["ok"] is False
    assert _report.summary(made)[-1] == "failed: Engine: no chart"


def test_the_file_is_whole_and_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "c1.json"
    oapip_report.write(path, {"a": 1})
    oapip_report.write(path, {"a": 2})
    assert path.read_text() == '{\n  "a": 2\n}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (300, 2)])
def test_the_picture_is_a_picture(size: tuple[int, int]) -> None:
    picture = oapip_sample.png(*size)
    with Image.open(io.BytesIO(picture)) as opened:
        opened.load()
        assert opened.size == size
    assert oapip_sample.size_of(picture) == size


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" * 9])
def test_what_is_no_png_has_no_size(data: bytes) -> None:
    assert oapip_sample.size_of(data) is None


def test_the_report_is_written_in_check_mode_too(tmp_path: Path) -> None:
    path = tmp_path / "c1.check.json"
    lines: list[str] = []
    ctx = Context(check_mode=True, host="c1", progress=lines.append)
    params = {"path": str(path), "reason": "", "stages": {}, "proof": {}}
    result = oapip_report.run(params, ctx)
    assert path.exists()
    assert result["changed"] is False
    assert lines == ["[c1] ok, 0 changes would be made"]
