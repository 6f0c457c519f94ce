# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs M(eoepca.oapip.oapip_release) in Ansible's worker."""

from __future__ import annotations

from ansible_collections.eoepca.oapip.plugins.modules import oapip_release as _module
from ansible_collections.eoepca.oapip.plugins.plugin_utils._in_process import InProcessAction


class ActionModule(InProcessAction):
    """The module, in the worker."""

    module = _module
