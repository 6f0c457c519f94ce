#!/usr/bin/python
# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_job_info
short_description: Read jobs of an OGC API - Processes server
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
description:
  - Reads one job, or lists jobs by filters, at most O(limit) of them.
extends_documentation_fragment:
  - eoepca.oapip._oapip
  - eoepca.oapip._attributes.info
  - eoepca.oapip._attributes.oapip
options:
  job_id:
    description:
      - The job to read; without it, jobs are listed.
    type: str
  process_id:
    description:
      - List only jobs of this process.
    type: str
  status:
    description:
      - List only jobs in one of these states. Other words of a server for them are known too.
    type: list
    elements: str
    choices: [accepted, running, successful, failed, dismissed]
  datetime:
    description:
      - List only jobs created in this interval, for example V(2026-11-01T00:00:00Z/..); or in this
        second, or on this day.
      - A job that does not tell when it was created is left out, since a server may ignore this
        option.
    type: str
  min_duration:
    description:
      - List only jobs that took at least so many seconds, or have taken them until now.
      - A job that does not tell its times is left out.
    type: int
  max_duration:
    description:
      - List only jobs that took at most so many seconds, or have taken them until now.
      - A job that does not tell its times is left out.
    type: int
  limit:
    description:
      - List at most so many jobs. The order is the server's.
    type: int
    default: 100
  results:
    description:
      - Whether to read the results of the successful job O(job_id) too.
    type: bool
    default: false
seealso:
  - module: eoepca.oapip.oapip_job
"""

EXAMPLES = r"""
- name: Read one job
  eoepca.oapip.oapip_job_info:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    job_id: "{{ job.job_id }}" # that eoepca.oapip.oapip_job returned
    results: true

- name: List the jobs of a process that are not over
  eoepca.oapip.oapip_job_info:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    process_id: hello
    status: [accepted, running]
"""

RETURN = r"""
jobs:
  description:
    - Status documents; empty where the job asked for does not exist. C(status) is the standard's
      word for the state, and C(jobID) the ID, however the server writes them.
  returned: success
  type: list
  elements: dict
  sample: [{jobID: 4f1c8a2e-e65a-11f1-860f-02fc00000001, processID: hello, status: running,
  progress: 33}]
job_results:
  description: Results of the job, or null; as M(eoepca.oapip.oapip_job) returns them.
  returned: success
  type: raw
assumed:
  description: What check mode took for granted because it is not there yet.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.eoepca.oapip.plugins.module_utils import _jobs, _ogc
from ansible_collections.eoepca.oapip.plugins.module_utils._argspec import ogc
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import result

SPEC: ModuleSpec = {
    "argument_spec": {
        **ogc(),
        "job_id": {"type": "str"},
        "process_id": {"type": "str"},
        "status": {
            "type": "list",
            "elements": "str",
            "choices": ["accepted", "running", "successful", "failed", "dismissed"],
        },
        "datetime": {"type": "str"},
        "min_duration": {"type": "int"},
        "max_duration": {"type": "int"},
        "limit": {"type": "int", "default": 100},
        "results": {"type": "bool", "default": False},
    },
    "mutually_exclusive": [["job_id", "process_id"], ["job_id", "status"], ["job_id", "datetime"]],
    "required_if": [["results", True, ["job_id"]]],
    "supports_check_mode": True,
}


def run(params: Params, ctx: Context) -> Result:
    """Read one job, or list some."""
    server = _ogc.Server(params, ctx)
    try:
        if not params["job_id"]:
            filters = {
                "processID": params["process_id"],
                "status": params["status"],
                "datetime": params["datetime"],
                "minDuration": params["min_duration"],
                "maxDuration": params["max_duration"],
            }
            return result([], jobs=_jobs.listed(server, filters, params["limit"]), job_results=None)
        status = _jobs.status_of(server, params["job_id"])
        good = params["results"] and status is not None and status.get("status") == "successful"
        results = _jobs.results_of(server, params["job_id"]) if good else None
        return result([], jobs=[status] if status else [], job_results=_jobs.told(results))
    except OapipError as error:
        if not (ctx.check_mode and _ogc.not_there_yet(error)):
            raise
        return result([], [f"server {server.base}"], jobs=[], job_results=None)


def main() -> None:
    """Run as a module."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
