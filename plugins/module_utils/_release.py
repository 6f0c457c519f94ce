# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A release and what stands around it: what is wanted, and what differs. Pure: no I/O.

Order of the plan is order of the work: namespace, NetworkPolicies, Secrets, then the release, so
that no pod ever runs without them.
"""

from __future__ import annotations

import base64
import json
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.eoepca.oapip.plugins.module_utils._charts import Chart, Role, names
from ansible_collections.eoepca.oapip.plugins.module_utils._drift import (
    additions,
    comparable,
    drift,
    scaled,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._helm import Release
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import (
    GENERATED,
    NEW_SECRET,
    SECRET,
    Change,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._route import decode
from ansible_collections.eoepca.oapip.plugins.module_utils._values import (
    MARK,
    Credentials,
    Settings,
    digest,
    masked,
    own,
    storage_keys,
    veiled,
)

Obj = t.Dict[str, t.Any]
Key = t.Tuple[str, str]
"""Kind and name."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "eoepca.oapip"
OWNER = "oapip.eoepca.org/release"
CREATED = "oapip.eoepca.org/created"
"""Annotation of a namespace that this collection made, and may therefore delete."""
OURS = ("NetworkPolicy", "Secret", "ConfigMap")
GITOPS = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
}


@dataclass(frozen=True)
class Current:
    """What is on the cluster."""

    namespace: t.Optional[Obj] = None
    objects: t.Mapping[Key, Obj] = field(default_factory=dict)
    releases: t.Sequence[Release] = ()
    """Revisions, the newest first; superseded ones may be missing."""

    @property
    def release(self) -> t.Optional[Release]:
        """The newest revision."""
        return self.releases[0] if self.releases else None

    @property
    def deployed(self) -> t.Optional[Release]:
        """The newest revision that was deployed: where a rollback goes."""
        return next((item for item in self.releases if item.status == "deployed"), None)


@dataclass(frozen=True)
class Desired:
    """What is wanted."""

    settings: Settings
    chart: Chart
    chart_name: str
    values: Obj
    credentials: Credentials


# -- credentials ---------------------------------------------------------------------------------


def known_credentials(settings: Settings, current: Current) -> t.Optional[Credentials]:
    """What the parts run with: what the release records, else what an unfinished run left.

    Our Secrets are made of it: who changes one by hand changes no password of a server.
    """
    broker = plain(current.objects.get(("Secret", settings.name("broker"))))
    database = plain(current.objects.get(("Secret", settings.name("database"))))
    values = current.release.values if current.release else {}
    if current.release is None and not (broker.get("password") and database.get("password")):
        return None
    broker = {**broker, **_texts(values, "rabbitmq", "auth")}
    database = {
        **_texts(values, "global", "postgresql", "auth"),
        **database,
        **_texts(values, MARK, "database"),
    }
    return Credentials(
        broker_user=broker.get("username", "zoo"),
        broker_password=broker.get("password", "CHANGEME"),
        database_user=database.get("username", "zoo"),
        database_password=database.get("password", "zoo"),
        database_name=database.get("database", "zoo"),
    )


def with_values(known: Credentials, extra: t.Mapping[str, t.Any]) -> Credentials:
    """The credentials as the user's own values settle them: those win (`_values.build`)."""
    given = _texts(extra, "rabbitmq", "auth")
    return replace(
        known,
        broker_user=given.get("username", known.broker_user),
        broker_password=given.get("password", known.broker_password),
    )


def _texts(values: t.Mapping[str, t.Any], *path: str) -> t.Dict[str, str]:
    """The texts in a map somewhere in the values, without the empty ones."""
    found: t.Any = values
    for key in path:
        found = (found or {}).get(key)
    return {key: str(value) for key, value in (found or {}).items() if value}


def plain(secret: t.Optional[Obj]) -> t.Dict[str, str]:
    """The decoded data of a Secret, without what is no text; empty when there is none."""
    texts = {key: decode(value) for key, value in ((secret or {}).get("data") or {}).items()}
    return {key: text for key, text in texts.items() if text is not None}


