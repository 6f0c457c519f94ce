# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""All that a namespace holds, of every kind that the API server knows.

Some seventy reads: only for who is about to delete the namespace, which takes all of it along.
API: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, Obj
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

VIEWS = frozenset(
    {
        "metrics.k8s.io",
        "custom.metrics.k8s.io",
        "external.metrics.k8s.io",
        "packages.operators.coreos.com",
    }
)
"""API groups that store nothing: they show other objects, or those of other namespaces."""
TRACES = frozenset({"events", "endpoints", "endpointslices"})
"""Resources that follow from other objects."""
AT_ONCE = 8


@dataclass(frozen=True)
class Contents:
    """What a namespace holds.

    :param objects: with ``apiVersion`` and ``kind``.
    :param unknown: resources or API versions that could not be read, each with the status.
    :param kinds: group and kind of what could be read.
    """

    objects: t.Sequence[Obj]
    unknown: t.Sequence[str] = ()
    kinds: t.AbstractSet[t.Tuple[str, str]] = frozenset()


class _Resource(t.NamedTuple):
    version: str
    plural: str
    kind: str

    @property
    def group(self) -> str:
        return self.version.rpartition("/")[0]


_Answer = t.Tuple[t.Optional[Obj], str]
"""What came, and the resource or version that is not known, with the status."""


def read(kube: Kube, namespace: str) -> Contents:
    """List every kind that can be listed in a namespace.

    :raises OapipError: no answer, or the credentials were not accepted.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        groups, hidden = _ask(kube, "/apis", "the API groups")
        versions = ["v1", *_versions(groups or {})]
        known = list(pool.map(lambda version: _ask(kube, _root(version), version), versions))
        resources = list(_resources(zip(versions, (answer for answer, _unknown in known))))

        def listed(one: _Resource) -> _Answer:
            path = f"{_root(one.version)}/namespaces/{namespace}/{one.plural}"
            return _ask(kube, path, f"{one.plural}.{one.group}".rstrip("."), listing=True)

        found = list(pool.map(listed, resources))
    objects: t.List[Obj] = []
    kinds = set()
    for one, (answer, unknown) in zip(resources, found):
        if not unknown:
            kinds.add((one.group, one.kind))
        rows = (answer or {}).get("items") or []
        objects += [{**item, "apiVersion": one.version, "kind": one.kind} for item in rows]
    unread = [said for said in (hidden, *(said for _answer, said in (*known, *found))) if said]
    return Contents(objects, unread, kinds)


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _versions(groups: Obj) -> t.Iterator[str]:
    """The versions of all groups, of each group the preferred one first."""
    for group in groups.get("groups") or []:
        if group["name"] not in VIEWS:
            rows = [group.get("preferredVersion") or {}, *group["versions"]]
            yield from dict.fromkeys(row["groupVersion"] for row in rows if row)


def _resources(answers: t.Iterable[t.Tuple[str, t.Optional[Obj]]]) -> t.Iterator[_Resource]:
    """What can be listed in a namespace, each resource in one version."""
    seen = set()
    for version, answer in answers:
        for row in (answer or {}).get("resources") or []:
            one = _Resource(version, row["name"], row["kind"])
            fits = row.get("namespaced") and "list" in row["verbs"] and "/" not in one.plural
            if fits and one.plural not in TRACES and (one.group, one.plural) not in seen:
                seen.add((one.group, one.plural))
                yield one


def _ask(kube: Kube, path: str, name: str, listing: bool = False) -> _Answer:
    try:
        return ({"items": kube.list(path)} if listing else kube.get(path)), ""
    except OapipError as error:
        if error.status in (None, 401):
            raise
        return None, f"{name} ({error.status})"
