#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory's own variables, checked before anything is asked of any server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_settings_info
short_description: Check the C(oapip_*) variables of an inventory
description:
  - Tells all variables that the roles do not know, with the name that may have been meant, those of
    a wrong type or value, those that are missing, and two clusters that share a Keycloak client.
  - Names and types come from the defaults and the argument specs of the roles, so nothing is
    declared twice.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.info
options:
  names:
    description:
      - Names of all variables of the host that begin with C(oapip_).
    type: list
    elements: str
    required: true
  values:
    description:
      - Values of those that are not secret, by name.
    type: dict
    required: true
  secrets:
    description:
      - Values of those that are secret, by name. None of them is shown.
    type: dict
    default: {}
  clients:
    description:
      - A line for each host of the inventory, to tell who shares a Keycloak client. Its words are
        the host, its client, Keycloak's URL, the realm, and whether Keycloak protects the host.
    type: list
    elements: str
    default: []
  roles_path:
    description:
      - Folder of the roles on the controller.
    type: path
    required: true
  playbooks_path:
    description:
      - Folder of the playbooks on the controller.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Check the variables of the inventory
  eoepca.oapip.oapip_settings_info:
    names: "{{ q('ansible.builtin.varnames', '^oapip_') }}"
    values:
      oapip_domain: example.org
    roles_path: "{{ playbook_dir }}/../roles"
    playbooks_path: "{{ playbook_dir }}"
"""

RETURN = r"""
known:
  description: Names of the variables that the roles and playbooks know.
  returned: success
  type: list
  elements: str
changes:
  description: Always empty.
  returned: success
  type: list
  elements: dict
"""

from ansible_collections.eoepca.oapip.plugins.module_utils import _plan, _settings
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
        "names": {"type": "list", "elements": "str", "required": True},
        "values": {"type": "dict", "required": True},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
        "clients": {"type": "list", "elements": "str", "default": []},
        "roles_path": {"type": "path", "required": True},
        "playbooks_path": {"type": "path", "required": True},
    },
    supports_check_mode=True,
)


def run(params: Params, ctx: Context) -> Result:
    """Check the variables of one host."""
    settings = _settings.read(params["roles_path"], params["playbooks_path"])
    mistakes = [
        *_settings.unknown(params["names"], settings),
        *_settings.missing(params["names"], settings),
        *_settings.wrong({**params["values"], **params["secrets"]}, settings),
        *_settings.incomplete(params["names"], params["values"]),
        *_settings.shared(ctx.host, params["clients"]),
    ]
    if mistakes:
        raise OapipError(
            f"checking the variables of {ctx.host}",
            "".join(f"\n  - {mistake}" for mistake in mistakes),
            "Nothing was written.",
            extra={"mistakes": mistakes},
        )
    return _plan.result([], known=sorted(settings.known))


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
