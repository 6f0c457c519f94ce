"""A process and a job from their beginning to their end, on the engine old and new.

What a third party's server offers of it is in test_pygeoapi.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.eoepca.oapip.plugins.modules import (
    oapip_job,
    oapip_job_info,
    oapip_process,
    oapip_process_info,
)
from tests.engine_stand import CWL, OTHER, Stand, call, engine

__all__ = ["engine"]

Json = dict[str, Any]


def settle(engine: Stand, **given: Any) -> Json:
    """Deploy dry, for real and again: dry tells the truth, only the real one writes."""
    before = len(engine.writes())
    dry = call(oapip_process, engine, check=True, **given)
    assert len(engine.writes()) == before, "check mode wrote"
    real = call(oapip_process, engine, **given)
    assert (dry["changes"], dry["diff"]) == (real["changes"], real["diff"])
    after = len(engine.writes())
    assert (after > before) == real["changed"]
    again = call(oapip_process, engine, **given)
    assert again["changes"] == []
    assert len(engine.writes()) == after, "the second run wrote"
    return real


def packages(engine: Stand) -> list[str]:
    found = call(oapip_process_info, engine, process_id="sleeper", package=True)["processes"]
    return [one["package"] for one in found]


def test_a_process(engine: Stand) -> None:
    made = settle(engine, content=CWL)
    assert [one["action"] for one in made["changes"]] == ["create"]
    assert packages(engine) == [CWL]
    replaced = settle(engine, content=OTHER)
    assert [one["action"] for one in replaced["changes"]] == ["update"]
    assert "label: one" in replaced["diff"]["before"]
    assert "label: two" in replaced["diff"]["after"]
    assert packages(engine) == [OTHER]
    gone = settle(engine, process_id="sleeper", state="absent")
    assert [one["action"] for one in gone["changes"]] == ["delete"]
    assert packages(engine) == []
    assert not settle(engine, process_id="sleeper", state="absent")["changed"]


def test_a_job(engine: Stand, tmp_path: Path) -> None:
    call(oapip_process, engine, content=CWL)
    engine.never_runs()
    wanted: Json = {"process_id": "sleeper", "inputs": {"seconds": 1}}
    before = len(engine.writes())
    assert call(oapip_job, engine, check=True, **wanted)["changed"]
    assert len(engine.writes()) == before, "check mode started it"
    job_id = call(oapip_job, engine, state="started", **wanted)["job_id"]
    assert [one["jobID"] for one in call(oapip_job_info, engine)["jobs"]] == [job_id]

    engine.end(job_id)
    dest = tmp_path / "results.json"
    done = call(oapip_job, engine, job_id=job_id, dest=str(dest))
    assert done["job"]["status"] == "successful"
    assert json.loads(dest.read_text()) == done["job_results"] == {"out": {"value": "done"}}
    again = call(oapip_job, engine, job_id=job_id, dest=str(dest))
    assert not again["changed"]
    assert len(engine.writes()) == before + 1, "it was started more than once"

    dry = call(oapip_job, engine, check=True, job_id=job_id, state="dismissed")
    assert len(engine.writes()) == before + 1, "check mode dismissed it"
    gone = call(oapip_job, engine, job_id=job_id, state="dismissed")
    assert dry["changes"] == gone["changes"] != []
    assert len(engine.writes()) == before + 2
    assert call(oapip_job, engine, job_id=job_id, state="dismissed")["changes"] == []
    assert len(engine.writes()) == before + 2, "it was dismissed twice"
    assert call(oapip_job_info, engine)["jobs"] == []


def test_one_among_thousands_of_jobs(engine: Stand) -> None:
    """A list stays as short as it is wanted, and so does what the server is asked for."""
    call(oapip_process, engine, content=CWL)
    engine.never_runs()
    wanted: Json = {"process_id": "sleeper", "inputs": {"seconds": 1}}
    job_id = call(oapip_job, engine, state="started", **wanted)["job_id"]
    running = engine.jobs.get(job_id)
    assert running is not None
    done = replace(running, status="successful", finished=running.created)
    for number in range(3000):
        engine.jobs.save(replace(done, job_id=f"{number:08}-0000-1000-8000-000000000000"))
    before = len(engine.asked)
    assert len(call(oapip_job_info, engine)["jobs"]) == 100
    (found,) = call(oapip_job_info, engine, status=["accepted", "running"], limit=5)["jobs"]
    assert found["jobID"] == job_id
    assert call(oapip_job_info, engine, process_id="other")["jobs"] == []
    assert len(engine.asked) - before <= 8
