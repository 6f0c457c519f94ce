#!/usr/bin/python
# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_job
short_description: Run a process of an OGC API - Processes server, wait for it, dismiss it
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
description:
  - Starts a job of a process, waits until it is over and returns its results; or waits for one
    that was started
    before; or dismisses one.
  - The names, the presence and the simple types of the inputs are checked against the description
    of the process first,
    because the engine accepts anything and lets the job fail later.
  - While it waits, it tells each change of state or progress in a line. Short faults of the server
    are not failures.
  - A job that failed is reported with the server's reason, its message and the ends of its logs.
  - A job is never started twice. Whatever happens after the start, the job's ID is in the result.
notes:
  - A task that waits holds one of Ansible's forks, with some 13 MB of memory. For many hosts start
    the jobs in one task, and wait for them in another with C(throttle).
extends_documentation_fragment:
  - eoepca.oapip._oapip
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.oapip
attributes:
  diff_mode:
    support: none
    details: A job has no earlier state to compare with.
  idempotent:
    support: partial
    details: Starting a job is not idempotent. Waiting for one, and dismissing one, are.
options:
  process_id:
    description:
      - Process to run; beside O(job_id), only the name that progress is told with.
    type: str
  inputs:
    description:
      - Inputs of the job by name. A value stands for itself, a list for several; a mapping with
        C(href) is a reference, one with C(value) a value with its media type, and one with C(bbox)
        a bounding box.
    type: dict
    default: {}
  input_files:
    description:
      - Inputs of the job that are files of the controller, by name. Their content is sent by
        value.
      - A path, or a mapping of V(path) and V(media_type), or a list of these. Without
        V(media_type), the name of the file says it.
      - A relative path is looked for beside the playbook or role and in their folders C(files), on
        the controller also where the task runs on another host.
      - JSON is sent as it is, text as text, anything else in base64. For what is longer than
        64 MiB, give a reference in O(inputs).
    type: dict
    default: {}
  outputs:
    description:
      - Outputs wanted, by name, with V(transmissionMode) and V(format) where needed. Without it,
        all.
    type: dict
  response:
    description:
      - Shape of the results.
      - Raw results are what the process made, a picture for example. O(dest) saves them as they
        are. Without O(dest), of what is neither JSON nor text only RV(job_results) remains, and a
        server need not keep what a job gave with O(mode=sync).
      - They are held in memory. Ask for large ones by reference, with O(outputs), and take them
        with O(assets_dest).
    type: str
    choices: [document, raw]
    default: document
  subscriber:
    description:
      - Addresses that the server calls, with the keys V(successUri), V(inProgressUri) and
        V(failedUri).
    type: dict
  mode:
    description:
      - Whether the server works while we wait for its answer (V(sync)) or after it (V(async)).
      - A deployed process of the engine knows only V(async).
    type: str
    choices: [async, sync]
    default: async
  job_id:
    description:
      - A job that was started before; nothing is started then.
    type: str
  state:
    description:
      - V(finished) starts a job and waits until it is over; with O(job_id) it only waits.
      - V(started) starts a job.
      - V(dismissed) stops the job O(job_id); of a finished job it deletes the record and the
        results.
    type: str
    choices: [finished, started, dismissed]
    default: finished
  wait_timeout:
    description:
      - Seconds to wait for the job.
    type: int
    default: 3600
  dismiss_on_timeout:
    description:
      - Whether a job that is not over in time is dismissed.
    type: bool
    default: false
  quiet:
    description:
      - Whether to say nothing while waiting.
    type: bool
    default: false
  dest:
    description:
      - File to save the results to, on the host that runs the task. On the controller, a relative
        path starts at the folder of the playbook.
      - JSON is saved with its keys sorted, so that the same results are the same file; anything
        else byte by byte, C(multipart/related) too.
    type: path
  assets_dest:
    description:
      - Folder to save the files to that the results refer to, on the host that runs the task,
        created where it is missing. The files of an output are in a folder of its name, those of a
        STAC item in a folder of the item's ID below it.
      - These are the targets of references (C(href)), and of addresses that begin with C(s3://),
        the assets of STAC items and collections, and the documents that STAC links as C(item) or
        C(child). Relative addresses start from their document.
      - Files are read from the server of O(url), from other hosts by HTTPS, and from S3 with
        O(storage). A token and a client's secrets are sent to no other host than that of O(url).
      - A file that is there with the same content is not written. Other files stay as they are.
      - Two files whose names would be the same are an error, unless they are assets of one STAC
        document. Then a folder with the key of the asset keeps them apart.
      - A relative path starts where one of O(dest) does.
    type: path
  storage:
    description:
      - The S3 endpoint that holds the files of O(assets_dest), and keys that may read them.
    type: dict
    suboptions:
      endpoint:
        description:
          - URL of the S3 endpoint, for example V(https://s3.example.org).
        type: str
        required: true
      region:
        description:
          - Name of the region.
        type: str
        default: us-east-1
      access_key:
        description:
          - Access key ID.
        type: str
        required: true
      secret_key:
        description:
          - Secret access key.
        type: str
        required: true
      validate_certs:
        description:
          - Whether the endpoint's certificate is verified.
        type: bool
        default: true
      ca_path:
        description:
          - File with the PEM certificates of the authorities to trust for this endpoint.
          - Without it, the authorities that Python's libraries bring are trusted.
        type: path
      timeout:
        description:
          - Seconds that one request may take.
        type: int
        default: 30
requirements:
  - boto3 >= 1.40, for O(storage)
seealso:
  - module: eoepca.oapip.oapip_job_info
  - module: eoepca.oapip.oapip_process
"""

EXAMPLES = r"""
- name: Run a process and wait for its results
  eoepca.oapip.oapip_job:
    url: https://zoo.example.org/alice/ogc-api
    token_url: https://auth.example.org/realms/eoepca/protocol/openid-connect/token
    client_id: oapip-cli
    username: alice
    password: "{{ alice_password }}"
    process_id: hello
    inputs:
      name: Ada
    wait_timeout: 900
    dest: results.json
  register: job

- name: Run a process with a bounding box, a list and files by value
  eoepca.oapip.oapip_job:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    process_id: clip # the package and the files are in examples/ of the collection
    inputs:
      extent: {bbox: [10.0, 46.5, 11.5, 47.5], crs: "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
      bands: [red, nir]
    input_files:
      area: area.geojson
      style: {path: style.sld, media_type: application/vnd.ogc.sld+xml}

- name: Start a job now
  eoepca.oapip.oapip_job:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    process_id: hello
    inputs: {name: Ada, seconds: 5}
    state: started
  register: started

- name: Wait for it later
  eoepca.oapip.oapip_job:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    job_id: "{{ started.job_id }}"

- name: Fetch the files of its results too
  eoepca.oapip.oapip_job:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    job_id: "{{ started.job_id }}"
    dest: results.json
    assets_dest: results
    storage:
      endpoint: https://s3.example.org
      access_key: "{{ s3_access_key }}"
      secret_key: "{{ s3_secret_key }}"

- name: Remove it with its results
  eoepca.oapip.oapip_job:
    url: https://zoo.example.org/alice/ogc-api
    token: "{{ token }}"
    job_id: "{{ started.job_id }}"
    state: dismissed
"""

RETURN = r"""
job_id:
  description: ID of the job.
  returned: when there is a job; a synchronous one may have no ID, and check mode starts none
  type: str
  sample: 4f1c8a2e-e65a-11f1-860f-02fc00000001
job:
  description:
    - The last status document of the job. C(status) is the standard's word for its state, and
      C(jobID) its ID, however the server writes them.
  returned: success, and on failure after the start
  type: dict
  sample: {jobID: 4f1c8a2e-e65a-11f1-860f-02fc00000001, processID: hello, status: successful}
job_results:
  description:
    - The results, parsed where they are JSON. Of raw results that are neither JSON nor text, their
      media type C(type) and their length in bytes C(size).
  returned: when the job was successful
  type: raw
  sample: {greeting: {value: {type: Collection}}}
assets:
  description: The files that the results refer to.
  returned: when the job was successful and O(assets_dest) is given
  type: list
  elements: dict
  contains:
    href:
      description: Where the file comes from, without a query.
      type: str
      returned: always
    path:
      description: Where it is saved.
      type: str
      returned: always
    changed:
      description: Whether it was written, or would be in check mode.
      type: bool
      returned: always
  sample:
    - href: s3://eoepca/processing-results/4f1c8a2e/greeting/hello.txt
      path: results/greeting/greeting/hello.txt
      changed: true
reason:
  description: Why the job failed.
  returned: when the job failed
  type: str
jobs:
  description: IDs of the jobs of the process that began since the request whose answer is missing.
  returned: when it is not known whether the job was started, and the server lists any
  type: list
  elements: str
logs:
  description:
    - Addresses of the log files that the server relates to the job.
    - They are built from O(url) where the file is of that server, since its own links may be wrong.
  returned: when the job failed
  type: list
  elements: str
  sample: ["https://zoo.example.org/alice/temp/convert-4f1c8a2e/node_resize.log"]
log_tails:
  description:
    - The ends of those log files, at most 50 lines of each and 32 KiB of all.
    - Control characters are left out, and what looks like a secret is hidden. The last lines of
      each are in the message too.
    - A log that cannot be read is no further failure; RV(log_tails[].trouble) says why.
  returned: when the job failed
  type: list
  elements: dict
  contains:
    url:
      description: Address of the log file.
      type: str
      returned: always
    lines:
      description: Its last lines.
      type: list
      elements: str
      returned: always
    trouble:
      description: Why it could not be read; empty where it could.
      type: str
      returned: always
  sample:
    - url: https://zoo.example.org/alice/temp/convert-4f1c8a2e/node_resize.log
      lines: ["convert: no decode delegate for this image format"]
      trouble: ""
changes:
  description: What was done, or would be.
  returned: success
  type: list
  elements: dict
  sample: [{action: run, kind: job, name: hello, fields: []}]
assumed:
  description: What check mode took for granted because it is not there yet.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _assets,
    _inputs,
    _job,
    _jobs,
    _logs,
    _ogc,
    _process,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._argspec import ogc, s3
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change, result
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

SPEC: ModuleSpec = {
    "argument_spec": {
        **ogc(),
        "process_id": {"type": "str"},
        "inputs": {"type": "dict", "default": {}},
        "input_files": {"type": "dict", "default": {}},
        "outputs": {"type": "dict"},
        "response": {"type": "str", "choices": ["document", "raw"], "default": "document"},
        "subscriber": {"type": "dict"},
        "mode": {"type": "str", "choices": ["async", "sync"], "default": "async"},
        "job_id": {"type": "str"},
        "state": {
            "type": "str",
            "choices": ["finished", "started", "dismissed"],
            "default": "finished",
        },
        "wait_timeout": {"type": "int", "default": 3600},
        "dismiss_on_timeout": {"type": "bool", "default": False},
        "quiet": {"type": "bool", "default": False},
        "dest": {"type": "path"},
        "assets_dest": {"type": "path"},
        "storage": {"type": "dict", "options": s3()},
    },
    "required_if": [
        ["state", "started", ["process_id"]],
        ["state", "dismissed", ["job_id"]],
        ["state", "finished", ["process_id", "job_id"], True],
    ],
    "supports_check_mode": True,
}


def run(params: Params, ctx: Context) -> Result:
    """Start, wait or dismiss."""
    server = _ogc.Server(params, ctx)
    try:
        if params["state"] == "dismissed":
            return dismissed(params, ctx, server)
        if params["job_id"]:
            return waited(params, ctx, server, params["job_id"], {}, [])
        return started(params, ctx, server)
    except OapipError as error:
        if not (ctx.check_mode and _ogc.not_there_yet(error)):
            raise
        changes = [] if params["job_id"] else running(params)
        return result(changes, [f"server {server.base}"], job={})


def running(params: Params) -> t.List[Change]:
    """Return the changes of starting a job; a file is taken for different before it is known."""
    files = _assets.expected(params) if params["state"] == "finished" else []
    return [Change("run", "job", params["process_id"]), *files]


def dismissed(params: Params, ctx: Context, server: _ogc.Server) -> Result:
    """Stop or delete a job."""
    job_id: str = params["job_id"]
    status = _jobs.status_of(server, job_id)
    # some servers keep a dismissed job; the engine forgets it
    there = status is not None and status.get("status") != "dismissed"
    changes = [Change("delete", "job", job_id)] if there else []
    if there and not ctx.check_mode:
        _jobs.dismiss(server, job_id)
    return result(changes, job_id=job_id, job=status or {})


def started(params: Params, ctx: Context, server: _ogc.Server) -> Result:
    """Check the inputs, start a job, and wait for it where that is wanted."""
    process_id: str = params["process_id"]
    inputs = _inputs.with_files(params["inputs"], params["input_files"])
    changes = running(params)
    doing = f"starting a job of process {process_id}"
    about = _process.describe(server, process_id)
    if about is None:
        if ctx.check_mode:
            return result(changes, [f"process {process_id}"], job={})
        raise OapipError(doing, "there is no such process", "Deploy it with oapip_process.")
    wrong = _job.check_inputs(about, inputs)
    if wrong:
        raise OapipError(doing, "; ".join(wrong), "Correct inputs.", extra={"inputs_wrong": wrong})
    offered = _job.modes_of(about)
    if f"{params['mode']}-execute" not in offered:
        how = "synchronously" if params["mode"] == "sync" else "asynchronously"
        known = ", ".join(offered) or "nothing"
        raise OapipError(
            doing, f"the process cannot run {how}: it offers {known}", "Use the other mode."
        )
    if ctx.check_mode:
        return result(changes, job={})
    body = _job.request_of(inputs, params["outputs"], params["response"], params["subscriber"])
    seconds = float(params["wait_timeout"]) if params["mode"] == "sync" else None
    job_id, status, over, results = _jobs.start(server, process_id, body, seconds)
    if over:
        return finished(params, ctx, server, changes, job_id, status, results)
    if params["state"] == "started":
        if not params["quiet"]:
            ctx.say(f"{process_id} {job_id[:8]}...: {_job.describe(status)}")
        return result(changes, job_id=job_id, job=status)
    return waited(params, ctx, server, job_id, status, changes)


def waited(
    params: Params,
    ctx: Context,
    server: _ogc.Server,
    job_id: str,
    status: t.Dict[str, t.Any],
    changes: t.List[Change],
) -> Result:
    """Wait until a job is over and return its results.

    :raises OapipError: it failed, was dismissed, or is not over in time; with its id.
    """
    if ctx.check_mode:
        status = _jobs.status_of(server, job_id) or {}
        if status.get("status") == "successful":
            results = _jobs.results_of(server, job_id, params["response"])
            return finished(params, ctx, server, [], job_id, status, results)
        return result([], [] if status else [f"job {job_id}"], job_id=job_id, job=status)
    name = params["process_id"] or status.get("processID") or "job"

    def tell(words: str) -> None:
        if not params["quiet"]:
            ctx.say(f"{name} {job_id[:8]}...: {words}")

    deadline = Deadline(float(params["wait_timeout"]))
    last: t.Dict[str, t.Any] = {"job": status, "changed": bool(changes)}
    with _jobs.holding(job_id, last):
        outcome = _job.wait(_jobs.looker(server, job_id, deadline), deadline, tell)
        last["job"] = outcome.status or status
        if outcome.state == "successful":
            results = _jobs.results_of(server, job_id, params["response"])
            return finished(params, ctx, server, changes, job_id, outcome.status, results)
        raise unfinished(params, ctx, server, job_id, outcome, deadline)


def unfinished(
    params: Params,
    ctx: Context,
    server: _ogc.Server,
    job_id: str,
    outcome: _job.Outcome,
    deadline: Deadline,
) -> OapipError:
    """Return the error for a job that did not succeed."""
    doing = f"waiting for job {job_id}"
    if outcome.state == "failed":
        reason = _jobs.why_failed(server, job_id, outcome.status)
        logs = _logs.tails(server, _job.logs_of(outcome.status), ctx.secrets)
        told = {
            "reason": reason,
            "logs": [one.url for one in logs],
            "log_tails": [one._asdict() for one in logs],
        }
        return OapipError(doing, f"it failed: {reason}", _logs.shown(logs), extra=told)
    if outcome.state == "dismissed":
        return OapipError(doing, "it was dismissed by somebody else, or the server lost it")
    seen = _job.describe(outcome.status) + (f"; {outcome.trouble}" if outcome.trouble else "")
    hint = f"Wait for it again with job_id={job_id}, or raise wait_timeout."
    if params["dismiss_on_timeout"]:
        try:
            # with the wait, a tenth longer than the deadline at most
            left = 1.1 * deadline.seconds - deadline.elapsed
            _jobs.dismiss(server, job_id, min(server.timeout, 5.0, max(1.0, left)))
            hint = "It was dismissed. Raise wait_timeout."
        except OapipError as error:
            hint = f"It could not be dismissed: {error}"
    return OapipError(doing, f"not over after {params['wait_timeout']} s (last: {seen})", hint)


def finished(
    params: Params,
    ctx: Context,
    server: _ogc.Server,
    changes: t.List[Change],
    job_id: str,
    status: t.Dict[str, t.Any],
    results: t.Any,
) -> Result:
    """Return the results, saved where that is wanted."""
    ids = {"job_id": job_id} if job_id else {}
    facts = {**ids, "job": status, "job_results": _jobs.told(results)}
    with _jobs.holding(job_id, {**facts, "changed": bool(changes)}):
        kept, assets = _assets.keep(params, ctx, server, job_id, status, results)
    return result(changes or kept, **facts, **assets)  # a wait alone: now it is known what changes


def main() -> None:
    """Run as a module."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
