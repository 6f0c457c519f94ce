# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs oapip_process in Ansible's worker."""

from __future__ import annotations

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _pack, _process
from ansible_collections.eoepca.oapip.plugins.modules import oapip_process as _module
from ansible_collections.eoepca.oapip.plugins.plugin_utils._in_process import InProcessAction

PATIENCE = 30.0
"""Seconds that one request may take, where a file takes parts of it from the web."""


class ActionModule(InProcessAction):
    """See the module."""

    module = _module

    def given(self) -> t.Dict[str, t.Any]:
        """Find the package beside the playbook or role; a module that is sent gets its text."""
        args = super().given()
        src = args.get("src")
        if not isinstance(src, str) or _pack.is_url(src):
            return args
        args["src"] = self.found(src, "src")
        if self._must_be_sent() and "content" not in args:
            args["content"] = _process.fetch_source(args.pop("src"), PATIENCE, _http.session())
        return args
