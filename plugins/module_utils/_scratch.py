# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Proofs that need a write: an object in a bucket, two Pods on a volume. All is removed again."""

from __future__ import annotations

import hashlib
import secrets
import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, Obj, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._preflight_cluster import is_simulated
from ansible_collections.eoepca.oapip.plugins.module_utils._s3 import Store
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline, poll

MANAGED = {"app.kubernetes.io/managed-by": "eoepca.oapip", "app.kubernetes.io/component": "probe"}
PODS = ("one", "two")
CLAIM = "shared"
GONE_SECONDS = 90.0

HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons for which a container waits and that do not pass by themselves soon."""


@dataclass
class Outcome:
    """What was proved and what could not be, in words."""

    proved: t.List[str] = field(default_factory=list)
    not_proved: t.List[str] = field(default_factory=list)


# ---------------------------------------------------------------------- transfers


def key_of(owner: str) -> str:
    """Return the key of the object, the same each time: a killed probe's is found again."""
    return f"oapip-probe-{hashlib.sha256(owner.encode()).hexdigest()[:16]}"


def transfer(store: Store, bucket: str, owner: str, outcome: Outcome) -> None:
    """Store, read and delete one small object; the bucket itself is never made here.

    :param owner: whose probe it is; no other one has that name at this store.

    :raises OapipError: the keys may not do one of these, or other bytes come back.
    """
    where = f"bucket {bucket} at {store.endpoint}"
    if not store.has_bucket(bucket):
        outcome.not_proved.append(f"transfers to {where}: it does not exist yet")
        return
    key, body = key_of(owner), secrets.token_bytes(64)
    try:
        store.put(bucket, key, body, "application/octet-stream")
        back = store.get(bucket, key)
    finally:
        store.delete(bucket, key)
    if back != body:
        raise OapipError(
            f"reading {bucket}/{key} back from S3 at {store.endpoint}",
            "other bytes came back than were stored" if back else "the object is not there",
            "See that no cache or proxy stands before the object store.",
        )
    outcome.proved.append(f"storing, reading and deleting in {where}")


# ---------------------------------------------------------------------- shared volume


@dataclass(frozen=True)
class Volume:
    """What the engine's Pods will ask for."""

    namespace: str
    storage_class: str
    node_selector: t.Mapping[str, str]
    image: str

    def objects(self) -> t.List[Obj]:
        """Return the claim and the Pods, in the order of making."""
        meta = {"namespace": self.namespace, "labels": dict(MANAGED)}
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {**meta, "name": CLAIM},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": self.storage_class,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        return [claim, *(self._pod(meta, *pair) for pair in (PODS, PODS[::-1]))]

    def _pod(self, meta: Obj, name: str, other: str) -> Obj:
        # each writes its own file and waits for the other's: both hold the volume at one time
        script = (
            f"echo {name} > /data/{name} || exit 3; n=0; "
            f'until [ "$(cat /data/{other} 2>/dev/null)" = {other} ]; do '
            "n=$((n+1)); [ $n -gt 600 ] && exit 4; sleep 1; done"
        )
        container = {
            "name": "probe",
            "image": self.image,
            "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False},
        }
        apart = {
            "weight": 100,
            "podAffinityTerm": {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": dict(MANAGED)},
            },
        }
        spec = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "nodeSelector": dict(self.node_selector),
            "affinity": {
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}
            },
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**meta, "name": name},
            "spec": spec,
        }


def share(kube: Kube, volume: Volume, deadline: Deadline, outcome: Outcome, ctx: Context) -> None:
    """Let two Pods write to one volume and read each other's file.

    :raises OapipError: they cannot, or not in time.
    """
    name = volume.namespace
    doing = f"proving that volumes of {volume.storage_class} can be shared"
    _claim_namespace(kube, name)
    try:
        for obj in volume.objects():
            kube.create(obj)
        told = ""
        bound = kube.until(deadline)

        def look() -> t.Tuple[bool, t.Tuple[t.Optional[str], str]]:
            nonlocal told
            pods = bound.list(url_of("Pod", name))
            nodes = {pod["spec"].get("nodeName") for pod in pods} - {None}
            state, said = judge(pods, _simulated(bound, nodes))
            if said != told:
                told = said
                ctx.say(f"{doing}: {said}")
            return state is not None, (state, said)

        done, (state, said) = poll(look, deadline, smallest=0.5, largest=5.0)
        if not done or state == FAILED:
            why = f"{said}{_events(kube, name)}"
            late = "" if done else f" after {int(deadline.seconds)} s"
            hint = "Name a storage class whose volumes are ReadWriteMany, and see that the nodes"
            raise OapipError(doing, f"{why}{late}", f"{hint} can pull the probe's image.")
        subject = f"a volume of {volume.storage_class} written and read by two Pods at a time"
        if state == SIMULATED:
            outcome.proved.append(f"a claim of {volume.storage_class} is bound for two Pods")
            outcome.not_proved.append(f"{subject}: not proved here, kwok mounts nothing")
        else:
            outcome.proved.append(subject)
    finally:
        _remove_namespace(kube, name, ctx)


