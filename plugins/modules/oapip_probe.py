#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can only be known by trying: transfers and shared volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_probe
short_description: Prove transfers and shared volumes before an engine is deployed
description:
  - Stores, reads and deletes an object named C(oapip-probe-) and a digest of cluster and namespace
    in every bucket that exists.
  - Lets two Pods in the scratch namespace O(namespace) followed by C(-probe) write to one volume of
    O(shared_storage_class) at a time and read each other's file. The namespace is removed again,
    also after a failure.
  - Does so once per digest of its inputs, RV(digest), and never in check mode.
  - On nodes that kwok simulates, nothing is mounted; RV(not_proved) says so.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.cluster
  - eoepca.oapip._kube
attributes:
  check_mode:
    support: full
    details: It probes nothing then.
  diff_mode:
    support: N/A
    details: What it makes is removed again.
options:
  state:
    description:
      - V(present) probes, V(absent) only removes what a probe left that was killed.
    type: str
    choices: [present, absent]
    default: present
  namespace:
    description:
      - Namespace of the engine; the scratch namespace is named after it.
    type: str
    required: true
  shared_storage_class:
    description:
      - Storage class to prove. Without it, no volume is tried.
    type: str
  node_selector:
    description:
      - Labels of the nodes on which the Pods run.
    type: dict
    default: {}
  image:
    description:
      - Image with a shell for the Pods.
    type: str
    default: busybox:1.37
  storage:
    description:
      - Object stores to prove.
    type: list
    elements: dict
    default: []
    suboptions:
      endpoint:
        description:
          - URL of the S3 endpoint.
        type: str
        required: true
      region:
        description:
          - Name of the region.
        type: str
        default: us-east-1
      access_key:
        description:
          - Access key ID.
        type: str
        required: true
      secret_key:
        description:
          - Secret access key.
        type: str
        required: true
      bucket:
        description:
          - Bucket to prove. One that does not exist yet is only noted.
        type: str
        required: true
      validate_certs:
        description:
          - Whether the server's certificate is verified.
        type: bool
        default: true
      ca_path:
        description:
          - File with the PEM certificates of the authorities to trust.
        type: path
      timeout:
        description:
          - Seconds that one request may take.
        type: int
        default: 30
  known_digest:
    description:
      - Digest of an earlier probe, as RV(eoepca.oapip.oapip_cluster_info#module:record) has it.
        When it
        equals that of the inputs, nothing is done.
    type: str
  wait_timeout:
    description:
      - Seconds that the Pods may take.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Prove transfers and shared volumes
  eoepca.oapip.oapip_probe:
    namespace: processing
    shared_storage_class: nfs
    storage:
      - endpoint: https://s3.example.org
        access_key: "{{ oapip_s3_access_key }}"
        secret_key: "{{ oapip_s3_secret_key }}"
        bucket: eoepca
    known_digest: "{{ cluster.record.probed | default(omit) }}"
"""

RETURN = r"""
digest:
  description: Digest of the inputs, without secrets.
  returned: success
  type: str
  sample: 8d5f0c6a2e7b4f19
skipped_by_digest:
  description: Whether nothing was done because O(known_digest) equals RV(digest).
  returned: success
  type: bool
proved:
  description: What was proved.
  returned: success
  type: list
  elements: str
  sample: [storing, reading and deleting in bucket eoepca at https://s3.example.org]
not_proved:
  description: What could not be proved, and why.
  returned: success
  type: list
  elements: str
changes:
  description: What a killed probe left and was removed. Empty when O(state=present), as everything
    is removed again.
  returned: success
  type: list
  elements: dict
assumed:
  description: Always empty.
  returned: success
  type: list
  elements: str
"""

import functools
import hashlib
import json
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _argspec,
    _findings,
    _plan,
    _scratch,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._s3 import Store
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

_STORE: _argspec.Options = {**_argspec.s3(), "bucket": {"type": "str", "required": True}}
SPEC = ModuleSpec(
    argument_spec={
        **_argspec.kube(),
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "namespace": {"type": "str", "required": True},
        "shared_storage_class": {"type": "str"},
        "node_selector": {"type": "dict", "default": {}},
        "image": {"type": "str", "default": "busybox:1.37"},
        "storage": {"type": "list", "elements": "dict", "options": _STORE, "default": []},
        "known_digest": {"type": "str"},
        "wait_timeout": {"type": "int", "default": 180},
    },
    supports_check_mode=True,
)


def digest(params: Params) -> str:
    """Return the digest of what the proof depends on; a secret cannot be guessed from it."""
    stores = [
        [entry[key] for key in ("endpoint", "region", "access_key", "bucket")]
        for entry in params["storage"]
    ]
    inputs = [params["shared_storage_class"], params["node_selector"], params["image"], stores]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def owner_of(kube: Kube, namespace: str) -> str:
    """Return a name that no other engine's probe has: several may share a bucket."""
    try:
        system = kube.get(url_of("Namespace", name="kube-system")) or {"metadata": {}}
    except OapipError as error:
        if error.status != 403:
            raise
        system = {"metadata": {}}
    return f"{system['metadata'].get('uid') or kube.host} {namespace}"


def transfer(entry: Params, owner: str, outcome: _scratch.Outcome) -> _findings.Findings:
    """Try one bucket."""
    try:
        _scratch.transfer(Store(entry), entry["bucket"], owner, outcome)
    except OapipError as error:
        about = "endpoint" if error.status is None else "secret_key"  # no answer, or a wrong one
        return _findings.from_error("transfer", error, f"stage_out_{about}")
    return []


def share(
    kube: Kube, params: Params, outcome: _scratch.Outcome, ctx: Context
) -> _findings.Findings:
    """Try one volume."""
    volume = _scratch.Volume(
        namespace=scratch_of(params),
        storage_class=params["shared_storage_class"],
        node_selector=params["node_selector"],
        image=params["image"],
    )
    deadline = Deadline(float(params["wait_timeout"]))
    try:
        _scratch.share(kube, volume, deadline, outcome, ctx)
    except OapipError as error:
        return _findings.from_error("shared volume", error, "shared_storage_class")
    return []


def scratch_of(params: Params) -> str:
    """Return the name of the scratch namespace."""
    return f"{params['namespace']}-probe"


def probe(params: Params, ctx: Context) -> _scratch.Outcome:
    """Try everything at once.

    :raises OapipError: something does not work; all of it is named.
    """
    outcome = _scratch.Outcome()
    kube = Kube.connect(params["kubeconfig"], params["kube_context"])
    owner = owner_of(kube, params["namespace"])
    checks: t.Dict[str, _findings.Check] = {
        f"transfer {number}": functools.partial(transfer, entry, owner, outcome)
        for number, entry in enumerate(params["storage"])
    }
    if params["shared_storage_class"]:
        checks["volume"] = functools.partial(share, kube, params, outcome, ctx)
    failed = _findings.gather(checks)
    if failed:
        reason = "\n".join(f"- {finding.line(_findings.VARIABLES)}" for finding in failed)
        raise OapipError("proving transfers and shared volumes", f"\n{reason}")
    return outcome


def sweep(params: Params, ctx: Context) -> t.List[Change]:
    """Remove what a killed probe left."""
    kube = Kube.connect(params["kubeconfig"], params["kube_context"])
    owner = owner_of(kube, params["namespace"])
    stores = {entry["bucket"]: Store(entry) for entry in params["storage"]}
    changes = _scratch.leftovers(kube, scratch_of(params), stores, owner)
    if not ctx.check_mode:
        _scratch.sweep(kube, stores, owner, changes)
    return changes


def run(params: Params, ctx: Context) -> Result:
    """Prove what is not proved yet, or clean up."""
    value = digest(params)
    known = value == params["known_digest"]
    outcome, changes = _scratch.Outcome(), []
    if params["state"] == "absent":
        changes = sweep(params, ctx)
    elif ctx.check_mode:
        outcome.not_proved.append("nothing is probed in check mode")
    elif not known:
        outcome = probe(params, ctx)
    return _plan.result(
        changes,
        digest=value,
        skipped_by_digest=known,
        proved=sorted(outcome.proved),
        not_proved=sorted(outcome.not_proved),
    )


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
