#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Buckets that the engine reads from and writes to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_storage
short_description: Settle the S3 buckets of an OGC API Processes engine
description:
  - Creates the buckets that are missing, with the very keys that the engine will use, so that a key
    that cannot see its bucket is found before anything is deployed.
  - Never changes or empties a bucket that exists, unless O(state=absent) and O(purge=true).
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._s3
options:
  buckets:
    description:
      - Names of the buckets.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(present) creates what is missing.
      - V(absent) deletes the buckets with all that is in them when O(purge=true).
      - Without O(purge), V(absent) keeps them and names them in RV(kept).
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - Whether O(state=absent) may delete buckets with their contents.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The stage-out bucket exists and the engine's keys may use it
  eoepca.oapip.oapip_storage:
    endpoint: https://s3.example.org
    region: eu-central-1
    access_key: "{{ oapip_s3_access_key }}"
    secret_key: "{{ oapip_s3_secret_key }}"
    buckets:
      - eoepca
"""

RETURN = r"""
changes:
  description: What was changed, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(delete).
      type: str
    kind:
      description: Kind of the object.
      type: str
    name:
      description: Name of the object.
      type: str
    fields:
      description: Fields that an update touches.
      type: list
      elements: str
assumed:
  description: Parents that check mode assumed to exist.
  returned: success
  type: list
  elements: str
kept:
  description: What was kept on purpose.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _argspec, _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._s3 import Store

SPEC = ModuleSpec(
    argument_spec={
        **_argspec.s3(),
        "buckets": {"type": "list", "elements": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "purge": {"type": "bool", "default": False},
    },
    supports_check_mode=True,
)


def plan(current: t.Set[str], buckets: t.Sequence[str], state: str, purge: bool) -> t.List[Change]:
    """Return the changes from the buckets that exist to those wanted."""
    names = list(dict.fromkeys(buckets))
    if state == "present":
        missing = (name for name in names if name not in current)
        return [Change("create", "Bucket", name, after={"name": name}) for name in missing]
    if not purge:
        return []
    there = (name for name in names if name in current)
    return [Change("delete", "Bucket", name, before={"name": name}) for name in there]


def run(params: Params, ctx: Context) -> Result:
    """Settle the buckets."""
    store = Store(params)
    buckets: t.List[str] = params["buckets"]
    current = {name for name in buckets if store.has_bucket(name)}
    changes = plan(current, buckets, params["state"], params["purge"])
    if not ctx.check_mode:
        for change in changes:
            if change.action == "create":
                store.create_bucket(change.name)
            else:
                ctx.say(f"deleting bucket {change.name} with its contents")
                store.empty_and_delete(change.name)
    absent = params["state"] == "absent"
    kept = [f"bucket {name}" for name in sorted(current)] if absent and not params["purge"] else []
    return _plan.result(changes, kept=kept)


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
