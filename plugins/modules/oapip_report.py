#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a run on one cluster: a file for machines, a table for people."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_report
short_description: Write the report of a run and show its summary
description:
  - Writes what each stage changed, what was proved and why a run stopped, as JSON, readable by its
    owner only, and shows the same as a short table.
  - The file is an output of the run, not a managed object, so writing it is no change.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.info
options:
  path:
    description:
      - File to write on the controller; its folder is created.
    type: path
    required: true
  reason:
    description:
      - Why the run stopped; empty when it went through.
    type: str
    default: ''
  stages:
    description:
      - Results of the modules, by stage.
    type: dict
    required: true
  proof:
    description:
      - Results of the validation.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write the report
  eoepca.oapip.oapip_report:
    path: "reports/{{ inventory_hostname }}.json"
    stages:
      engine: "{{ engine_result | default({}) }}"
"""

RETURN = r"""
report:
  description: What was written.
  returned: success
  type: dict
path:
  description: The file.
  returned: success
  type: str
changes:
  description: Always empty.
  returned: success
  type: list
  elements: dict
"""

import json
import os
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.eoepca.oapip.plugins.module_utils import _plan, _report
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)

SPEC = ModuleSpec(
    argument_spec={
        "path": {"type": "path", "required": True},
        "reason": {"type": "str", "default": ""},
        "stages": {"type": "dict", "required": True},
        "proof": {"type": "dict", "default": {}},
    },
    supports_check_mode=True,
)


def write(path: Path, report: t.Mapping[str, t.Any]) -> None:
    """Write the report whole or not at all, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(report, stream, indent=2, sort_keys=True)
        stream.write("\n")
    Path(name).replace(path)


def run(params: Params, ctx: Context) -> Result:
    """Write the report and show its summary."""
    path = Path(params["path"])
    report = _report.build(
        ctx.host, ctx.check_mode, params["reason"], params["stages"], params["proof"]
    )
    try:
        write(path, report)
    except OSError as error:
        doing, hint = f"writing the report {path}", "Set oapip_report_dir to a folder of yours."
        raise OapipError(doing, str(error.strerror or error), hint) from None
    for line in _report.summary(report):
        ctx.say(line)
    return _plan.result([], report=report, path=str(path))


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
