"""The repository agrees with itself: modules, action plugins, groups, documentation, sizes."""

from __future__ import annotations

import ast
import importlib
import io
import tokenize
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
MODULES = sorted(path.stem for path in (PLUGINS / "modules").glob("[!_]*.py"))
_PACKAGE = "ansible_collections.eoepca.oapip.plugins"


def _runtime() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())
    return loaded


def _attributes(module: str) -> dict[str, Any]:
    """Return the documented attributes, fragments included, as ansible-doc merges them."""
    documentation = yaml.safe_load(
        importlib.import_module(f"{_PACKAGE}.modules.{module}").DOCUMENTATION
    )
    merged: dict[str, Any] = {}
    for name in documentation.get("extends_documentation_fragment", []):
        parts = name.removeprefix("eoepca.oapip.").split(".")
        fragments = importlib.import_module(f"{_PACKAGE}.doc_fragments.{parts[0]}")
        text = getattr(
            fragments.ModuleDocFragment, parts[1].upper() if parts[1:] else "DOCUMENTATION"
        )
        for key, value in yaml.safe_load(text).get("attributes", {}).items():
            merged.setdefault(key, {}).update(value)
    for key, value in documentation.get("attributes", {}).items():
        merged.setdefault(key, {}).update(value)
    return merged


def test_action_groups_name_modules_that_are_there() -> None:
    grouped = {name for group in _runtime()["action_groups"].values() for name in group}
    assert grouped <= set(MODULES)


def test_every_module_has_an_action_plugin_and_no_other_is_there() -> None:
    actions = sorted(path.stem for path in (PLUGINS / "action").glob("[!_]*.py"))
    assert actions == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_an_action_plugin_runs_its_own_module(module: str) -> None:
    action = importlib.import_module(f"{_PACKAGE}.action.{module}")
    assert action.ActionModule.module.__name__ == f"{_PACKAGE}.modules.{module}"
    assert callable(action.ActionModule.module.run)
    assert "argument_spec" in action.ActionModule.module.SPEC


@pytest.mark.parametrize("module", MODULES)
def test_attributes_are_documented(module: str) -> None:
    attributes = _attributes(module)
    assert {"check_mode", "diff_mode", "idempotent"} <= set(attributes)
    for name, attribute in attributes.items():
        if attribute["support"] in ("partial", "none", "N/A"):
            assert attribute.get("details"), f"{name}: support is not full, details must say why"


@pytest.mark.parametrize("module", MODULES)
def test_documented_group_is_the_real_one(module: str) -> None:
    groups = [
        f"eoepca.oapip.{group}"
        for group, members in _runtime()["action_groups"].items()
        if module in members
    ]
    assert _attributes(module).get("action_group", {}).get("membership", []) == groups


@pytest.mark.parametrize("module", MODULES)
def test_check_mode_is_supported(module: str) -> None:
    spec = importlib.import_module(f"{_PACKAGE}.modules.{module}").SPEC
    assert spec["supports_check_mode"] is True


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_another(module: str) -> None:
    tree = ast.parse((PLUGINS / "modules" / f"{module}.py").read_text())
    imported = [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None
    ]
    assert not [name for name in imported if ".plugins.modules" in name]


def _code_lines(path: Path) -> int:
    """Count lines that hold code: no blank lines, comments, docstrings or documentation."""
    source = path.read_text()
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _NOT_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and _is_documentation(node):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


_NOT_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def _is_documentation(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if not isinstance(node, ast.Assign):
        return False
    names = {target.id for target in node.targets if isinstance(target, ast.Name)}
    return bool(names & {"DOCUMENTATION", "EXAMPLES", "RETURN"})


@pytest.mark.parametrize(
    ("path", "most"),
    [(path, 200) for path in sorted((PLUGINS / "modules").glob("*.py"))]
    + [(path, 400) for path in sorted((PLUGINS / "module_utils").rglob("*.py"))]
    + [(path, 400) for path in sorted((PLUGINS / "plugin_utils").rglob("*.py"))],
    ids=lambda value: value.stem if isinstance(value, Path) else str(value),
)
def test_files_stay_small(path: Path, most: int) -> None:
    assert _code_lines(path) <= most


def test_versions_agree() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    released = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]
    assert galaxy["version"] in released
