# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the removal of a release takes away, and what it leaves because it is not ours. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils._charts import Chart, names
from ansible_collections.eoepca.oapip.plugins.module_utils._contents import Contents
from ansible_collections.eoepca.oapip.plugins.module_utils._helm import SECRET_TYPE
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import api_version
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._release import (
    CREATED,
    MANAGED_BY,
    MANAGER,
    OWNER,
    Current,
    Key,
    Obj,
    annotations_of,
    gitops,
    ours,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._values import MARK, Settings

TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT = "kubernetes.io/service-account.name"
STANDARD = (
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "openshift-service-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
)
"""What Kubernetes, OpenShift and Istio put into every namespace."""
TOLD = 10
"""So many objects are named of those that keep a namespace, and half as many kinds."""

_Id = t.Tuple[str, str, str]
"""API group, kind and name."""


def made_here(settings: Settings, current: Current) -> bool:
    """Whether the namespace is of our making for this release, so that it goes when it is empty."""
    return (
        current.namespace is not None
        and annotations_of(current.namespace).get(CREATED) == "true"
        and _owner(current) == settings.release
    )


def plan_absent(
    settings: Settings,
    chart: Chart,
    current: Current,
    contents: t.Optional[Contents],
    adopt: bool = False,
) -> t.Tuple[t.List[Change], t.List[str]]:
    """What to delete, in order, and what is kept with the reason.

    :param contents: what the namespace holds; needed where it was made here.
    :raises OapipError: the release is not ours, and not to be adopted.
    """
    if current.namespace is None:
        return [], []
    doomed: t.List[Key] = []
    release = current.release
    if release is not None and release.status != "uninstalled":
        doomed.append(("Release", settings.release))
    doomed += _claims(settings, chart, current, adopt)
    doomed += ours(current, settings.release)
    _refuse(settings, current, doomed, adopt)
    kept = _kept(settings, current, contents, doomed)
    if kept is None:
        doomed.append(("Namespace", settings.namespace))
    return [_deletion(current, *key) for key in doomed], [kept] if kept else []


def _deletion(current: Current, kind: str, name: str) -> Change:
    before: Obj = {"name": name}
    if kind == "Release" and current.release:
        chart = f"{current.release.chart}-{current.release.version}"
        before = {"chart": chart, "status": current.release.status}
    return Change("delete", kind, name, before, None)


def _owner(current: Current) -> t.Optional[str]:
    meta = (current.namespace or {"metadata": {}})["metadata"]
    return t.cast("t.Optional[str]", (meta.get("labels") or {}).get(OWNER))


def _is_ours(settings: Settings, current: Current) -> bool:
    """Whether we installed the release; of one that is gone, the namespace tells."""
    if current.release is not None:
        return MARK in current.release.values
    return _owner(current) == settings.release


def _refuse(settings: Settings, current: Current, doomed: t.Sequence[Key], adopt: bool) -> None:
    """Stop before deleting what others own."""
    if adopt or not doomed:
        return
    doing = f"removing release {settings.release} from namespace {settings.namespace}"
    if current.release is not None and not _is_ours(settings, current):
        raise OapipError(
            doing,
            f"revision {current.release.revision} was not installed by this collection",
            "Set adopt to true to remove it all the same, with its volumes.",
        )
    for key in sorted({*doomed, *_manifest(current)} & set(current.objects)):
        owner = gitops(current.objects[key])
        if owner:
            raise OapipError(
                doing,
                f"{owner} manages {' '.join(key)}",
                f"Let {owner} remove it, or set adopt to true to remove it all the same.",
            )


def _manifest(current: Current) -> t.Dict[Key, Obj]:
    objects = current.release.objects if current.release else []
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}


# -- claims --------------------------------------------------------------------------------------


