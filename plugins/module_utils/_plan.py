# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The plan: what differs between the current and the desired state, as data.

``plan(current, desired) -> list[Change]`` of each module is pure. The same list is shown in check
mode, rendered as the diff and handed to ``apply``.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

GENERATED = "<generated>"
"""Shown instead of a value that the server makes, in check mode and in a real run alike."""

SECRET = "<secret>"
"""Shown instead of a secret that is kept or unknown."""

NEW_SECRET = "<new secret>"
"""Shown instead of a secret that a change sets."""

State = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Change:
    """One object that is created, updated, deleted or run.

    ``before`` and ``after`` are normalised and free of secrets: they are shown to the user.
    ``payload`` is what ``apply`` needs; it is never shown.
    """

    action: str
    kind: str
    name: str
    before: t.Optional[State] = None
    after: t.Optional[State] = None
    payload: t.Any = field(default=None, compare=False, repr=False)

    @property
    def fields(self) -> t.List[str]:
        """The fields that an update touches, as dotted names; empty for other actions."""
        if self.action != "update":
            return []
        return fields_of(self.before or {}, self.after or {})

    def as_dict(self) -> t.Dict[str, t.Any]:
        """The entry of the returned ``changes``."""
        return {
            "action": self.action,
            "kind": self.kind,
            "name": self.name,
            "fields": self.fields,
        }


def fields_of(before: State, after: State, prefix: str = "") -> t.List[str]:
    """Return the sorted dotted names of the fields in which two states differ."""
    found: t.List[str] = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, t.Mapping) and isinstance(new, t.Mapping):
            # where a null is all that differs, none of their fields does
            found += fields_of(old, new, f"{prefix}{key}.") or [f"{prefix}{key}"]
        else:
            found.append(f"{prefix}{key}")
    return found


def pick(current: State, desired: State) -> t.Dict[str, t.Any]:
    """Return ``current`` cut to the keys of ``desired``: what was not given is not compared."""
    return {key: current.get(key) for key in desired}


def update(
    kind: str, name: str, before: State, after: State, payload: t.Any = None
) -> t.List[Change]:
    """Return one update where the two states differ, else nothing."""
    if before == after:
        return []
    return [Change("update", kind, name, dict(before), dict(after), payload)]


def joined(first: t.Sequence[Change], then: t.Sequence[Change]) -> t.List[Change]:
    """Return two plans as one, where the second was made as the first met a conflict.

    What the second still names was not done by the first.
    """
    again = {(one.kind, one.name) for one in then}
    return [one for one in first if (one.kind, one.name) not in again] + list(then)


def result(
    changes: t.Sequence[Change],
    assumed: t.Sequence[str] = (),
    **facts: t.Any,
) -> t.Dict[str, t.Any]:
    """Return the result of a module: the same keys in check mode and in a real run."""
    return {
        **facts,
        "changed": bool(changes),
        "changes": [change.as_dict() for change in changes],
        "assumed": list(assumed),
        "diff": [_diff(change) for change in changes],
    }


def _diff(change: Change) -> t.Dict[str, t.Any]:
    """One object's part of the diff, under a header of its own: hunks show but three lines more."""
    header = f"{change.kind} {change.name}"
    return {
        "before_header": header,
        "before": "" if change.before is None else change.before,
        "after_header": header,
        "after": "" if change.after is None else change.after,
    }
