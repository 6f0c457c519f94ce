# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name in the worker."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.eoepca.oapip.plugins.modules import oapip_lock as _module
from ansible_collections.eoepca.oapip.plugins.plugin_utils._in_process import InProcessAction


class ActionModule(InProcessAction):
    """The action of the module of the same name."""

    module = _module
    needs_lock = False

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Bind the lock to the run: the worker's parent lives as long as the run does."""
        if not self._must_be_sent():
            self._task.args.setdefault("pid", os.getppid())
        return super().run(tmp, task_vars)
