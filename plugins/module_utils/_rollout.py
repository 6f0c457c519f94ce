# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A rollout watched live: one line per change, an early end when it cannot succeed.

Which pods belong to a workload is read from owner references, never from labels: in this chart the
broker's pods carry the engine's labels.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import PASSING, Kube, Obj, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

Names = t.Collection[t.Tuple[str, str]]

PATIENCE = {
    "InvalidImageName": 0.0,
    "ErrImageNeverPull": 0.0,
    "ImagePullBackOff": 5.0,
    "CreateContainerConfigError": 10.0,
    "CrashLoopBackOff": 15.0,
    "FailedCreate": 5.0,
    "FailedScheduling": 30.0,
}
"""Seconds that a state may last before we call it final: it may pass by itself."""
HINTS = {
    "ImagePullBackOff": "Check the image's name, the registry and image_pull_secrets.",
    "CreateContainerConfigError": "A Secret or ConfigMap that the pod names is missing.",
    "CrashLoopBackOff": "Read the container's log: kubectl logs -n {namespace} {pod} --previous",
    "FailedCreate": "Pod Security, a quota or a webhook refuses the pods of this namespace.",
    "FailedScheduling": "Check node_selector, the storage classes and the free resources.",
}
GLANCE = 2.0
"""Seconds a watch of the pods lasts at most before the workloads are looked at again."""


@dataclass(frozen=True)
class Trouble:
    """Something that keeps a workload from getting ready."""

    reason: str
    subject: str
    message: str


def ready(workload: t.Optional[Obj]) -> bool:
    """Whether all replicas of a Deployment or StatefulSet run the newest template and are ready."""
    if workload is None:
        return False
    spec, status = workload["spec"], workload.get("status") or {}
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    counts = ["updatedReplicas", "readyReplicas", "replicas"]
    if workload.get("kind", "Deployment") == "StatefulSet" and wanted:
        fresh = status.get("currentRevision") == status.get("updateRevision")
        counts = ["readyReplicas", "replicas"] if fresh else counts
    return all((status.get(key) or 0) == wanted for key in counts)


def summary(workloads: t.Mapping[t.Tuple[str, str], Obj]) -> t.List[t.Dict[str, t.Any]]:
    """What the module returns of workloads."""
    return [
        {
            "kind": kind,
            "name": name,
            "replicas": obj["spec"].get("replicas", 1),
            "ready": (obj.get("status") or {}).get("readyReplicas") or 0,
        }
        for (kind, name), obj in sorted(workloads.items())
    ]


