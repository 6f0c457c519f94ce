# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The plan of a release carried out: reads, writes, the rollout, and the way back."""

from __future__ import annotations

import secrets
import string
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ansible_collections.eoepca.oapip.plugins.module_utils._drift import pruning
from ansible_collections.eoepca.oapip.plugins.module_utils._helm import Helm, Release, revisions
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import (
    KINDS,
    Kube,
    Obj,
    api_version,
    url_for,
    url_of,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import GENERATED, Change
from ansible_collections.eoepca.oapip.plugins.module_utils._release import (
    MANAGED_BY,
    MANAGER,
    Current,
    Desired,
    Key,
    object_change,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._rollout import Rollout, ready
from ansible_collections.eoepca.oapip.plugins.module_utils._values import MARK, Credentials
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline, poll

LISTED = (
    "Secret",
    "ConfigMap",
    "NetworkPolicy",
    "Deployment",
    "StatefulSet",
    "Service",
    "ServiceAccount",
    "PersistentVolumeClaim",
)
NEWEST = "status!=superseded"
"""Of the Secrets, leave out Helm's history: each revision there is a whole chart."""
WORKLOADS = ("Deployment", "StatefulSet")


def observe(kube: Kube, namespace: str, release: str) -> Current:
    """Read what is on the cluster: one GET when the namespace is missing, else about ten."""
    live = kube.get(url_of("Namespace", None, namespace))
    if live is None:
        return Current()

    def listed(kind: str) -> t.List[t.Tuple[Key, Obj]]:
        items = kube.list(url_of(kind, namespace), NEWEST if kind == "Secret" else "")
        return [((kind, item["metadata"]["name"]), {**item, "kind": kind}) for item in items]

    with ThreadPoolExecutor(len(LISTED)) as pool:
        objects = dict(row for rows in pool.map(listed, LISTED) for row in rows)
    found = revisions((obj for (kind, _name), obj in objects.items() if kind == "Secret"), release)
    if found:
        objects.update(_others(kube, namespace, found[0]))
    return Current({**live, "kind": "Namespace"}, objects, found)


def _others(kube: Kube, namespace: str, release: Release) -> t.Iterator[t.Tuple[Key, Obj]]:
    """The objects of a manifest of kinds that are not listed, such as its ClusterRoleBinding."""
    for obj in release.objects:
        kind, name = obj["kind"], obj["metadata"]["name"]
        if kind in LISTED:
            continue
        known = kind in KINDS and api_version(kind) == obj.get("apiVersion")
        live = kube.get(url_for(obj, namespace)) if known else obj  # unknown: taken as it should be
        if live is not None:
            yield (kind, name), {**live, "kind": kind}


def password() -> str:
    """Letters and digits, a letter first: the chart prints it unquoted into several formats."""
    letters = string.ascii_letters + string.digits
    return secrets.choice(string.ascii_letters) + "".join(
        secrets.choice(letters) for _nth in range(31)
    )


def make_credentials(ctx: Context) -> Credentials:
    """Credentials for a new release; in check mode placeholders."""
    made = [GENERATED if ctx.check_mode else ctx.secret(password()) for _nth in range(2)]
    return Credentials("zoo", made[0], "zoo", made[1], "zoo")


@dataclass
class Deployer:
    """Carries out a plan against one cluster."""

    kube: Kube
    helm: Helm
    ctx: Context
    namespace: str
    wait_timeout: int

    def present(
        self,
        changes: t.Sequence[Change],
        desired: Desired,
        current: Current,
        chart_ref: str,
        repo: t.Optional[str],
    ) -> None:
        """Make what the plan says, then watch the rollout; an upgrade that fails is taken back.

        :raises OapipError: a write was refused, or the workloads did not get ready.
        """
        if not any(change.kind == "Release" for change in changes):
            self._write(changes)
            names = self._workloads(current.release)
            if changes or not all(ready(current.objects.get(key)) for key in names):
                self.rollout(names)
            return
        try:
            for change in changes:
                if change.kind == "Release":
                    self._upgrade(desired, current, chart_ref, repo)
                    newest = self._newest()
                    self._prune(newest)
                    self.rollout(self._workloads(newest))
                else:
                    self._write([change])
        except OapipError as error:
            if current.deployed is None or current.release != current.deployed:
                raise
            raise self._roll_back(current.deployed, error) from None

    def _upgrade(
        self, desired: Desired, current: Current, chart_ref: str, repo: t.Optional[str]
    ) -> None:
        live, version = current.release, desired.chart.version
        if live and (live.pending or live.status == "uninstalling"):
            self.ctx.say(f"release {live.name}: recovering from {live.status}")
            if current.deployed and live.pending:
                self.helm.rollback(current.deployed.revision)
            else:
                self.helm.uninstall()
        self.ctx.say(f"release {self.helm.release}: helm upgrade --install, chart {version}")
        patches = desired.values[MARK]["patches"]
        self.helm.upgrade(chart_ref, repo, version, desired.values, patches)

    def _roll_back(self, to: Release, error: OapipError) -> OapipError:
        """The error of a failed upgrade, with what became of the release."""
        newest = self._newest()
        if newest is None or newest.revision == to.revision:
            return error
        self.ctx.say(f"release {to.name}: rolling back to revision {to.revision}")
        try:
            self.helm.rollback(to.revision)
            self.rollout(self._workloads(to))
        except OapipError as second:
            outcome = f"the rollback to revision {to.revision} failed too: {second.reason}"
        else:
            outcome = f"revision {to.revision} (chart {to.version}) runs again"
        reason = f"{error.reason}; {outcome}"
        extra = {**error.extra, "rolled_back_to": to.revision}
        return OapipError(
            error.doing, reason, error.hint, error.status, error.path, extra, error.server
        )

    def rollout(self, names: t.Collection[Key]) -> t.Dict[Key, Obj]:
        """Wait until the workloads are ready; two GETs when they are."""
        deadline = Deadline(self.wait_timeout)
        return Rollout(self.kube, self.namespace, names, deadline, self.ctx.say).wait()

    def _workloads(self, release: t.Optional[Release]) -> t.Set[Key]:
        objects = release.objects if release else []
        return {(o["kind"], o["metadata"]["name"]) for o in objects if o["kind"] in WORKLOADS}

    def _newest(self) -> t.Optional[Release]:
        selector = f"owner=helm,name={self.helm.release},{NEWEST}"
        found = self.kube.list(url_of("Secret", self.namespace), selector)
        return next(iter(revisions(found, self.helm.release)), None)

    def _write(self, changes: t.Sequence[Change]) -> None:
        for change in changes:
            self.ctx.say(f"{change.action} {change.kind} {change.name}")
            if change.action == "delete":
                self.kube.delete(url_of(change.kind, self.namespace, change.name))
            else:
                self._apply(change.payload)

    def _apply(self, obj: Obj) -> None:
        """Apply an object of ours, or one of the recorded manifest in Helm's name.

        Helm's marks are not in the manifest; without them Helm would no longer know the object.
        """
        labels = obj["metadata"].get("labels") or {}
        if labels.get(MANAGED_BY) == MANAGER or obj["kind"] == "Namespace":
            made = self.kube.apply(obj, self.namespace)
            if object_change(made, obj):
                # an apply leaves what others added, which opens a door: only a PUT takes it away
                whole: Obj = {part: obj[part] for part in ("spec", "data") if part in obj}
                self.kube.replace({**made, **whole}, self.namespace)
            return
        meta = dict(obj["metadata"])
        meta["labels"] = {**labels, MANAGED_BY: "Helm"}
        meta["annotations"] = {
            **(meta.get("annotations") or {}),
            "meta.helm.sh/release-name": self.helm.release,
            "meta.helm.sh/release-namespace": self.namespace,
        }
        made = self.kube.apply({**obj, "metadata": meta}, self.namespace, manager="helm")
        self._take_away(made, obj)

    def _prune(self, release: t.Optional[Release]) -> None:
        """Take away what was added to the workloads: Helm leaves what others own."""
        for obj in release.objects if release else []:
            if obj["kind"] in WORKLOADS:
                live = self.kube.get(url_for(obj, self.namespace))
                self._take_away({**(live or obj), "kind": obj["kind"]}, obj)

    def _take_away(self, live: Obj, obj: Obj) -> None:
        more = pruning(live, obj)
        if more:
            self.kube.patch(url_for(obj, self.namespace), more, strategic=True)

    def absent(self, changes: t.Sequence[Change]) -> None:
        """Delete what the plan says, in its order, and wait until the namespace is gone.

        :raises OapipError: a write was refused, or the namespace does not go.
        """
        for change in changes:
            self.ctx.say(f"delete {change.kind} {change.name}")
            if change.kind == "Release":
                self.helm.uninstall()
            else:
                self.kube.delete(url_of(change.kind, self.namespace, change.name))
        if not any(change.kind == "Namespace" for change in changes):
            return
        path = url_of("Namespace", None, self.namespace)
        deadline = Deadline(self.wait_timeout)
        kube = self.kube.until(deadline)

        def gone() -> t.Tuple[bool, t.Optional[Obj]]:
            live = kube.get(path)
            return live is None, live

        done, last = poll(gone, deadline, smallest=0.5, largest=5.0)
        if not done:
            notes = ((last or {}).get("status") or {}).get("conditions") or []
            said = "; ".join(item.get("message", "") for item in notes if item["status"] == "True")
            raise OapipError(
                f"waiting for namespace {self.namespace} to go",
                f"it is still there after {self.wait_timeout} s: {said or 'no reason given'}",
                "Look for finalizers on what is left in it, then run again.",
            )