# -- what is wanted ------------------------------------------------------------------------------


def wanted_objects(desired: Desired, current: Current) -> t.List[Obj]:
    """Everything but the release, in the order of making."""
    settings, chart = desired.settings, desired.chart
    made = [namespace_of(settings, current.namespace)]
    made += [policy(settings, chart, door.part) for door in chart.doors]
    known = desired.credentials
    words = names(settings.release)
    made.append(
        secret(
            settings, "broker", {"username": known.broker_user, "password": known.broker_password}
        )
    )
    database = {
        "username": known.database_user,
        "password": known.database_password,
        "database": known.database_name,
        "host": f"{words['fullname']}-postgresql-service",
        "port": "5432",
    }
    made.append(secret(settings, "database", database))
    if chart.keys_from_secret:
        made.append(secret(settings, "storage", storage_keys(settings)))
    if settings.ca_pem:
        made.append(
            {**_head(settings, "ConfigMap", "v1", "ca"), "data": {"ca.crt": settings.ca_pem}}
        )
    return made


def namespace_of(settings: Settings, live: t.Optional[Obj]) -> Obj:
    """The namespace; one that was there before keeps its manager and is never deleted by us."""
    created = live is None or annotations_of(live).get(CREATED) == "true"
    labels = {OWNER: settings.release, **({MANAGED_BY: MANAGER} if created else {})}
    annotations = {**settings.annotations, **({CREATED: "true"} if created else {})}
    meta = {"name": settings.namespace, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def _head(settings: Settings, kind: str, version: str, part: str) -> Obj:
    labels = {MANAGED_BY: MANAGER, OWNER: settings.release}
    meta = {"name": settings.name(part), "namespace": settings.namespace, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": meta}


def secret(settings: Settings, part: str, data: t.Mapping[str, str]) -> Obj:
    """A Secret of ours."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {**_head(settings, "Secret", "v1", part), "type": "Opaque", "data": encoded}


def selector(role: Role, words: t.Mapping[str, str]) -> Obj:
    """The label selector for the pods of a part."""
    labels = {key: value.format(**words) for key, value in role.labels.items()}
    absent = [{"key": key, "operator": "DoesNotExist"} for key in role.without]
    return {"matchLabels": labels, **({"matchExpressions": absent} if absent else {})}


def policy(settings: Settings, chart: Chart, part: str) -> Obj:
    """The NetworkPolicy of a part: whoever is not named is kept out."""
    words = names(settings.release)
    door = next(item for item in chart.doors if item.part == part)
    gateway = {
        "namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": settings.gateway_namespace}
        }
    }
    peers = [
        gateway if peer == "gateway" else {"podSelector": selector(chart.parts[peer], words)}
        for peer in door.peers
    ]
    ports = [{"port": port, "protocol": "TCP"} for port in door.ports]
    spec: Obj = {"podSelector": selector(chart.parts[part], words), "policyTypes": ["Ingress"]}
    if peers:
        spec["ingress"] = [{"from": peers, "ports": ports}]
    head = _head(settings, "NetworkPolicy", "networking.k8s.io/v1", part)
    return {**head, "spec": spec}


# -- what differs --------------------------------------------------------------------------------


def annotations_of(obj: Obj) -> t.Dict[str, str]:
    """The annotations of an object."""
    return obj["metadata"].get("annotations") or {}


def _applied(live: Obj, field_name: str) -> t.Set[str]:
    """Which labels or annotations we applied earlier: what we own, we also remove."""
    for entry in live["metadata"].get("managedFields") or []:
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply":
            fields = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
            return {key[2:] for key in fields.get(f"f:{field_name}") or {} if key != "."}
    return set()


def shown(obj: Obj, like: t.Optional[Obj] = None) -> Obj:
    """The part of an object that is ours to compare; of a live one, what `like` speaks of."""
    result: Obj = {}
    for name in ("labels", "annotations"):
        have = obj["metadata"].get(name) or {}
        keys = set((like or obj)["metadata"].get(name) or {})
        if like is not None:
            keys |= _applied(obj, name) & set(have)
        if keys:
            result[name] = {key: have.get(key) for key in sorted(keys)}
    for name in ("spec", "data"):
        if name in (like or obj) and obj["kind"] != "Namespace":
            result[name] = obj.get(name)
    return result


def hidden(before: t.Optional[Obj], after: t.Optional[Obj], new: str) -> t.Tuple[t.Any, t.Any]:
    """The two states of a Secret without its data, such that a change still shows."""
    old = (before or {}).get("data") or {}
    data = (after or {}).get("data") or {}
    masked_before = dict.fromkeys(old, SECRET)
    masked_after = {key: SECRET if old.get(key) == value else new for key, value in data.items()}
    return (
        None if before is None else {**before, "data": masked_before},
        None if after is None else {**after, "data": masked_after},
    )


def object_change(live: t.Optional[Obj], wanted: Obj, generated: bool = False) -> t.List[Change]:
    """What to do about one object of ours."""
    kind, name = wanted["kind"], wanted["metadata"]["name"]
    after = shown(wanted)
    before = None if live is None else shown({**live, "kind": kind}, wanted)
    if before == after:
        return []
    if kind == "Secret":
        before, after = hidden(before, after, GENERATED if generated else NEW_SECRET)
    return [Change("update" if live else "create", kind, name, before, after, wanted)]


def release_state(
    chart: str, version: str, values: Obj, secrets: t.Collection[str], status: str = "deployed"
) -> Obj:
    """A release as it is compared and shown."""
    data = json.loads(json.dumps(values))
    return {
        "chart": f"{chart}-{version}",
        "digest": digest([chart, version, data])[:16],
        "status": status,
        "values": masked(data, secrets),
    }


def release_change(desired: Desired, current: Current, fresh: bool) -> t.List[Change]:
    """Whether Helm has to work: another chart, version or values than the release records."""
    name, secrets = desired.settings.release, _secrets(desired)
    after = release_state(desired.chart_name, desired.chart.version, desired.values, secrets)
    live = current.release
    mine = own(desired.settings, desired.chart, desired.credentials)
    wanted = json.loads(json.dumps(desired.values))
    if live is None or live.status == "uninstalled":
        if fresh:
            after["digest"] = GENERATED  # it covers passwords that are being made
        after["values"] = masked(veiled(wanted, mine, None, NEW_SECRET), secrets)
        return [Change("create", "Release", name, None, after)]
    before = release_state(live.chart, live.version, live.values, secrets, live.status)
    if before == after:
        return []
    before["values"] = masked(veiled(live.values, mine, wanted, SECRET), secrets)
    after["values"] = masked(veiled(wanted, mine, live.values, NEW_SECRET), secrets)
    return [Change("update", "Release", name, before, after)]


def _secrets(desired: Desired) -> t.Set[str]:
    known = desired.credentials
    return {
        known.broker_password,
        *([known.database_password] if len(known.database_password) > 8 else []),
        desired.settings.stage_out.secret_key,
        desired.settings.stage_in.secret_key,
    }


def drift_changes(current: Current) -> t.List[Change]:
    """What differs from the manifest that the release records."""
    found: t.List[Change] = []
    for obj in current.release.objects if current.release else []:
        kind, name = obj["kind"], obj["metadata"]["name"]
        live = current.objects.get((kind, name))
        if live is None:
            found.append(Change("create", kind, name, None, {"manifest": "recorded"}, obj))
            continue
        wanted = scaled(obj, live)
        rows = [*drift(live, comparable(wanted)), *additions(live, wanted)]
        if rows:
            secret_like = kind in ("Secret", "ConfigMap")
            before = {path: SECRET if secret_like else old for path, old, _new in rows}
            after = {path: NEW_SECRET if secret_like else new for path, _old, new in rows}
            found.append(Change("update", kind, name, masked(before), masked(after), wanted))
    return found


def plan_present(desired: Desired, current: Current, fresh: bool) -> t.List[Change]:
    """What to do, in order.

    :param fresh: the credentials are made in this run.
    """
    wanted = wanted_objects(desired, current)
    changes: t.List[Change] = []
    for obj in wanted:
        key = (obj["kind"], obj["metadata"]["name"])
        live = current.namespace if key[0] == "Namespace" else current.objects.get(key)
        made = fresh and key[1] in (
            desired.settings.name("broker"),
            desired.settings.name("database"),
        )
        changes += object_change(live, obj, generated=made)
    release = release_change(desired, current, fresh)
    changes += release or drift_changes(current)
    keep = {(obj["kind"], obj["metadata"]["name"]) for obj in wanted}
    changes += [
        Change("delete", kind, name, {"name": name}, None)
        for kind, name in ours(current, desired.settings.release)
        if (kind, name) not in keep
    ]
    return changes


def ours(current: Current, release: str) -> t.List[Key]:
    """The objects that this module made beside the release."""
    return sorted(
        (kind, name)
        for (kind, name), obj in current.objects.items()
        if kind in OURS
        and (obj["metadata"].get("labels") or {}).get(OWNER) == release
        and (obj["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
    )


def workloads(current: Current) -> t.Dict[Key, Obj]:
    """The live workloads of the release's manifest."""
    objects = current.release.objects if current.release else []
    keys = {(obj["kind"], obj["metadata"]["name"]) for obj in objects}
    found = {key: obj for key, obj in current.objects.items() if key in keys}
    return {key: obj for key, obj in found.items() if key[0] in ("Deployment", "StatefulSet")}


# -- refusals ------------------------------------------------------------------------------------


def gitops(obj: Obj) -> t.Optional[str]:
    """Who manages an object from a repository; None where nobody does."""
    marks = {**(obj["metadata"].get("labels") or {}), **annotations_of(obj)}
    return next((owner for mark, owner in GITOPS.items() if mark in marks), None)


def refuse_foreign(settings: Settings, current: Current, adopt: bool) -> None:
    """Stop before taking what others own.

    :raises OapipError: another release, Argo CD, Flux or somebody's own Helm is in charge.
    """
    doing = f"taking charge of release {settings.release} in namespace {settings.namespace}"
    labels = (current.namespace or {"metadata": {}})["metadata"].get("labels") or {}
    other = labels.get(OWNER)
    if other and other != settings.release:
        raise OapipError(
            doing,
            f"the namespace belongs to release {other}",
            "The chart has fixed names: give each release a namespace of its own.",
        )
    if adopt:
        return
    for (kind, name), obj in sorted(current.objects.items()):
        owner = gitops(obj)
        if owner:
            raise OapipError(
                doing,
                f"{owner} manages {kind} {name}",
                f"Two managers undo each other: let {owner} go first, then set adopt to true.",
            )
    if current.release and MARK not in current.release.values:
        raise OapipError(
            doing,
            f"revision {current.release.revision} was not installed by this collection",
            "Set adopt to true to take it over with the values of this run.",
        )


def refuse_pending(
    settings: Settings, release: Release, recover: bool, locked: bool = False
) -> None:
    """Stop where another run is at work, or died.

    :param locked: no other run of ours is at work: what bears our mark was left by one that died.

    :raises OapipError: the release is pending or half uninstalled, and may not be recovered.
    """
    if not (release.pending or release.status == "uninstalling"):
        return
    if recover or (locked and MARK in release.values):
        return
    command = "uninstall" if release.status != "pending-upgrade" else "rollback"
    raise OapipError(
        f"reading release {settings.release} in namespace {settings.namespace}",
        f"revision {release.revision} is {release.status} since {release.updated[:19]}: "
        "another run is at work, or was interrupted",
        "If no other run is at work, run again with recover set to true, or: "
        f"helm {command} {settings.release} -n {settings.namespace}",
    )