def container_trouble(pod: Obj) -> t.Iterator[Trouble]:
    """What the kubelet says of the containers of a pod, and the scheduler of the pod."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    both = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for item in both:
        waiting = (item.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in PATIENCE:
            image = f"container {item['name']}, image {item.get('image', '?')}"
            said = waiting.get("message") or "no message"
            last = ((item.get("lastState") or {}).get("terminated") or {}).get("message", "")
            yield Trouble(waiting["reason"], f"Pod {name}", f"{image}: {said} {last}".strip())
    for item in status.get("conditions") or []:
        if item.get("type") == "PodScheduled" and item.get("reason") == "Unschedulable":
            yield Trouble("FailedScheduling", f"Pod {name}", item.get("message", ""))


@dataclass
class Rollout:
    """The wait for some workloads of a namespace."""

    kube: Kube
    namespace: str
    names: Names
    deadline: Deadline
    say: t.Callable[[str], None]
    _seen: t.Dict[t.Tuple[str, str], float] = field(default_factory=dict)
    _old_events: t.Optional[t.Set[str]] = None
    _told: t.Dict[t.Tuple[str, str], str] = field(default_factory=dict)
    _last: t.Dict[t.Tuple[str, str], Obj] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kube = self.kube.until(self.deadline)

    def wait(self) -> t.Dict[t.Tuple[str, str], Obj]:
        """Return the workloads when all are ready.

        :raises OapipError: the time is up, or a state that cannot recover has lasted too long.
        """
        while True:
            workloads = self._last = self.look()
            waiting = [key for key in sorted(self.names) if not self._is_ready(workloads, key)]
            self._tell(workloads)
            if not waiting:
                return workloads
            pods = self.kube.listing(url_of("Pod", self.namespace))
            troubles = self.troubles(pods.items)
            if self._unstick(workloads, pods.items, troubles):
                continue
            self._judge(troubles)
            if self.deadline.over:
                raise self._failure(
                    "the time is up; not ready: "
                    + ", ".join(f"{kind} {name}" for kind, name in waiting)
                    + "".join(f"; {item.subject}: {item.message}" for item in troubles[:3]),
                    "Raise wait_timeout, or look at the pods: "
                    f"kubectl get pods -n {self.namespace}",
                )
            self._glance(pods.resource_version)

    def look(self) -> t.Dict[t.Tuple[str, str], Obj]:
        """Read the workloads: two requests."""
        found = {}
        for kind in ("Deployment", "StatefulSet"):
            for item in self.kube.list(url_of(kind, self.namespace)):
                key = (kind, item["metadata"]["name"])
                if key in self.names:
                    found[key] = {**item, "kind": kind}
        return found

    def troubles(self, pods: t.Iterable[Obj]) -> t.List[Trouble]:
        """What is wrong now: with pods, or with a controller that may not make them."""
        found = [
            trouble
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
            for trouble in container_trouble(pod)
            if self._owned(pod)
        ]
        return found + self._refused()

    def _refused(self) -> t.List[Trouble]:
        """Pods that could not be made; events from before this wait are history, not a cause."""
        path = url_of("Event", self.namespace)
        events = self.kube.list(path, field_selector="reason=FailedCreate")
        marks = {f"{item['metadata'].get('uid')}/{item.get('count')}" for item in events}
        if self._old_events is None:
            self._old_events = marks
        found = []
        for event in events:
            owner = event["involvedObject"]
            fresh = f"{event['metadata'].get('uid')}/{event.get('count')}" not in self._old_events
            if fresh and any(owner.get("name", "").startswith(name) for _kind, name in self.names):
                subject = f"{owner.get('kind')} {owner.get('name')}"
                found.append(Trouble("FailedCreate", subject, event.get("message", "")))
        return found

    def _unstick(
        self,
        workloads: t.Mapping[t.Tuple[str, str], Obj],
        pods: t.Sequence[Obj],
        troubles: t.Sequence[Trouble],
    ) -> bool:
        """Delete pods of an older revision that a StatefulSet waits for in vain.

        With ordered pod management the controller replaces no pod before it is ready:
        https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
        """
        wanted = {
            name: (obj.get("status") or {}).get("updateRevision")
            for (kind, name), obj in workloads.items()
            if kind == "StatefulSet"
        }
        broken = {item.subject for item in troubles}
        deleted = False
        for pod in pods:
            meta = pod["metadata"]
            owner = next((o["name"] for o in meta.get("ownerReferences") or []), "")
            revision = (meta.get("labels") or {}).get("controller-revision-hash")
            if f"Pod {meta['name']}" in broken and wanted.get(owner, revision) != revision:
                self.say(f"Pod {meta['name']}: replaced, it is stuck in an older revision")
                path = url_of("Pod", self.namespace, meta["name"])
                deleted |= self.kube.delete(path, uid=meta["uid"])
        return deleted

    def _owned(self, pod: Obj) -> bool:
        owners = pod["metadata"].get("ownerReferences") or []
        return any(
            owner["name"] == name or owner["name"].rsplit("-", 1)[0] == name
            for owner in owners
            for _kind, name in self.names
        )

    def _is_ready(self, workloads: t.Mapping[t.Tuple[str, str], Obj], key: t.Any) -> bool:
        return ready(workloads.get(key))

    def _judge(self, troubles: t.Sequence[Trouble]) -> None:
        now = self.deadline.elapsed
        for item in troubles:
            self._seen.setdefault((item.reason, item.subject), now)
        for item in troubles:
            lasted = now - self._seen[item.reason, item.subject]
            if lasted >= PATIENCE[item.reason]:
                hint = HINTS.get(item.reason, "").format(
                    namespace=self.namespace, pod=item.subject.split()[-1]
                )
                raise self._failure(f"{item.subject}: {item.reason}: {item.message}", hint)

    def _failure(self, reason: str, hint: str) -> OapipError:
        doing = f"waiting for the workloads in namespace {self.namespace}"
        return OapipError(doing, reason, hint, extra={"workloads": summary(self._last)})

    def _tell(self, workloads: t.Mapping[t.Tuple[str, str], Obj]) -> None:
        for item in summary(workloads):
            key = (item["kind"], item["name"])
            state = "ready" if self._is_ready(workloads, key) else "waiting"
            line = f"{state} {item['ready']}/{item['replicas']}"
            if self._told.get(key) != line:
                self._told[key] = line
                self.say(f"{item['kind']} {item['name']}: {line}")

    def _glance(self, version: str) -> None:
        """Wait until a pod changes, or a moment: a Deployment follows its pods."""
        seconds = min(GLANCE, max(self.deadline.left, 0.1))
        end = self.deadline.elapsed + seconds
        try:
            for _event in self.kube.watch(url_of("Pod", self.namespace), version, seconds):
                self.deadline.sleep(0.1)
                return
        except OapipError as error:
            if error.status not in {403, 410} | PASSING:
                raise
        # what breaks at once, again and again, must not become a storm of requests
        self.deadline.sleep(max(0.0, end - self.deadline.elapsed))
