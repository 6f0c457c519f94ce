# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What every module of this collection shares: its context, its errors and its way in and out.

A module file offers ``SPEC`` and ``run(params, ctx)``. ``run`` is called by :func:`run_module` in a
module process, or by ``plugin_utils/_in_process.py`` in Ansible's worker, with the same result.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.eoepca.oapip.plugins.module_utils._cache import Cache

try:
    from ansible.module_utils.secrets import register_secret as _register_secret
except ImportError:  # ansible-core < 2.22 has no secret registry

    def _register_secret(value: str) -> str:
        return value


Params = t.Dict[str, t.Any]
Result = t.Dict[str, t.Any]


class ModuleSpec(t.TypedDict, total=False):
    """The keyword arguments that ``AnsibleModule`` and ``ArgumentSpecValidator`` share."""

    argument_spec: t.Dict[str, t.Dict[str, t.Any]]
    mutually_exclusive: t.List[t.List[str]]
    required_together: t.List[t.List[str]]
    required_one_of: t.List[t.List[str]]
    required_if: t.List[t.List[t.Any]]
    required_by: t.Dict[str, t.List[str]]
    supports_check_mode: bool


class OapipError(Exception):
    """A failure that a user can act on.

    :param doing: what was being done, to which object: ``reading client oapip-engine``.
    :param reason: the server's own message, or what is wrong.
    :param hint: what to do next.
    :param status: the HTTP status, where there was one.
    :param path: the path of the request, without host and query.
    :param server: who answered: scheme, host and port.
    :param extra: result keys to return beside the message (the last state seen, a job id).
    """

    def __init__(
        self,
        doing: str,
        reason: str,
        hint: str = "",
        status: t.Optional[int] = None,
        path: str = "",
        extra: t.Optional[t.Mapping[str, t.Any]] = None,
        server: str = "",
    ) -> None:
        self.doing = doing
        self.reason = reason
        self.hint = hint
        self.status = status
        self.path = path
        self.server = server
        self.extra = dict(extra or {})
        super().__init__(self.text())

    def __str__(self) -> str:
        return self.text()  # a hint that was given later is told too

    @property
    def answered(self) -> str:
        """Status and server in parentheses, where there was an answer."""
        by = f" from {self.server}" if self.server else ""
        return f" (HTTP {self.status}{by})" if self.status is not None else ""

    def text(self) -> str:
        """One sentence for ``msg``: doing, status, server, reason, cure."""
        status = self.answered
        if "\n" in self.reason:  # a list, one line each
            return f"{self.doing}{status}:{self.reason.rstrip()}\n{self.hint}".rstrip()
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.doing}{status}: {self.reason.removesuffix('.')}.{hint}"

    def as_result(self) -> Result:
        """The keys of a failed result."""
        error = {"doing": self.doing, "reason": self.reason, "hint": self.hint}
        if self.status is not None:
            error["status"] = str(self.status)
        if self.path:
            error["path"] = self.path
        if self.server:
            error["server"] = self.server
        return {**self.extra, "msg": self.text(), "error": error}


@dataclass
class Context:
    """How one call of ``run`` is meant: dry or real, and where its words go."""

    check_mode: bool = False
    diff_mode: bool = False
    host: str = "localhost"
    progress: t.Callable[[str], None] = lambda _line: None
    warn: t.Callable[[str], None] = lambda _line: None
    secrets: t.Set[str] = field(default_factory=set)
    cache: Cache = field(default_factory=Cache)

    def say(self, line: str) -> None:
        """Tell progress: one line, once per change, never a secret."""
        self.progress(f"[{self.host}] {line}")

    def secret(self, value: str) -> str:
        """Register a secret that was read or made, so that no output shows it; return it."""
        if value:
            self.secrets.add(value)
            _register_secret(value)
        return value


Run = t.Callable[[Params, Context], Result]


def run_module(spec: ModuleSpec, run: Run) -> t.NoReturn:
    """Call ``run`` in a module process and leave with its result."""
    module = AnsibleModule(**spec)
    ctx = Context(
        check_mode=module.check_mode,
        diff_mode=module._diff,
        warn=module.warn,
        secrets=module.no_log_values,
    )
    try:
        result = run(module.params, ctx)
    except OapipError as error:
        module.fail_json(**error.as_result())
    except Exception as error:  # a defect of ours: say which, without a traceback
        module.fail_json(msg=unexpected(error))
    module.exit_json(**result)


def unexpected(error: BaseException) -> str:
    """The message for an error that we did not foresee: its type and place, not its content."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = ""
    if frame is not None:
        name = frame.tb_frame.f_code.co_filename.rsplit("/", 1)[-1]
        place = f" at {name}:{frame.tb_lineno}"
    return (
        f"unexpected {type(error).__name__}{place}: this is a defect of eoepca.oapip, "
        "please report it with this line"
    )
