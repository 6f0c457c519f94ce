#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time for one engine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_lock
short_description: Keep two runs on one cluster apart
description:
  - Takes, renews or gives back a lock, a Lease named C(oapip-) and O(namespace).
  - A lock whose process on this machine has ended is taken over at once, and one of another machine
    when it was not renewed for O(duration) seconds; a warning names the old holder. A lock whose
    process runs on this machine is never taken over.
  - When the result is registered as C(site_lock), as the playbooks do, the other modules of this
    collection renew the lock before they begin, and fail when another run has taken it.
  - The Lease is no object of the engine, so it appears in no list of changes.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.cluster
  - eoepca.oapip._kube
attributes:
  idempotent:
    support: full
    details: Taken again by the same holder, the Lease is renewed.
options:
  namespace:
    description:
      - Namespace of the engine that the lock is for.
    type: str
    required: true
  lock_namespace:
    description:
      - Namespace of the Lease. It has to exist, which that of the engine need not.
    type: str
    default: default
  state:
    description:
      - V(held) takes or renews the lock, V(released) gives it back when O(holder) has it.
    type: str
    choices: [held, released]
    default: held
  holder:
    description:
      - Name of the run. By default one is made of user, host, process and a random part.
      - Required when O(state=released); it is RV(holder) of the task that took the lock.
    type: str
  pid:
    description:
      - Process that the lock ends with, on the machine that runs the module. Run in Ansible's own
        process, the default is that process; else there is none.
    type: int
  wait:
    description:
      - Seconds to wait for a lock that another run holds.
    type: int
    default: 0
  duration:
    description:
      - Seconds after which a lock that is not renewed may be taken over.
    type: int
    default: 3600
  cluster_uid:
    description:
      - UID that the namespace C(kube-system) must have. Another cluster's lock is not taken.
    type: str
  record:
    description:
      - Notes for later runs, written as annotations on O(namespace) when the lock is given back.
      - Empty values are left out, and nothing is written where all is noted already.
    type: dict
    default: {}
  forget:
    description:
      - Names of notes that hold no longer. They are taken off O(namespace) when the lock is given
        back.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Take the lock
  eoepca.oapip.oapip_lock:
    namespace: processing
    wait: 600
  register: lock

- name: Give it back
  eoepca.oapip.oapip_lock:
    namespace: processing
    holder: "{{ lock.holder }}"
    state: released
"""

RETURN = r"""
holder:
  description: Name of this run.
  returned: success
  type: str
  sample: ops@build-7:4242-9f3c
held:
  description: Whether this run holds the lock now.
  returned: success
  type: bool
held_by:
  description: Name of the other run that holds the lock.
  returned: when the lock could not be taken
  type: str
cluster_uid:
  description: UID of the namespace C(kube-system).
  returned: when O(state=held), where it may be read
  type: str
lease:
  description: The Lease, and how to reach it, for those who renew it.
  returned: success
  type: dict
  contains:
    namespace:
      description: Its namespace.
      type: str
    name:
      description: Its name.
      type: str
    seconds:
      description: O(duration).
      type: int
    taken:
      description: When this task was done, in seconds since 1970.
      type: float
    kubeconfig:
      description: O(kubeconfig).
      type: str
    kube_context:
      description: O(kube_context).
      type: str
taken_over_from:
  description: Holder that lost the lock; empty where nobody did.
  returned: success
  type: str
recorded:
  description: Notes that were written; of a note that was taken off the value is empty.
  returned: success
  type: dict
changes:
  description: Always empty, as the Lease and the notes are no objects of the engine.
  returned: success
  type: list
  elements: dict
assumed:
  description: Always empty.
  returned: success
  type: list
  elements: str
