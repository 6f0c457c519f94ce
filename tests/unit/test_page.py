"""What reads a page of docs/ and types it notices what the page does not say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.page import Command, Reader, Shell, commands, same

A = "547244ec-e719-11f1-a630-02fc00000001"
B = "6427487e-e719-11f1-a630-02fc00000001"


def test_a_page_is_typed_and_what_it_lacks_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"```console\n$ echo \\\n    {B} x\n...\n{A} x\n$ echo {A}; (exit 3)\n$ echo $?\n3\n```\n"
    )
    typed = commands(page)
    assert typed[0] == Command(f"echo \\\n    {B} x", ["...", f"{A} x"])
    shell = Shell(tmp_path, {"PATH": os.environ["PATH"]})
    reader = Reader(shell, {})
    try:
        for command in typed:
            reader.follow(command)
        assert f"$ echo {B}; (exit 3)" in shell.output  # the id that was met stands for the page's
        with pytest.raises(AssertionError, match="lacks: two"):
            reader.follow(Command("echo one", ["one", "two"]))
    finally:
        shell.close()


def test_lines_differ_in_what_differs_from_run_to_run_alone() -> None:
    assert same("[h] hello 547244ec...: running 20 %", "[h] hello 6427487e...: running 44 %")
    assert same(f"s3://b/{A}-8h5gkn/x", f"s3://b/{B}-kivh65/x")
    assert same("fatal: [h]: FAILED! ...", "fatal: [h]: FAILED! => {}")
    assert not same("ok=1  changed=0", "ok=1  changed=1")
    assert not same(f"{A} failed", f"{B} successful")
