"""Write each role's README from its argument spec; `--check` only says which are stale."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
_OPERATORS = re.compile(r"\boapip_[a-z0-9_]+")
_MARKUP = re.compile(r"\b([OVCBIEM])\(([^()]*)\)|\bRV\(([^()]*)\)")


def main() -> int:
    """Return 1 when `--check` is given and a README differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for spec in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        role = spec.parents[1]
        defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
        text = render(role.name, yaml.safe_load(spec.read_text())["argument_specs"], defaults)
        readme = role / "README.md"
        if readme.exists() and readme.read_text() == text:
            continue
        stale.append(str(readme.relative_to(ROOT)))
        if not check:
            readme.write_text(text)
    for name in stale:
        print(f"{name}: {'stale, run `python3 tests/role_readme.py`' if check else 'written'}")
    return 1 if check and stale else 0


def render(role: str, specs: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return the README of one role as Markdown."""
    lines = [f"# eoepca.oapip.{role}", "", "<!-- Generated from meta/argument_specs.yml. -->"]
    for entry, spec in specs.items():
        lines += ["", f"## Entry point `{entry}`", "", spec["short_description"] + "."]
        for paragraph in _paragraphs(spec.get("description", [])):
            lines += ["", _plain(paragraph)]
        if spec.get("options"):
            lines += [
                "",
                "In an inventory, set the name of the first column; the second is the role's own.",
            ]
            lines += [
                "",
                "| set | role variable | type | default | meaning |",
                "|---|---|---|---|---|",
            ]
            lines += _rows(spec["options"], defaults, "")
    return "\n".join(lines) + "\n"


def _rows(options: dict[str, Any], defaults: Any, prefix: str) -> list[str]:
    rows = []
    templates = defaults if isinstance(defaults, dict) else {}
    for name, option in options.items():
        kind = option.get("type", "str")
        if "elements" in option:
            kind += f" of {option['elements']}"
        default = "required" if option.get("required") else ""
        if "default" in option:
            default = f"`{json.dumps(option['default'])}`"
        meaning = " ".join(_plain(text) for text in _paragraphs(option.get("description", [])))
        if "choices" in option:
            meaning += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        template = templates.get(name)
        found = _OPERATORS.findall(template) if isinstance(template, str) else []
        cells = [f"`{found[0]}`" if found else "", f"`{prefix}{name}`", kind, default, meaning]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        rows += _rows(option.get("options", {}), template, f"{prefix}{name}.")
    return rows


def _paragraphs(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _plain(text: str) -> str:
    text = re.sub(r"\b[UL]\(([^()]*)\)", lambda found: found.group(1).split(",")[-1].strip(), text)
    return _MARKUP.sub(
        lambda found: f"`{found.group(2) or found.group(3)}`", " ".join(text.split())
    )


if __name__ == "__main__":
    sys.exit(main())