def _claims(settings: Settings, chart: Chart, current: Current, adopt: bool) -> t.List[Key]:
    """The claims of the release's StatefulSets, which outlive these.

    A claim is named ``<template>-<set>-<ordinal>`` and bears the labels that the set selects its
    pods by: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-storage
    """
    if not (adopt or _is_ours(settings, current)):
        return []
    rules: t.List[t.Tuple[str, t.Mapping[str, str]]] = []
    manifest = _manifest(current)
    for (kind, name), recorded in manifest.items():
        for obj in (recorded, current.objects.get((kind, name)) or {}):
            if kind == "StatefulSet" and obj.get("spec"):
                templates = obj["spec"].get("volumeClaimTemplates") or []
                names_of = [item["metadata"]["name"] for item in templates]
                labels = obj["spec"]["selector"].get("matchLabels") or {}
                rules += [(_pattern(names_of, name), labels)] if names_of else []
    # where a killed removal left neither the release nor the set, what is known of the chart
    words = names(settings.release)
    for part, templates in chart.claims.items():
        name = f"{words['fullname']}-{part}"
        if not {("StatefulSet", name)} & {*manifest, *current.objects}:
            labels = {key: text.format(**words) for key, text in chart.parts[part].labels.items()}
            rules.append((_pattern(templates, name), labels))
    return [
        (kind, name)
        for (kind, name), obj in sorted(current.objects.items())
        if kind == "PersistentVolumeClaim"
        and any(
            re.fullmatch(pattern, name)
            and labels.items() <= (obj["metadata"].get("labels") or {}).items()
            for pattern, labels in rules
        )
    ]


def _pattern(templates: t.Iterable[str], name: str) -> str:
    return f"({'|'.join(map(re.escape, templates))})-{re.escape(name)}-[0-9]+"


# -- the namespace -------------------------------------------------------------------------------


def _kept(
    settings: Settings, current: Current, contents: t.Optional[Contents], doomed: t.Sequence[Key]
) -> t.Optional[str]:
    """Why the namespace is not deleted; None where it is."""
    namespace = f"Namespace {settings.namespace}"
    owner = _owner(current)
    if owner and owner != settings.release:
        return f"{namespace}: it belongs to release {owner}"
    if not made_here(settings, current) or contents is None:
        return f"{namespace}: it was there before"
    if current.namespace and current.namespace["metadata"].get("deletionTimestamp"):
        return None
    found = strangers(settings, current, contents, doomed)
    if found:
        more = f" and {len(found) - TOLD} more" if len(found) > TOLD else ""
        return f"{namespace}: it holds {', '.join(found[:TOLD])}{more}, not made by us"
    if contents.unknown:
        some = TOLD // 2
        more = f" and {len(contents.unknown) - some} more" if len(contents.unknown) > some else ""
        return (
            f"{namespace}: nobody knows whether it is empty, as these could not be listed: "
            f"{', '.join(contents.unknown[:some])}{more}"
        )
    return None


def strangers(
    settings: Settings, current: Current, contents: Contents, doomed: t.Sequence[Key]
) -> t.List[str]:
    """What in the namespace is neither of the release nor goes with it, nor is in every one."""
    gone: t.Set[_Id] = {
        (_group(api_version(kind)), kind, name) for kind, name in doomed if kind != "Release"
    }
    gone |= {_id(obj) for obj in _manifest(current).values()}
    gone |= {("", kind, name) for kind, name in STANDARD}
    left = [obj for obj in contents.objects if not _goes(settings, obj, gone)]
    here = {obj["metadata"].get("uid") for obj in contents.objects}
    going = here - {obj["metadata"].get("uid") for obj in left}

    def follows(obj: Obj) -> bool:
        """Whether the garbage collector takes it: all its owners go, or are gone."""
        owners = obj["metadata"].get("ownerReferences") or []
        return bool(owners) and all(
            owner["uid"] in going
            or (
                owner["uid"] not in here
                and (_group(owner["apiVersion"]), owner["kind"]) in contents.kinds
            )
            for owner in owners
        )

    while True:
        after = [obj for obj in left if not follows(obj)]
        if len(after) == len(left):
            return sorted(f"{obj['kind']} {obj['metadata']['name']}" for obj in left)
        going |= {obj["metadata"].get("uid") for obj in left if obj not in after}
        left = after


def _goes(settings: Settings, obj: Obj, gone: t.AbstractSet[_Id]) -> bool:
    meta = obj["metadata"]
    labels = meta.get("labels") or {}
    if _id(obj) in gone or meta.get("deletionTimestamp") or labels.get(MANAGED_BY) == MANAGER:
        return True
    if obj["kind"] == "Secret" and obj.get("type") == SECRET_TYPE:
        return bool(labels.get("name") == settings.release)
    account = annotations_of(obj).get(ACCOUNT, "")
    return bool(obj.get("type") == TOKEN_TYPE) and ("", "ServiceAccount", account) in gone


def _id(obj: Obj) -> _Id:
    return _group(obj["apiVersion"]), obj["kind"], obj["metadata"]["name"]


def _group(version: str) -> str:
    return version.rpartition("/")[0]
