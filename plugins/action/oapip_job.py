# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs oapip_job in Ansible's worker."""

from __future__ import annotations

import typing as t

from ansible_collections.eoepca.oapip.plugins.modules import oapip_job as _module
from ansible_collections.eoepca.oapip.plugins.plugin_utils._in_process import InProcessAction


class ActionModule(InProcessAction):
    """See the module."""

    module = _module

    def given(self) -> t.Dict[str, t.Any]:
        """Let relative paths of the controller start beside the playbook, in the worker too."""
        args = super().given()
        for name in ("dest", "assets_dest"):
            path = args.get(name)
            if isinstance(path, str) and getattr(self._connection, "transport", "local") == "local":
                args[name] = self._loader.path_dwim(path)
        return args
