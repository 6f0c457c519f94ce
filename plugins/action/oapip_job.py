# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs oapip_job in Ansible's worker."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.validation import check_type_dict

from ansible_collections.eoepca.oapip.plugins.module_utils import _inputs
from ansible_collections.eoepca.oapip.plugins.modules import oapip_job as _module
from ansible_collections.eoepca.oapip.plugins.plugin_utils._in_process import (
    InProcessAction,
    plain,
)


class ActionModule(InProcessAction):
    """See the module."""

    module = _module

    def given(self) -> t.Dict[str, t.Any]:
        """Let relative paths of the controller start beside the playbook, in the worker too."""
        args = super().given()
        if args.get("input_files") and not args.get("job_id"):
            self._find_inputs(args)
        for name in ("dest", "assets_dest"):
            path = args.get(name)
            if isinstance(path, str) and getattr(self._connection, "transport", "local") == "local":
                args[name] = self._loader.path_dwim(path)
        return args

    def _find_inputs(self, args: t.Dict[str, t.Any]) -> None:
        """Find the files of the inputs; a module that is sent gets what they hold."""
        try:
            files = check_type_dict(plain(args["input_files"]))
            inputs = check_type_dict(plain(args.get("inputs") or {}))
        except TypeError:
            return  # the module tells what is wrong with them
        files = {name: self._found(given) for name, given in files.items()}
        if not self._must_be_sent():
            args["input_files"] = files
            return
        args["inputs"] = _inputs.with_files(inputs, files)
        del args["input_files"]

    def _found(self, given: t.Any) -> t.Any:
        if isinstance(given, list):
            return [self._found(one) for one in given]
        if isinstance(given, dict):
            return {**given, **({"path": self._found(given["path"])} if "path" in given else {})}
        return self.found(given, "input_files") if given and isinstance(given, str) else given
