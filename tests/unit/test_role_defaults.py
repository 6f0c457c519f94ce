"""A role's defaults, with nothing in the inventory, are what its argument spec says."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleUndefinedVariable
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROOT = Path(__file__).resolve().parents[2]
Leaf = tuple[tuple[str, ...], dict[str, Any]]
ROLES = sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


def _options(role: str) -> dict[str, Any]:
    path = ROOT / "roles" / role / "meta" / "argument_specs.yml"
    options: dict[str, Any] = yaml.safe_load(path.read_text())["argument_specs"]["main"].get(
        "options", {}
    )
    return options


def _defaults(role: str) -> dict[str, Any]:
    path = ROOT / "roles" / role / "defaults" / "main.yml"
    if not path.exists():
        return {}
    loaded: dict[str, Any] = DataLoader().load_from_file(str(path), trusted_as_template=True) or {}
    return loaded


def _leaves(options: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Walk an argument spec; options of a dictionary are leaves of their own."""
    for name, option in options.items():
        if option.get("type") == "dict" and "options" in option and "default" not in option:
            yield from _leaves(option["options"], (*path, name))
        else:
            yield (*path, name), option


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def _evaluate(role: str, path: tuple[str, ...]) -> Any:
    """Template one default with an empty inventory.

    :raises KeyError: the role has no such default.
    :raises AnsibleUndefinedVariable: the inventory must say.
    """
    defaults = _defaults(role)
    variables = {**defaults, "inventory_hostname": "cluster", "playbook_dir": "playbooks"}
    return Templar(loader=DataLoader(), variables=variables).template(_at(defaults, path))


def test_roles_are_found() -> None:
    assert ROLES


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_carries_the_roles_name(role: str) -> None:
    names = {*_options(role), *_defaults(role)}
    assert not [name for name in names if not name.startswith(f"{role}_")]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_documented_options_are_the_same_names(role: str) -> None:
    assert set(_defaults(role)) == set(_options(role))


@pytest.mark.parametrize("role", ROLES)
def test_every_option_does_something(role: str) -> None:
    texts = [
        path.read_text()
        for folder in ("tasks", "vars", "templates")
        for path in (ROOT / "roles" / role / folder).rglob("*.*")
    ]
    words = set(re.findall(r"\w+", " ".join(texts)))
    assert not [name for name in _options(role) if name not in words]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_equal_the_argument_spec(role: str) -> None:
    wrong = {}
    for path, option in _leaves(_options(role)):
        if "default" in option:
            evaluated = _evaluate(role, path)
            if evaluated != option["default"]:
                wrong[".".join(path)] = (evaluated, option["default"])
    assert not wrong, "evaluated default, argument spec's"


@pytest.mark.parametrize("role", ROLES)
def test_what_is_required_has_no_default(role: str) -> None:
    filled = []
    for path, option in _leaves(_options(role)):
        if option.get("required"):
            with contextlib.suppress(AnsibleUndefinedVariable, KeyError):
                filled.append((path, _evaluate(role, path)))
    assert not filled
