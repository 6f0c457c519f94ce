# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether a live object still is what its manifest says: pure.

The manifest is compared with the part of the live object that it speaks of. What the server adds
(defaults, status) and what others add beside it (labels, annotations) is no drift; quantities are
compared as numbers. What somebody adds to the pods of a workload is drift (see `additions`).
"""

from __future__ import annotations

import base64
import json
import re
import typing as t
from decimal import Decimal

Obj = t.Mapping[str, t.Any]

ATOMIC = frozenset({"selector", "nodeSelector", "subjects"})
"""What the API server takes as a whole: one more entry selects something else, or lets one in."""
SCALED = ("Deployment", "StatefulSet")
AUTOSCALERS = ("kube-controller-manager", "keda")
"""Field managers who change the number of replicas for a living."""
MACHINES = ("helm", "eoepca.oapip", "kube-controller-manager", "Reloader")
"""Field managers whose additions to a pod template stay: what was written with the chart or by us,
and the variable with which Stakater's Reloader restarts pods."""
POD_LISTS = {"containers": "name", "initContainers": "name", "volumes": "name"}
CONTAINER_LISTS = {"env": "name", "volumeMounts": "mountPath"}
"""Lists in which an addition is drift, and by which member the server tells their items apart."""
QUANTITIES = re.compile(
    r"\.resources\.(limits|requests)\.|\.(sizeLimit|divisor)\Z|\Aspec\.(hard|limits|capacity)\b"
)
"""Paths of quantities: the server writes these in a form of its own, other texts as they are."""
_QUANTITY = re.compile(r"^([+-]?[0-9.]+)([eE][+-]?[0-9]+|[EPTGMk]i?|Ki|[num])?$")
_FACTOR = {
    **{unit: Decimal(1000) ** power for power, unit in enumerate(["", "k", "M", "G", "T", "P"])},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(["", "Ki", "Mi", "Gi", "Ti"])},
    "E": Decimal(1000) ** 6,
    "Pi": Decimal(1024) ** 5,
    "Ei": Decimal(1024) ** 6,
    "m": Decimal("1e-3"),
    "u": Decimal("1e-6"),
    "n": Decimal("1e-9"),
}
_KEYS = ("name", "mountPath", "containerPort", "port", "key", "type")
"""By which member the items of a list are told apart, where the server may add or sort items."""


def quantity(value: t.Any) -> t.Optional[Decimal]:
    """A resource quantity as a number, None where it is none (apimachinery resource.Quantity)."""
    match = _QUANTITY.match(str(value)) if isinstance(value, (str, int, float)) else None
    if match is None or isinstance(value, bool):
        return None
    suffix = match.group(2) or ""
    try:
        number = Decimal(match.group(1))
        return (
            number.scaleb(int(suffix[1:]))
            if suffix[:1] in "eE" and suffix[1:]
            else (number * _FACTOR[suffix])
        )
    except (ArithmeticError, KeyError, ValueError):
        return None


def same(live: t.Any, wanted: t.Any, path: str = "") -> bool:
    """Whether two scalars mean the same to the API server."""
    if live == wanted or (live is None and wanted in ("", {}, [], False, 0)):
        return True
    if isinstance(live, bool) or isinstance(wanted, bool):
        return False
    if isinstance(live, str) and isinstance(wanted, str) and not QUANTITIES.search(path):
        return False
    numbers = quantity(live), quantity(wanted)
    return numbers[0] is not None and numbers[0] == numbers[1]


def drift(live: t.Any, wanted: t.Any, path: str = "") -> t.Iterator[t.Tuple[str, t.Any, t.Any]]:
    """Yield (dotted path, live value, wanted value) for everything that differs."""
    if wanted is None:
        return
    if isinstance(wanted, t.Mapping):
        if not isinstance(live, t.Mapping):
            if wanted or live is not None:
                yield path, live, wanted
            return
        if _atomic(path) and set(live) - set(wanted):
            yield path, live, wanted
            return
        for key, value in wanted.items():
            yield from drift(live.get(key), value, f"{path}.{key}" if path else str(key))
    elif isinstance(wanted, list) and isinstance(live, list):
        yield from _items(live, wanted, path)
    elif not same(live, wanted, path):
        yield path, live, wanted


def _atomic(path: str) -> bool:
    return path.rpartition(".")[2] in ATOMIC


def _items(
    live: t.List[t.Any], wanted: t.List[t.Any], path: str
) -> t.Iterator[t.Tuple[str, t.Any, t.Any]]:
    key = next((k for k in _KEYS if _tells_apart(wanted, k)), None)
    if key is not None and not _atomic(path):
        found = {item[key]: item for item in live if _has(item, key)}
        for item in wanted:
            yield from drift(found.get(item[key]), item, f"{path}[{item[key]}]")
    elif len(live) != len(wanted):
        yield path, live, wanted
    else:
        for index, item in enumerate(wanted):
            yield from drift(live[index], item, f"{path}[{index}]")


def _tells_apart(items: t.List[t.Any], key: str) -> bool:
    if not items or not all(_has(item, key) for item in items):
        return False
    return len({item[key] for item in items}) == len(items)


