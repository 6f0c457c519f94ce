# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name in the worker."""

from __future__ import annotations

from ansible_collections.eoepca.oapip.plugins.module_utils import _s3
from ansible_collections.eoepca.oapip.plugins.modules import oapip_sample as _module
from ansible_collections.eoepca.oapip.plugins.plugin_utils._in_process import InProcessAction

_s3.load_description()


class ActionModule(InProcessAction):
    """The action of the module of the same name."""

    module = _module
