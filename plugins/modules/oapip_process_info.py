#!/usr/bin/python
# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_process_info
short_description: Read processes of an OGC API - Processes server
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
description:
  - Reads the description of one process, or the summaries of all, and the package of each where
    that is wanted.
extends_documentation_fragment:
  - eoepca.oapip._oapip
  - eoepca.oapip._attributes.info
  - eoepca.oapip._attributes.oapip
options:
  process_id:
    description:
      - The process to read; without it, all.
    type: str
  package:
    description:
      - Whether to read the package of each deployed process too; with all processes, this is a
        backup.
    type: bool
    default: false
seealso:
  - module: eoepca.oapip.oapip_process
"""

EXAMPLES = r"""
- name: Read one process
  eoepca.oapip.oapip_process_info:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    process_id: hello

- name: Back up all packages of a context
  eoepca.oapip.oapip_process_info:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    package: true
  register: backup
"""

RETURN = r"""
processes:
  description:
    - Descriptions (one process) or summaries (all); empty where the process asked for does not
      exist.
    - With O(package=true), each deployed one has the key C(package), null where the server does
      not tell it.
  returned: success
  type: list
  elements: dict
  sample: [{id: hello, title: Hello, mutable: true, version: 1.0.0}]
assumed:
  description: What check mode took for granted because it is not there yet.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.eoepca.oapip.plugins.module_utils import _ogc, _process
from ansible_collections.eoepca.oapip.plugins.module_utils._argspec import ogc
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import result

SPEC: ModuleSpec = {
    "argument_spec": {
        **ogc(),
        "process_id": {"type": "str"},
        "package": {"type": "bool", "default": False},
    },
    "supports_check_mode": True,
}


def run(params: Params, ctx: Context) -> Result:
    """Read one process, or all."""
    server = _ogc.Server(params, ctx)
    try:
        if params["process_id"]:
            one = _process.describe(server, params["process_id"])
            found = [one] if one else []
        else:
            found = _process.listed(server)
        if params["package"]:
            found = _process.with_packages(server, found, ctx)
    except OapipError as error:
        if not (ctx.check_mode and _ogc.not_there_yet(error)):
            raise
        return result([], [f"server {server.base}"], processes=[])
    return result([], processes=found)


def main() -> None:
    """Run as a module."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
