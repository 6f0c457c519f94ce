# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say which cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of the kubeconfig file.
      - Falls back to the environment variable E(KUBECONFIG), then to C(~/.kube/config).
    type: path
  kube_context:
    description:
      - Context of the kubeconfig file; without it, the current one.
    type: str
requirements:
  - kubernetes >= 31
"""