DONE = "done"
SIMULATED = "simulated"
FAILED = "failed"


def judge(pods: t.Sequence[Obj], simulated: bool) -> t.Tuple[t.Optional[str], str]:
    """Return how the Pods stand (None: wait on), and that in words.

    :param simulated: whether kwok plays their nodes, where a running Pod never ends.
    """
    phases = {p["metadata"]["name"]: str((p.get("status") or {}).get("phase")) for p in pods}
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in HOPELESS:
                more = f": {waiting['message']}" if waiting.get("message") else ""
                return FAILED, f"Pod {name} cannot start, {waiting['reason']}{more}"
            code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
            if code == 3:
                return FAILED, f"Pod {name} cannot write to the volume"
            if code:
                return FAILED, f"Pod {name} ended with exit code {code}"
    words = ", ".join(f"Pod {name} {phase}" for name, phase in sorted(phases.items()))
    if "Failed" in phases.values():
        return FAILED, words
    if len(phases) < len(PODS):
        return None, words or "no Pods yet"
    if simulated and set(phases.values()) <= {"Running", "Succeeded"}:
        return SIMULATED, words  # kwok calls a Pod successful that never ran
    if set(phases.values()) == {"Succeeded"}:
        return DONE, words
    return None, words


def _simulated(kube: Kube, names: t.Collection[str]) -> bool:
    nodes = [kube.get(url_of("Node", name=name)) for name in names]
    return bool(nodes) and all(node is not None and is_simulated(node) for node in nodes)


def _events(kube: Kube, namespace: str) -> str:
    """Return the newest warnings of a namespace: only they say why nothing is provisioned."""
    events = kube.list(url_of("Event", namespace), field_selector="type=Warning")
    texts = dict.fromkeys(str(event.get("message", "")).strip() for event in events[-5:])
    return "".join(f"; {text[:200]}" for text in texts if text)


def leftovers(
    kube: Kube, namespace: str, stores: t.Mapping[str, Store], owner: str
) -> t.List[Change]:
    """Return the deletions of what a killed probe left: its namespace, an object in each bucket."""
    changes = []
    found = kube.get(url_of("Namespace", name=namespace))
    if found is not None and _is_ours(found) and not found["metadata"].get("deletionTimestamp"):
        changes.append(Change("delete", "Namespace", namespace, {"name": namespace}))
    for bucket, store in stores.items():
        if any(store.objects(bucket, key_of(owner))):
            changes.append(
                Change("delete", "Object", f"{bucket}/{key_of(owner)}", {"bucket": bucket})
            )
    return changes


def sweep(
    kube: Kube, stores: t.Mapping[str, Store], owner: str, changes: t.Sequence[Change]
) -> None:
    """Make the deletions, and wait until the namespace is gone.

    :raises OapipError: a deletion was refused.
    """
    for change in changes:
        if change.kind == "Namespace":
            path = url_of("Namespace", name=change.name)
            kube.delete(path)
            _await_gone(kube, path)
        else:
            bucket = (change.before or {})["bucket"]
            stores[bucket].delete(bucket, key_of(owner))


def _is_ours(namespace: Obj) -> bool:
    return MANAGED.items() <= (namespace["metadata"].get("labels") or {}).items()


def _claim_namespace(kube: Kube, name: str) -> None:
    """Make the scratch namespace; one that a killed probe left is removed first."""
    path = url_of("Namespace", name=name)
    found = kube.get(path)
    if found is not None:
        if not _is_ours(found):
            raise OapipError(
                f"making the scratch namespace {name}",
                "it exists and is not the probe's",
                "Delete or rename it; the probe would remove it with all that is in it.",
            )
        kube.delete(path, uid=found["metadata"]["uid"])
        _await_gone(kube, path)
    kube.create(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": dict(MANAGED)},
        }
    )


def _await_gone(kube: Kube, path: str) -> bool:
    deadline = Deadline(GONE_SECONDS)
    bound = kube.until(deadline)

    def look() -> t.Tuple[bool, None]:
        return bound.get(path) is None, None

    return poll(look, deadline, smallest=0.25, largest=3.0)[0]


def _remove_namespace(kube: Kube, name: str, ctx: Context) -> None:
    """Remove the scratch namespace whatever happened before; a failure here hides none."""
    path = url_of("Namespace", name=name)
    try:
        kube.delete(path)
        gone = _await_gone(kube, path)
    except OapipError as error:
        ctx.warn(f"the scratch namespace {name} may be left: {error}")
        return
    if not gone:
        ctx.warn(f"the scratch namespace {name} is still being removed")
