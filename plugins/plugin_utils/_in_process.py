# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one action plugin: runs a module's ``run`` in Ansible's worker process.

A module process costs ten to forty times as much (docs/benchmarks.md). Where the worker cannot
stand for the target (another connection, become, async, environment), the module is sent as usual.
"""

from __future__ import annotations

import datetime
import gc
import multiprocessing
import os
import time
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.eoepca.oapip.plugins.module_utils import _tether
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    OapipError,
    unexpected,
)
from ansible_collections.eoepca.oapip.plugins.plugin_utils._shared import Shared

display = Display()

SHARED = Shared()
"""Made here, in Ansible's own process, so that all workers of the run have the same."""

RENEW_AFTER = 60.0
"""Seconds after which a task renews the lock of its run: short runs never ask."""

try:
    from ansible.module_utils.secrets import mask_secrets as _mask
except ImportError:
    _mask = None


class InProcessAction(ActionBase):
    """Subclasses set ``module`` to their module file, imported at the top of the action file."""

    module: t.Any
    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True
    _requires_connection = False
    needs_lock = True
    """Whether the module may only begin while the run's lock, if it has one, is still its own."""

    def __init_subclass__(cls) -> None:
        """Leave what was imported out of all later garbage collections of Ansible's process.

        Its workers are forks: a collection in one would copy every page that they share with it.
        """
        gc.freeze()

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Run the module here, or send it where the task says."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        controller = multiprocessing.parent_process()
        if controller is not None and controller.pid is not None:
            _tether.end_with(controller.pid)  # a worker has its own session and would live on
        try:
            if self.needs_lock:
                keep_lock(task_vars.get("site_lock"))
            args = self.given()
        except OapipError as error:
            return {**error.as_result(), "failed": True}
        if self._must_be_sent():
            sent: t.Dict[str, t.Any] = self._execute_module(
                module_name=self._task.action,
                module_args=args,
                task_vars=task_vars,
                wrap_async=bool(self._task.async_val),
            )
            self._show_as_given(sent, args)
            return sent
        return self._run_here(args, task_vars)

    def given(self) -> t.Dict[str, t.Any]:
        """Return the task's options; who names files of the controller finds them here.

        :raises OapipError: a file is missing.
        """
        return dict(self._task.args)

    def found(self, path: str, option: str) -> str:
        """Return the path of a file of the controller that a task names.

        :raises OapipError: there is none beside the playbook or role, where others look for theirs.
        """
        try:
            needle = os.path.expandvars(os.path.expanduser(path))
            return t.cast("str", self._find_needle("files", needle))
        except AnsibleError:
            raise OapipError(
                f"reading {path}",
                "there is no such file beside the playbook or role, nor in their folder files",
                f"Check {option}.",
            ) from None

    def _show_as_given(self, sent: t.Dict[str, t.Any], args: t.Mapping[str, t.Any]) -> None:
        """Show the names of files in a result, where the module got what they hold."""
        told = (sent.get("invocation") or {}).get("module_args", {})
        for name in {*args, *self._task.args}:
            if args.get(name) != self._task.args.get(name):
                told[name] = self._task.args.get(name)

    def _must_be_sent(self) -> bool:
        transport = getattr(self._connection, "transport", "local")
        environment = [env for env in (self._task.environment or []) if env]
        return bool(
            transport != "local" or self._task.async_val or self._play_context.become or environment
        )

    def _run_here(
        self, args: t.Dict[str, t.Any], task_vars: t.Dict[str, t.Any]
    ) -> t.Dict[str, t.Any]:
        spec = dict(self.module.SPEC)
        spec.pop("supports_check_mode", None)
        checked = ArgumentSpecValidator(**spec).validate(plain(args))
        for deprecation in checked._deprecations:
            display.deprecated(
                deprecation["msg"],
                version=deprecation.get("version"),
                date=deprecation.get("date"),
                collection_name=deprecation.get("collection_name") or "eoepca.oapip",
            )
        if checked.error_messages:
            errors = "; ".join(str(message) for message in checked.error_messages)
            unsupported = any(isinstance(error, UnsupportedError) for error in checked.errors)
            prefix = "Unsupported parameters for" if unsupported else "Wrong parameters for"
            masked = remove_values(
                {"failed": True, "msg": f"{prefix} {self._task.action}: {errors}"},
                checked._no_log_values,
            )
            return t.cast("t.Dict[str, t.Any]", masked)
        ctx = Context(
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
            host=str(task_vars.get("inventory_hostname", "localhost")),
            progress=lambda line: display.display(line, stderr=True),
            warn=display.warning,
            secrets={str(value) for value in checked._no_log_values},
            cache=SHARED,
        )
        for secret in list(ctx.secrets):
            ctx.secret(secret)
        try:
            result = self.module.run(checked.validated_parameters, ctx)
        except OapipError as error:
            result = {**error.as_result(), "failed": True}
        except Exception as error:  # a defect of ours: its place, not a traceback with values in it
            result = {"failed": True, "msg": unexpected(error)}
        return self._masked(result, ctx)

    def _masked(self, result: t.Dict[str, t.Any], ctx: Context) -> t.Dict[str, t.Any]:
        if _mask is not None:  # core's own engine masks what ctx.secret registered
            return result
        return t.cast("t.Dict[str, t.Any]", remove_values(result, ctx.secrets))


def keep_lock(lock: t.Any) -> None:
    """Renew the lock that the play registered, unless that was done a moment ago.

    :raises OapipError: another run has taken it, so this one must not go on.
    """
    if not isinstance(lock, t.Mapping) or not lock.get("held"):
        return
    lease = plain(lock["lease"])
    if time.time() - lease["taken"] < RENEW_AFTER:
        return
    # its libraries are slow to load, and a short run does not come here
    from ansible_collections.eoepca.oapip.plugins.module_utils import _lease

    try:
        _lease.renew_at(lease, str(lock["holder"]))
    except _lease.LostError:
        raise
    except OapipError as error:  # the task itself will tell, if it needs that server
        display.warning(str(error))


def plain(value: t.Any) -> t.Any:
    """Return a value free of Ansible's tags and lazy containers, as a module that is sent gets it.

    A date of YAML is its text (ISO 8601) then.
    """
    if isinstance(value, t.Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    for kind in (bool, str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value
