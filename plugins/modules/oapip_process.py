#!/usr/bin/python
# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_process
short_description: Deploy, replace and undeploy a process of an OGC API - Processes server
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
description:
  - Deploys an Application Package in CWL as a process (OGC API - Processes, Part 2), replaces it
    when its package
    differs, and undeploys it.
  - The package is checked before it is sent, because the engine says no more than C(file not
    found) about a bad one.
  - The package is compared with the one that the server stores; comments and formatting do not
    count as a difference.
  - A server that accepts a package and deploys it later (202) is waited for, as long as
    O(timeout).
  - Where the server forms the ID of a process itself, the task fails and names that ID; the
    Workflow has to be called so.
extends_documentation_fragment:
  - eoepca.oapip._oapip
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.oapip
attributes:
  idempotent:
    details:
      - With O(force=true) the package is sent each time.
      - A server that does not tell the stored package gets a new one only with O(force=true).
options:
  src:
    description:
      - File of the controller, or V(https://) address, that holds the package.
      - A relative path is looked for where M(ansible.builtin.copy) looks; in C(files) beside the
        playbook or in the role, then beside the playbook.
      - An address is fetched where the task runs, never by the server, which would keep its first
        answer for ever. Five redirects are followed, without a login and never from V(https://) to
        V(http://).
      - Files that it refers to (C(run), C($import), C($include)) are packed into it. A package from
        an address may refer to other addresses only.
    type: str
  content:
    description:
      - The package itself.
    type: str
  workflow:
    description:
      - ID of the Workflow to deploy, which is also the ID of the process.
      - Without it, the first Workflow of the package.
      - IDs that the engine (ZOO-Project) hides or breaks are refused there; other servers get
        them, with a warning.
      - With O(state=absent) the package is not needed.
    type: str
    aliases: [process_id]
  state:
    description:
      - Whether the process shall be there.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - With O(state=present), send the package even where nothing differs.
      - With O(state=absent), undeploy also a process that the server hides or cannot describe.
    type: bool
    default: false
seealso:
  - module: eoepca.oapip.oapip_process_info
  - module: eoepca.oapip.oapip_job
"""

EXAMPLES = r"""
- name: Deploy a process
  eoepca.oapip.oapip_process:
    url: https://zoo.example.org/alice/ogc-api
    token_url: https://auth.example.org/realms/eoepca/protocol/openid-connect/token
    client_id: oapip-cli
    username: alice
    password: "{{ alice_password }}"
    src: hello.cwl # beside the playbook; examples/ of the collection has one

- name: Deploy a certain workflow of a package
  eoepca.oapip.oapip_process:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    content: "{{ lookup('ansible.builtin.file', 'hello.cwl') }}"
    workflow: hello

- name: Undeploy it
  eoepca.oapip.oapip_process:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    workflow: hello
    state: absent
"""

RETURN = r"""
process_id:
  description: ID of the process.
  returned: success
  type: str
  sample: hello
process:
  description: Description of the process as the server gives it; empty in check mode for one that
    is not there yet.
  returned: success
  type: dict
  sample: {id: hello, title: Hello, mutable: true}
compared:
  description: Whether the stored package could be read and compared.
  returned: success
  type: bool
changes:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: dict
  sample: [{action: create, kind: process, name: hello, fields: []}]
assumed:
  description: What check mode took for granted because it is not there yet.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _cwl, _http, _ogc, _process
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
        "src": {"type": "str"},
        "content": {"type": "str"},
        "workflow": {"type": "str", "aliases": ["process_id"]},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "force": {"type": "bool", "default": False},
    },
    "mutually_exclusive": [["src", "content"]],
    "required_if": [
        ["state", "present", ["src", "content"], True],
        ["state", "absent", ["src", "content", "workflow"], True],
    ],
    "supports_check_mode": True,
}


def run(params: Params, ctx: Context) -> Result:
    """Make the process as it shall be."""
    wanted = desired(params)
    name = params["workflow"] or (wanted.id if wanted else "")
    present = params["state"] == "present"
    server = _ogc.Server(params, ctx)
    assumed = []
    try:
        current = current_state(server, name, present, params["force"])
    except OapipError as error:
        if not (ctx.check_mode and _ogc.not_there_yet(error)):
            raise
        current = _process.Current(False)
        assumed.append(f"server {server.base}")
    compared = not current.exists or current.package is not None
    if present and not compared and not params["force"]:
        ctx.warn(f"the server does not tell the package of {name}: left as it is without force")
    changes = _process.plan(current, name, wanted if present else None, params["force"])
    if wanted and changes and present:
        for line in filter(None, (_process.id_warning(current, wanted), *wanted.warnings)):
            ctx.warn(f"process {name}: {line}")
    if ctx.check_mode and changes and not assumed and (words := _process.without_part_2(server)):
        ctx.warn(words)
    if not ctx.check_mode:
        for change in changes:
            _process.apply(server, change, ctx, current.engine)
    about = current.description if present else {}
    if present and changes and not ctx.check_mode:
        about = _process.describe(server, name) or {}
    made = result(changes, assumed, process_id=name, process=about, compared=compared)
    made["diff"] = text_diff(name, current.package, wanted if present else None, bool(changes))
    return made


def desired(params: Params) -> t.Optional[_cwl.Package]:
    """Return the package of the options; None where only an id is given."""
    text = params["content"]
    if params["src"]:
        http = _http.session(params["validate_certs"], params["ca_path"])
        text = _process.fetch_source(params["src"], params["timeout"], http)
    return _cwl.load(text, params["workflow"] or "") if text is not None else None


def current_state(server: _ogc.Server, name: str, present: bool, force: bool) -> _process.Current:
    """Return the process as the server has it; forced removal takes a broken one for present."""
    try:
        return _process.observe(server, name, package=present or not force)
    except OapipError as error:
        broken = error.status is not None and error.status >= 500 and error.status != 503
        if present or not force or not (broken or error.extra.get("hidden")):
            raise
        return _process.Current(True)


def text_diff(
    name: str, before: t.Optional[str], wanted: t.Optional[_cwl.Package], changed: bool
) -> t.Dict[str, str]:
    """Return the diff of the package texts, line by line in Ansible's output."""
    after = wanted.text if wanted else ""
    return {
        "before_header": f"process {name}",
        "after_header": f"process {name}",
        "before": (before or "") if changed else "",
        "after": after if changed else "",
    }


def main() -> None:
    """Run as a module."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
