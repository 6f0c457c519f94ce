# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A lock on a cluster as a Lease (coordination.k8s.io/v1): one run at a time for one namespace.

Writes carry the resourceVersion that was read, so of two runs the server lets one win.
API: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/lease-v1/
"""

from __future__ import annotations

import datetime
import hashlib
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, Obj, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline, step

PROCESS = "oapip.eoepca.org/process"
"""Annotation: machine, boot, process id and its start, so that a dead holder is known as such."""

FREE = "free"
OURS = "ours"
EXPIRED = "expired"
DEAD = "dead"
HELD = "held"


class LostError(OapipError):
    """The lock is another run's now."""


@dataclass(frozen=True)
class Claim:
    """Who wants the lock, and for how long a silent holder keeps it."""

    namespace: str
    name: str
    holder: str
    seconds: int
    process: str = ""


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def stamp(moment: datetime.datetime) -> str:
    """Return a MicroTime of the Kubernetes API."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: t.Optional[str]) -> t.Optional[datetime.datetime]:
    """Read a MicroTime; None where it is none."""
    try:
        return datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None


def process_of(pid: t.Optional[int]) -> str:
    """Return what tells a process of this machine from every other, now and after a reboot."""
    if not pid:
        return ""
    started = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(started) < 20:
        return ""
    machine = _read("/etc/machine-id") + _link("/proc/self/ns/pid") + os.uname().nodename
    token = hashlib.sha256(machine.encode()).hexdigest()[:12]
    boot = _read("/proc/sys/kernel/random/boot_id").strip()[:8]
    return f"{token}/{boot}/{pid}/{started[19]}"


def is_alive(process: str, mine: str) -> t.Optional[bool]:
    """Whether a noted process runs; None where it is not of our own machine, so nobody knows."""
    noted, own = process.split("/"), mine.split("/")
    if len(noted) != 4 or len(own) != 4 or noted[0] != own[0]:
        return None
    if noted[1] != own[1]:
        return False  # the machine was started again
    return process_of(int(noted[2]) if noted[2].isdigit() else None) == process


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def judge(lease: t.Optional[Obj], claim: Claim, at: datetime.datetime) -> str:
    """Return how the lock stands for a claim."""
    if lease is None:
        return FREE
    spec = lease.get("spec") or {}
    if not spec.get("holderIdentity"):
        return FREE
    if spec["holderIdentity"] == claim.holder:
        return OURS
    noted = (lease["metadata"].get("annotations") or {}).get(PROCESS, "")
    alive = is_alive(noted, claim.process)
    if alive is not None:  # better than any clock
        return HELD if alive else DEAD
    renewed = moment_of(spec.get("renewTime") or spec.get("acquireTime"))
    length = datetime.timedelta(seconds=int(spec.get("leaseDurationSeconds") or 0))
    return EXPIRED if renewed is None or renewed + length <= at else HELD


def wanted(lease: t.Optional[Obj], claim: Claim, at: datetime.datetime) -> Obj:
    """Return the Lease as the holder writes it: made, renewed or taken over."""
    old = (lease or {}).get("spec") or {}
    ours = old.get("holderIdentity") == claim.holder
    meta: Obj = {"name": claim.name, "namespace": claim.namespace}
    if lease is not None:
        meta["resourceVersion"] = lease["metadata"]["resourceVersion"]
    noted = ((lease or {"metadata": {}})["metadata"].get("annotations") or {}).get(PROCESS, "")
    process = claim.process or (noted if ours else "")
    if process:
        meta["annotations"] = {PROCESS: process}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": meta,
        "spec": {
            "holderIdentity": claim.holder,
            "leaseDurationSeconds": claim.seconds,
            "acquireTime": old["acquireTime"] if ours else stamp(at),
            "renewTime": stamp(at),
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours else 1),
        },
    }


def told(lease: Obj) -> str:
    """Return the holder of a Lease and since when, in words."""
    spec = lease["spec"]
    since = moment_of(spec.get("acquireTime"))
    return (
        f"{spec.get('holderIdentity')} since {since:%Y-%m-%d %H:%M:%S} UTC"
        if since
        else str(spec.get("holderIdentity"))
    )


def _look(kube: Kube, path: str, last: t.Optional[Obj], deadline: Deadline) -> t.Optional[Obj]:
    """Read the Lease; where the time is up and nobody answers, what was seen last stands."""
    try:
        return kube.get(path)
    except OapipError:
        if last is None or not deadline.over:
            raise
        return last


def _held(doing: str, lease: Obj, claim: Claim) -> OapipError:
    spec = lease["spec"]
    hint = (
        "Wait for that run to end, or raise wait. If it is gone: kubectl -n "
        f"{claim.namespace} delete lease {claim.name}"
    )
    extra = {"held_by": spec.get("holderIdentity"), "since": spec.get("acquireTime")}
    return OapipError(doing, f"{told(lease)} holds it", hint, extra=extra)


def acquire(
    kube: Kube, claim: Claim, deadline: Deadline, ctx: Context
) -> t.Tuple[Obj, t.Optional[str]]:
    """Take or renew the lock; return the Lease and the name of a holder who lost it.

    :raises OapipError: another run holds it until the deadline.
    """
    path = url_of("Lease", claim.namespace, claim.name)
    doing = f"taking the lock {claim.namespace}/{claim.name}"
    said = ""
    lease: t.Optional[Obj] = None
    looking = kube  # the first look has its own time: the deadline is that of the wait for others
    while True:
        lease = _look(looking, path, lease, deadline)
        state = judge(lease, claim, now())
        if lease is not None and state == HELD:
            who = told(lease)
            if ctx.check_mode:
                ctx.warn(f"{doing}: {who} is at work here, so this dry run may be out of date soon")
                return lease, None
            if deadline.over:
                raise _held(doing, lease, claim)
            if who != said:
                said = who
                ctx.say(f"waiting for the lock: {who} holds it")
            deadline.sleep(step(deadline.elapsed, largest=10.0))
            looking = kube.until(deadline)
            continue
        loser = None
        if lease is not None and state in (EXPIRED, DEAD):
            loser = str(lease["spec"].get("holderIdentity"))
            why = "did not renew it in time" if state == EXPIRED else "is no longer running"
            ctx.warn(f"{doing}: taken over from {told(lease)}, who {why}")
        mine = wanted(lease, claim, now())
        if ctx.check_mode:
            return mine, loser
        try:
            return (kube.create(mine) if lease is None else kube.replace(mine)), loser
        except OapipError as error:
            if lease is None and error.status == 404:
                hint = (
                    f"Create the namespace {claim.namespace}, or name another with lock_namespace."
                )
                raise OapipError(
                    doing, error.reason, hint, 404, error.path, server=error.server
                ) from None
            if error.status not in (404, 409):
                raise
        deadline.clock.sleep(0.2)  # somebody was faster: look who


def renew(kube: Kube, claim: Claim) -> None:
    """Renew a lock that we took.

    :raises LostError: another run has it now.
    :raises OapipError: the server could not be asked.
    """
    doing = f"renewing the lock {claim.namespace}/{claim.name}"
    path = url_of("Lease", claim.namespace, claim.name)
    lease = kube.get(path)
    if lease is None or judge(lease, claim, now()) != OURS:
        who = told(lease) if lease is not None else "nobody"
        hint = "What this run changed since is not complete: run again when that run has ended."
        raise LostError(doing, f"it was lost, {who} holds it", hint)
    kube.replace(wanted(lease, claim, now()))


def renew_at(lease: t.Mapping[str, t.Any], holder: str) -> None:
    """Renew the lock that a task took, from that task's result.

    :raises OapipError: as `renew` does.
    """
    kube = Kube.connect(lease["kubeconfig"], lease["kube_context"])
    try:
        renew(kube, Claim(lease["namespace"], lease["name"], holder, lease["seconds"]))
    finally:
        kube.close()


def release(kube: Kube, claim: Claim, ctx: Context) -> bool:
    """Give the lock back; False where it is not ours (any more)."""
    path = url_of("Lease", claim.namespace, claim.name)
    for _attempt in range(3):
        lease = kube.get(path)
        if lease is None or judge(lease, claim, now()) != OURS:
            return False
        if ctx.check_mode:
            return True
        meta = lease["metadata"]
        exact = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        try:
            kube.request("DELETE", path, {"preconditions": exact})
        except OapipError as error:
            if error.status == 404:
                return True
            if error.status != 409:
                raise
        else:
            return True
    return False
