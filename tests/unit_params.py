"""Options as a module gets them: validated, with defaults."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator


def params_of(module: ModuleType, given: dict[str, Any]) -> dict[str, Any]:
    """Return the validated options, or fail with what is wrong with them."""
    spec = {key: value for key, value in module.SPEC.items() if key != "supports_check_mode"}
    checked = ArgumentSpecValidator(**spec).validate(given)
    assert not checked.error_messages, checked.error_messages
    params: dict[str, Any] = checked.validated_parameters
    return params