"""

import getpass
import os
import secrets
import socket
import time
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _argspec, _lease, _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

MARK = "oapip.eoepca.org/"

SPEC = ModuleSpec(
    argument_spec={
        **_argspec.kube(),
        "namespace": {"type": "str", "required": True},
        "lock_namespace": {"type": "str", "default": "default"},
        "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
        "holder": {"type": "str"},
        "pid": {"type": "int"},
        "wait": {"type": "int", "default": 0},
        "duration": {"type": "int", "default": 3600},
        "cluster_uid": {"type": "str"},
        "record": {"type": "dict", "default": {}},
        "forget": {"type": "list", "elements": "str", "default": []},
    },
    required_if=[["state", "released", ["holder"]]],
    supports_check_mode=True,
)


def default_holder(pid: t.Optional[int]) -> str:
    """Return a name that a person recognises and no other run has."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{pid or os.getpid()}-{secrets.token_hex(2)}"


def uid_of(kube: Kube, wish: t.Optional[str]) -> str:
    """Return which cluster this is; without a wish, nothing where that may not be read.

    :raises OapipError: it is another one than wished.
    """
    try:
        system = kube.get(url_of("Namespace", name="kube-system")) or {"metadata": {}}
    except OapipError as error:
        if wish or error.status != 403:
            raise
        return ""
    uid = str(system["metadata"].get("uid", ""))
    if wish and uid != wish:
        raise OapipError(
            f"looking which cluster {kube.host} is",
            f"it is the one with UID {uid}, not {wish}",
            "Give the kubeconfig and context of the right cluster, or correct oapip_cluster_uid.",
        )
    return uid


def note(
    kube: Kube, namespace: str, record: Params, ctx: Context, forget: t.Sequence[str] = ()
) -> t.Dict[str, str]:
    """Write what is new of the notes on the namespace; return it, a forgotten one as empty."""
    wanted: t.Dict[str, t.Optional[str]] = {f"{MARK}{key}": None for key in forget}
    wanted.update({f"{MARK}{key}": str(value) for key, value in record.items() if value})
    if not wanted:
        return {}
    path = url_of("Namespace", name=namespace)
    found = kube.get(path)
    if found is None:
        return {}
    have = found["metadata"].get("annotations") or {}
    new = {key: value for key, value in wanted.items() if have.get(key) != value}
    if new and not ctx.check_mode:
        kube.patch(path, {"metadata": {"annotations": new}})
    return {key[len(MARK) :]: value or "" for key, value in new.items()}


def run(params: Params, ctx: Context) -> Result:
    """Take the lock or give it back."""
    kube = Kube.connect(params["kubeconfig"], params["kube_context"])
    claim = _lease.Claim(
        namespace=params["lock_namespace"],
        name=f"oapip-{params['namespace']}",
        holder=params["holder"] or default_holder(params["pid"]),
        seconds=params["duration"],
        process=_lease.process_of(params["pid"]),
    )
    recorded: t.Dict[str, str] = {}
    loser: t.Optional[str] = None
    if params["state"] == "held":
        uid = uid_of(kube, params["cluster_uid"])
        lease, loser = _lease.acquire(kube, claim, Deadline(float(params["wait"])), ctx)
        held = lease["spec"]["holderIdentity"] == claim.holder and not ctx.check_mode
    else:
        uid = ""
        held = False
        try:  # a note that cannot be written is no reason to keep the lock
            recorded = note(kube, params["namespace"], params["record"], ctx, params["forget"])
        finally:
            if not _lease.release(kube, claim, ctx) and not ctx.check_mode:
                ctx.warn(f"the lock {claim.namespace}/{claim.name} was not held by {claim.holder}")
    facts = {"cluster_uid": uid} if uid else {}
    return _plan.result(
        [],
        holder=claim.holder,
        held=held,
        lease={
            "namespace": claim.namespace,
            "name": claim.name,
            "seconds": claim.seconds,
            "taken": time.time(),
            "kubeconfig": params["kubeconfig"],
            "kube_context": params["kube_context"],
        },
        taken_over_from=loser or "",
        recorded=recorded,
        **facts,
    )


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
