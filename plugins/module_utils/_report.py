# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a run did to one cluster, gathered from the results of its modules."""

from __future__ import annotations

import typing as t

Data = t.Mapping[str, t.Any]


def changes_of(result: Data) -> t.List[t.Dict[str, t.Any]]:
    """Return the changes of a module's result, or of all results of a loop."""
    looped = [change for item in result.get("results", []) for change in changes_of(item)]
    return [*result.get("changes", []), *looped]


def build(host: str, check: bool, reason: str, stages: Data, proof: Data) -> t.Dict[str, t.Any]:
    """Return the report: changes by stage and all together, findings, proof, reason."""
    ran = {name: result for name, result in stages.items() if result and "skipped" not in result}
    by_stage = {name: changes_of(result) for name, result in ran.items()}
    return {
        "host": host,
        "check_mode": check,
        "ok": not reason,
        "reason": reason,
        "changes": [change for changes in by_stage.values() for change in changes],
        "stages": {
            name: {
                "changed": bool(changes),
                "changes": changes,
                "assumed": list(ran[name].get("assumed", [])),
                "kept": list(ran[name].get("kept", [])),
            }
            for name, changes in by_stage.items()
        },
        "findings": [
            finding
            for result in ran.values()
            for finding in result.get("findings", [])
            if finding.get("level") != "ok"
        ],
        "proof": _proof(proof),
    }


def _proof(proof: Data) -> t.Dict[str, t.Any]:
    if not proof.get("due"):
        return {"due": False}
    wire = proof.get("endpoints", {}).get("checks", [])
    access = proof.get("access", {}).get("decisions", [])
    job = proof.get("job", {})
    status = {key: job["job"][key] for key in ("status", "message") if key in job.get("job", {})}
    return {
        "due": True,
        "wire": {"checks": wire, "failed": sum(not check.get("ok") for check in wire)},
        "access": {"checks": access, "failed": sum(c["decision"] != c["expect"] for c in access)},
        "job": {"job_id": job["job_id"], **status} if "job_id" in job else {},
        "picture": {
            key: value
            for key, value in proof.get("picture", {}).items()
            if key in ("key", "width", "height")
        },
        "not_proved": list(proof.get("not_proved", [])),
    }


def summary(report: Data) -> t.List[str]:
    """Return the report as a few lines for people."""
    lines = []
    for name, stage in report["stages"].items():
        count = len(stage["changes"])
        lines.append(f"{name:<20} {_count(count)}" if count else f"{name:<20} unchanged")
        lines += [f"{'':<20}   kept: {kept}" for kept in stage["kept"]]
    proof = report["proof"]
    if proof["due"] and not report["check_mode"]:
        wire, access = proof["wire"], proof["access"]
        lines.append(f"{'wire':<20} {_score(wire)}")
        lines.append(f"{'access decisions':<20} {_score(access)}")
        job, picture = proof["job"], proof["picture"]
        if job:
            lines.append(f"{'job':<20} {job.get('status', 'not run')}")
        if picture:
            size = f"{picture.get('width')} x {picture.get('height')} pixels"
            stored = str(picture.get("key")).rsplit("/", 1)[-1]
            lines.append(f"{'object in S3':<20} {stored}, {size}")
    lines += [f"{finding['level']}: {finding['message']}" for finding in report["findings"]]
    if report["reason"]:
        return [*lines, f"failed: {report['reason']}"]
    verb = " would be made" if report["check_mode"] else ""
    own = " (the proof's own objects, made and removed, do not count)" if proof["due"] else ""
    return [*lines, f"ok, {_count(len(report['changes']))}{verb}{own}"]


def _count(number: int) -> str:
    return f"{number} change" if number == 1 else f"{number} changes"


def _score(part: Data) -> str:
    total = len(part["checks"])
    return f"{total - part['failed']} of {total} as expected"
