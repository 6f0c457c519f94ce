"""Options in Ansible's worker are plain values, as a module that is sent gets them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.eoepca.oapip.plugins.plugin_utils._in_process import plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T10:11:12Z", "2024-01-01T10:11:12+00:00"),
        ("2024-01-01T10:11:12.5+02:00", "2024-01-01T10:11:12.500000+02:00"),
        ("2024-01-01 10:11:12", "2024-01-01T10:11:12"),
        ('"2024-01-01"', "2024-01-01"),
        ("0x10", 16),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
    ],
)
def test_values_of_yaml(text: str, value: Any) -> None:
    """What they are when sent is compared in component/test_both_ways.py."""
    found = plain(DataLoader().load(f"a: [{{b: {text}}}]"))
    assert found == {"a": [{"b": value}]}
    assert type(found["a"][0]["b"]) is type(value)