def _has(item: t.Any, key: str) -> bool:
    return isinstance(item, t.Mapping) and isinstance(item.get(key), (str, int))


# -- what somebody added -------------------------------------------------------------------------


def additions(live: Obj, wanted: Obj) -> t.Iterator[t.Tuple[str, str, None]]:
    """Yield (dotted path, who added it, None) for what a pod template has beside its manifest.

    Only what ``managedFields`` says that somebody wrote: what nobody owns was put there by an
    admission webhook, which would do so again.
    """
    for path, manager, _part, _item in _added(live, wanted):
        yield path, f"added by {manager}", None


def pruning(live: Obj, wanted: Obj) -> t.Optional[t.Dict[str, t.Any]]:
    """The strategic merge patch that takes the additions away; None where there are none.

    An apply leaves what others added, and a PUT would race with the controller's status.
    https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
    """
    pod: t.Dict[str, t.Any] = {}
    for _path, _manager, (part, container, where), item in _added(live, wanted):
        target = pod
        if container:
            rows = pod.setdefault(where, [])
            target = next((row for row in rows if row["name"] == container), {})
            if not target:
                target["name"] = container
                rows.append(target)
        target.setdefault(part, []).append({**item, "$patch": "delete"})
    return {"spec": {"template": {"spec": pod}}} if pod else None


_Place = t.Tuple[str, str, str]
"""A list, the container that has it and the list of that container; both empty for the pod's."""


def _added(live: Obj, wanted: Obj) -> t.Iterator[t.Tuple[str, str, _Place, t.Dict[str, t.Any]]]:
    """Yield path, manager, place and key of each addition that no machine made."""
    if live.get("kind") not in SCALED:
        return
    have, made = (_at(obj, "spec", "template", "spec") for obj in (live, wanted))
    owners = [
        (str(entry.get("manager")), _at(entry, "fieldsV1", "f:spec", "f:template", "f:spec"))
        for entry in live["metadata"].get("managedFields") or []
    ]
    base = "spec.template.spec"
    for part, key in POD_LISTS.items():
        for item, manager in _more(have.get(part), made.get(part), part, key, owners):
            yield f"{base}.{part}[{item}]", manager, (part, "", ""), {key: item}
    for where in ("containers", "initContainers"):
        twins = {one["name"]: one for one in made.get(where) or []}
        for one in have.get(where) or []:
            name = one["name"]
            if name not in twins:
                continue
            inside = [(who, _at(f, f"f:{where}", _member("name", name))) for who, f in owners]
            for part, key in CONTAINER_LISTS.items():
                rows = one.get(part), twins[name].get(part)
                for item, manager in _more(*rows, part, key, inside):
                    path = f"{base}.{where}[{name}].{part}[{item}]"
                    yield path, manager, (part, name, where), {key: item}


def _more(
    live: t.Optional[t.Sequence[Obj]],
    wanted: t.Optional[t.Sequence[Obj]],
    part: str,
    key: str,
    owners: t.Sequence[t.Tuple[str, Obj]],
) -> t.Iterator[t.Tuple[str, str]]:
    """Yield the keys of the items that are only in the first list, and who added them."""
    known = {one.get(key) for one in wanted or []}
    for one in live or []:
        item = one[key]
        if item in known:
            continue
        member = _member(key, item)
        managers = [who for who, fields in owners if member in (fields.get(f"f:{part}") or {})]
        if managers and not any(who.startswith(MACHINES) for who in managers):
            yield item, managers[0]


def _member(key: str, value: str) -> str:
    """An item of a list in managedFields: https://kubernetes.io/docs/reference/using-api/server-side-apply/"""
    return "k:" + json.dumps({key: value}, separators=(",", ":"), ensure_ascii=False)


def _at(obj: t.Any, *path: str) -> Obj:
    for key in path:
        obj = (obj or {}).get(key)
    return obj or {}


def scaled(obj: Obj, live: Obj) -> Obj:
    """A workload of a manifest with its replicas: the server's default 1 where it names none.

    Where an autoscaler decides, the number is nobody else's business.
    """
    if obj["kind"] not in SCALED:
        return obj
    spec = {"replicas": 1, **obj["spec"]}
    if any(_autoscales(entry) for entry in live["metadata"].get("managedFields") or []):
        del spec["replicas"]
    return {**obj, "spec": spec}


def _autoscales(entry: Obj) -> bool:
    fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    manager = str(entry.get("manager"))
    return "f:replicas" in fields and manager.startswith(AUTOSCALERS)


def comparable(obj: Obj) -> t.Dict[str, t.Any]:
    """An object of a manifest without what the server never returns as it was sent."""
    kept = {key: value for key, value in obj.items() if key not in ("status", "apiVersion", "kind")}
    meta = {key: kept["metadata"].get(key) for key in ("labels", "annotations")}
    kept["metadata"] = {key: value for key, value in meta.items() if value}
    if "stringData" in kept:
        encoded = {
            key: base64.b64encode(str(value).encode()).decode()
            for key, value in (kept.pop("stringData") or {}).items()
        }
        kept["data"] = {**(kept.get("data") or {}), **encoded}
    return kept
