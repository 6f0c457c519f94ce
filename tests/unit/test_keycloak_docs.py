"""Every option of Keycloak's modules says which term of Keycloak, or which path, it stands for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

PLUGINS = "ansible_collections.eoepca.oapip.plugins"
MODULES = ("keycloak_access_info", "keycloak_client", "keycloak_protect", "keycloak_user")
OURS = {
    "ca_path",
    "contexts.mode",
    "fail_on_mismatch",
    "timeout",
    "validate_certs",
}
"""Options that Keycloak knows nothing of."""


def told(options: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield each option and what is said about it."""
    for name, option in options.items():
        yield above + name, " ".join(option["description"])
        yield from told(option.get("suboptions", {}), f"{above}{name}.")


@pytest.mark.parametrize("module", MODULES)
def test_each_option_has_its_term(module: str) -> None:
    fragment = importlib.import_module(f"{PLUGINS}.doc_fragments._keycloak").ModuleDocFragment
    texts = (
        importlib.import_module(f"{PLUGINS}.modules.{module}").DOCUMENTATION,
        fragment.DOCUMENTATION,
    )
    without = {
        name
        for text in texts
        for name, words in told(yaml.safe_load(text)["options"])
        if "C(" not in words
    }
    assert without <= OURS
