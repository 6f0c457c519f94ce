# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module supports."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change, without any write.
    support: full
  diff_mode:
    description: Tells what it changed or would change as a diff, without secrets.
    support: full
  idempotent:
    description: Run again on what it left, it writes nothing and reports no change.
    support: full
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode; it never writes.
    support: full
  diff_mode:
    description: Tells what it changed as a diff.
    support: N/A
    details: It changes nothing.
  idempotent:
    description: Run again on what it left, it writes nothing and reports no change.
    support: full
"""

    CLUSTER = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/eoepca.oapip.cluster) in C(module_defaults) to set the cluster's options once.
    support: full
    membership:
      - eoepca.oapip.cluster
"""

    KEYCLOAK = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/eoepca.oapip.keycloak) in C(module_defaults) to set Keycloak's options once.
    support: full
    membership:
      - eoepca.oapip.keycloak
"""

    OAPIP = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/eoepca.oapip.oapip) in C(module_defaults) to set the server's options once.
    support: full
    membership:
      - eoepca.oapip.oapip
"""
