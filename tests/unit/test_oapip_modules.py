"""oapip_process, oapip_job and their _info modules, against the engine's wire behaviour."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _process
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline
from ansible_collections.eoepca.oapip.plugins.modules import (
    oapip_job,
    oapip_job_info,
    oapip_process,
    oapip_process_info,
)
from tests.ogc_double import Asked, Double, Engine, Reply, problem, serving
from tests.simulated_clock import Simulated
from tests.unit_params import params_of

CWL = """\
cwlVersion: v1.0
$graph:
- class: Workflow
  id: water
  label: one
  inputs: {}
  outputs: {}
  steps: {}
"""
OTHER = CWL.replace("label: one", "label: two")
WRITE = "/alice/ogc-api/processes"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "pause", lambda attempt, header=None: 0.01)
    monkeypatch.setattr(_process, "SETTLE", 0.5)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def double(engine: Engine) -> Iterator[Double]:
    with serving(engine) as made:
        yield made


class Told(Context):
    """A context that keeps what it is told."""

    def __init__(self, check_mode: bool = False) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        super().__init__(
            check_mode=check_mode,
            host="host",
            progress=self.lines.append,
            warn=self.warnings.append,
        )


def call(
    module: ModuleType, double: Double, ctx: Context | None = None, **given: Any
) -> dict[str, Any]:
    params = params_of(module, {"url": f"{double.url}/alice/ogc-api", "timeout": 5, **given})
    made: dict[str, Any] = module.run(params, ctx or Told())
    return made


def changes(made: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    return [(one["action"], one["name"], one["fields"]) for one in made["changes"]]


# oapip_process


def test_create_again_change_absent_again(double: Double, engine: Engine) -> None:
    def step(expected: list[Any], writes: list[str], **given: Any) -> None:
        before = len(double.writes())
        dry = call(oapip_process, double, Told(check_mode=True), **given)
        assert len(double.writes()) == before
        real = call(oapip_process, double, **given)
        assert changes(dry) == changes(real) == expected
        assert dry["diff"] == real["diff"]
        assert double.writes()[before:] == writes

    step([("create", "water", [])], [f"POST {WRITE}"], content=CWL)
    assert engine.packages["water"] == CWL
    step([], [], content=CWL)
    step([], [], content="# only a comment\n" + CWL)
    step([("update", "water", ["package"])], [f"PUT {WRITE}/water"], content=OTHER)
    step([("update", "water", [])], [f"PUT {WRITE}/water"], content=OTHER, force=True)
    step([("delete", "water", [])], [f"DELETE {WRITE}/water"], process_id="water", state="absent")
    step([], [], workflow="water", state="absent")


def test_the_diff_is_of_the_text(double: Double) -> None:
    call(oapip_process, double, content=CWL)
    made = call(oapip_process, double, content=OTHER)
    assert (made["diff"]["before"], made["diff"]["after"]) == (CWL, OTHER)


def test_src_is_read_on_the_controller(double: Double, tmp_path: Path) -> None:
    path = tmp_path / "water.cwl"
    path.write_text(CWL)
    assert call(oapip_process, double, src=str(path))["process"]["id"] == "water"
    with pytest.raises(OapipError, match=r"gone\.cwl: No such file"):
        call(oapip_process, double, src=str(tmp_path / "gone.cwl"))


def test_somebody_faster_is_adopted(double: Double, engine: Engine) -> None:
    double.fail("GET", "/processes/water", problem(404, "NoSuchProcess"))
    engine.packages["water"] = OTHER
    call(oapip_process, double, content=CWL)
    assert double.writes() == [f"POST {WRITE}", f"PUT {WRITE}/water"]
    assert engine.packages["water"] == CWL


def test_left_overs_are_cleaned_up_once(double: Double, engine: Engine) -> None:
    engine.leftover.add("water")
    call(oapip_process, double, content=CWL)
    assert double.writes() == [f"POST {WRITE}", f"DELETE {WRITE}/water", f"POST {WRITE}"]
    assert "content-type" not in next(a for a in double.asked if a.method == "DELETE").headers


def test_a_package_the_engine_refuses_twice_points_to_its_log(double: Double) -> None:
    refusal = problem(400, "WorkflowNotFound", detail="file not found")
    double.fail("POST", "/processes", refusal, refusal)
    with pytest.raises(OapipError, match=r"WorkflowNotFound: file not found.*zookernel"):
        call(oapip_process, double, content=CWL)


def test_a_process_that_vanished_before_its_replacement_is_deployed(
    double: Double, engine: Engine
) -> None:
    def vanishing(asked: Asked) -> Reply:
        if asked.method == "PUT":
            engine.packages.clear()
        return engine(asked)

    engine.packages["water"] = CWL
    double.handler = vanishing
    call(oapip_process, double, content=OTHER)
    assert double.writes() == [f"PUT {WRITE}/water", f"POST {WRITE}"]
    assert engine.packages["water"] == OTHER


def test_a_stale_package_is_repaired(double: Double, engine: Engine) -> None:
    engine.packages["water"] = OTHER
    double.fail("PUT", "/water", Reply(204))  # accepted, but the older file is still shown
    call(oapip_process, double, content=CWL)
    assert double.writes() == [f"PUT {WRITE}/water", f"DELETE {WRITE}/water", f"POST {WRITE}"]
    assert engine.packages["water"] == CWL


def test_a_write_without_answer_that_arrived_is_taken(double: Double, engine: Engine) -> None:
    def lossy(asked: Any) -> Reply:
        reply = engine(asked)
        return Reply(cut=-1) if asked.method == "POST" else reply

    double.handler = lossy
    assert call(oapip_process, double, content=CWL)["changed"]
    assert double.writes() == [f"POST {WRITE}"]


@pytest.mark.parametrize(
    "reply",
    [problem(406, "NotAcceptable"), Reply(500, "<html>", {"Content-Type": "text/html"})],
)
def test_an_unreadable_package_is_left_alone_without_force(
    double: Double, engine: Engine, reply: Reply
) -> None:
    engine.packages["water"] = OTHER
    for force in (False, True):
        double.fail("GET", "/package", reply, reply)
        ctx = Told()
        made = call(oapip_process, double, ctx, content=CWL, force=force)
        assert made["changed"] is force
        assert made["compared"] is False
        assert bool(ctx.warnings) is not force


def test_a_package_in_ogcapppkg_is_compared(double: Double, engine: Engine) -> None:
    engine.packages["water"] = CWL
    document = {"executionUnit": {"value": CWL, "mediaType": "application/cwl+yaml"}}
    double.fail("GET", "/package", problem(406, "NotAcceptable"), Reply(200, document))
    assert call(oapip_process, double, content=CWL)["changed"] is False


def test_built_in_and_hidden_processes_cannot_be_managed(double: Double) -> None:
    with pytest.raises(OapipError, match="it is immutable"):
        call(oapip_process, double, process_id="echo", state="absent")
    with pytest.raises(OapipError, match="hides a process"):
        call(oapip_process, double, process_id="run", state="absent")
    made = call(oapip_process, double, Told(True), process_id="run", state="absent", force=True)
    assert changes(made) == [("delete", "run", [])]


def test_another_context_than_the_urls_is_warned_of(double: Double, engine: Engine) -> None:
    engine.location_user = "carol"
    ctx = Told()
    call(oapip_process, double, ctx, content=CWL)
    assert ctx.warnings == [
        "the server worked in the context carol, not in alice of url: the token's user name decides"
    ]


def test_check_mode_before_the_server_is_there_assumes_it(double: Double) -> None:
    double.handler = lambda asked: Reply(404, {"error_msg": "404 Route Not Found"})
    made = call(oapip_process, double, Told(True), content=CWL)
    assert made["assumed"] == [f"server {double.url}/alice/ogc-api"]
    assert changes(made) == [("create", "water", [])]
    with pytest.raises(OapipError, match="Check url"):
        call(oapip_process, double, content=CWL)
    double.handler = lambda asked: Reply(403, {"error": "access_denied"})
    with pytest.raises(OapipError, match="access_denied"):
        call(oapip_process, double, Told(True), content=CWL)


def test_a_refusal_is_explained_by_the_conformance(double: Double) -> None:
    core = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/core"
    dru = "http://www.opengis.net/spec/ogcapi-processes-2/1.0/conf/deploy-replace-undeploy"
    for classes, words in (([core], "names no class of Part 2"), ([core, dru], "")):
        double.fail("POST", "/processes", Reply(405, "<html>", {"Content-Type": "text/html"}))
        double.fail("GET", "/conformance", Reply(200, {"conformsTo": classes}))
        with pytest.raises(OapipError, match="405") as caught:
            call(oapip_process, double, content=CWL)
        assert words in caught.value.text()
        assert bool(words) == ("Part 2" in caught.value.text())


def test_a_server_that_takes_only_ogc_packages_gets_them(double: Double, engine: Engine) -> None:
    kind = "application/ogcapppkg+json"
    stored: dict[str, bytes] = {}

    def strict(asked: Asked) -> Reply:
        if asked.method in ("POST", "PUT"):
            if asked.headers["content-type"] != kind:
                return Reply(415, {"type": "about:blank", "title": "Unsupported Media Type"})
            created = "water" not in stored
            stored["water"] = asked.body
            return Reply(201 if created else 204, "")
        if asked.path.endswith("/water") and stored:
            return Reply(200, {"id": "water", "mutable": True})
        if asked.path.endswith("/package"):
            good = asked.headers["accept"] == kind
            return Reply(200, stored["water"], {"Content-Type": kind}) if good else Reply(406)
        return Reply(404, {"type": "about:blank", "title": "Not Found", "status": 404})

    double.handler = strict
    for text, changed in ((CWL, True), (CWL, False), (OTHER, True), (OTHER, False)):
        assert call(oapip_process, double, content=text)["changed"] is changed


def test_a_refusal_of_another_server_is_not_repaired(double: Double) -> None:
    """Only the engine means its left-overs by 400."""
    double.fail("POST", "/processes", problem(400, "InvalidParameterValue", detail="no such image"))
    with pytest.raises(OapipError, match="no such image") as caught:
        call(oapip_process, double, content=CWL)
    assert "zookernel" not in caught.value.text()
    assert double.writes() == [f"POST {WRITE}"]


# oapip_process_info


def test_processes_are_listed_with_their_packages(double: Double, engine: Engine) -> None:
    engine.packages["water"] = CWL
    made = call(oapip_process_info, double, package=True)
    assert [one["id"] for one in made["processes"]] == ["echo", "water"]
    assert made["processes"][1]["package"] == CWL
    assert "package" not in made["processes"][0]
    assert call(oapip_process_info, double, process_id="nope")["processes"] == []
    assert not [a for a in double.asked if "limit" in a.target]


# oapip_job

STATES: list[dict[str, Any]] = [{"status": "running", "progress": 33}, {"status": "successful"}]


@pytest.fixture
def water(engine: Engine) -> Engine:
    engine.packages["water"] = CWL
    engine.script = [dict(one) for one in STATES]
    return engine


def test_a_job_is_run_watched_and_its_results_saved(
    double: Double, water: Engine, tmp_path: Path
) -> None:
    ctx = Told()
    dest = tmp_path / "results.json"
    given: dict[str, Any] = {"process_id": "water", "inputs": {"fn": "resize"}, "dest": str(dest)}
    dry = call(oapip_job, double, Told(True), **given)
    assert double.writes() == []
    made = call(oapip_job, double, ctx, **given)
    assert made["changes"] == dry["changes"]
    assert changes(made)[0] == ("run", "water", [])
    assert made["job_results"] == water.results == json.loads(dest.read_text())
    assert dest.stat().st_mode & 0o777 == 0o600
    assert ctx.lines == [
        "[host] water 00000000...: running 33 %",
        "[host] water 00000000...: successful",
    ]
    post = next(a for a in double.asked if a.method == "POST")
    assert post.headers["prefer"] == "respond-async"
    again = call(oapip_job, double, job_id=made["job_id"], dest=str(dest))
    assert (again["changed"], again["job_results"]) == (False, made["job_results"])


def test_quiet_says_nothing(double: Double, water: Engine) -> None:
    ctx = Told()
    call(oapip_job, double, ctx, process_id="water", inputs={"fn": "x"}, quiet=True)
    assert ctx.lines == []


def test_a_job_can_be_started_and_waited_for_later(double: Double, water: Engine) -> None:
    made = call(oapip_job, double, process_id="water", inputs={"fn": "x"}, state="started")
    assert made["job"]["status"] == "running"
    assert call(oapip_job, double, job_id=made["job_id"])["job"]["status"] == "successful"


def test_a_failed_job_tells_the_reason_of_its_results(double: Double, water: Engine) -> None:
    link = {"rel": "related", "href": "http://x/temp/log.txt"}
    stale = "ZOO-Kernel accepted to run your service!"
    water.script = [{"status": "failed", "message": stale, "links": [link]}]
    with pytest.raises(OapipError, match="it failed: MissingParameterValue: no <must>") as caught:
        call(oapip_job, double, process_id="water", inputs={"fn": "x"})
    told = caught.value.as_result()
    assert told["reason"] == "MissingParameterValue: no <must>"
    assert told["logs"] == [f"{double.url}/alice/temp/log.txt"]
    assert told["log_tails"][0]["trouble"] == "HTTP 404"
    assert told["job_id"] in water.jobs
    assert told["job"]["status"] == "failed"
    assert told["changed"] is True


def test_a_job_that_never_ends_meets_the_deadline(double: Double, water: Engine) -> None:
    water.script = [{"status": "running", "progress": 9}]
    given: dict[str, Any] = {"process_id": "water", "inputs": {"fn": "x"}, "wait_timeout": 1}
    with pytest.raises(OapipError, match=r"not over after 1 s \(last: running 9 %\)") as caught:
        call(oapip_job, double, **given)
    assert caught.value.extra["job_id"] in water.jobs
    with pytest.raises(OapipError, match="It was dismissed"):
        call(oapip_job, double, **given, dismiss_on_timeout=True)
    assert len(water.jobs) == 1


def test_not_found_just_after_201_is_no_loss(double: Double, water: Engine) -> None:
    double.fail("GET", "-02fc00000001", problem(404, "NoSuchJob"), problem(404, "NoSuchJob"))
    made = call(oapip_job, double, process_id="water", inputs={"fn": "x"})
    assert made["job"]["status"] == "successful"


def test_dismiss_and_dismiss_again(double: Double, water: Engine) -> None:
    made = call(oapip_job, double, process_id="water", inputs={"fn": "x"}, state="started")
    given: dict[str, Any] = {"job_id": made["job_id"], "state": "dismissed"}
    assert call(oapip_job, double, Told(True), **given)["changed"]
    assert call(oapip_job, double, **given)["changed"]
    before = len(double.writes())
    assert not call(oapip_job, double, **given)["changed"]
    assert len(double.writes()) == before


def test_wrong_inputs_start_nothing(double: Double, water: Engine) -> None:
    with pytest.raises(OapipError, match="fm: the process has no such input") as caught:
        call(oapip_job, double, process_id="water", inputs={"fm": "x", "size": "5"})
    assert len(caught.value.extra["inputs_wrong"]) == 3
    assert double.writes() == []


def test_sync_only_where_the_process_offers_it(double: Double, water: Engine) -> None:
    with pytest.raises(OapipError, match="cannot run synchronously"):
        call(oapip_job, double, process_id="water", inputs={"fn": "x"}, mode="sync")
    made = call(oapip_job, double, process_id="echo", inputs={"fn": "x"}, mode="sync")
    assert made["job_results"] == {"a": None}
    assert "job_id" not in made


def test_async_only_where_the_process_offers_it(double: Double, engine: Engine) -> None:
    about = {"id": "slow", "jobControlOptions": ["sync-execute"], "inputs": {}}
    double.fail("GET", "/processes/slow", Reply(200, about))
    with pytest.raises(OapipError, match="cannot run asynchronously: it offers sync-execute"):
        call(oapip_job, double, process_id="slow")
    assert double.writes() == []


def test_results_with_a_location_are_results(double: Double, water: Engine) -> None:
    results = {"id": "echo", "value": "hello"}  # an output that is called as a job's number is
    where = {"Location": "http://wrong.invalid/jobs/a%2Fb"}
    double.fail("POST", "/execution", Reply(200, results, where))
    made = call(oapip_job, double, process_id="water", inputs={"fn": "x"})
    assert (made["job_id"], made["job_results"]) == ("a/b", results)
    assert made["job"] == {"processID": "water", "jobID": "a/b", "status": "successful"}


def test_raw_results_by_reference_are_links_in_the_header(double: Double, water: Engine) -> None:
    link = '<https://x.example/a.tif>; rel="out"; type="image/tiff", <https://x.example/b>; rel="b"'
    double.fail("GET", "/results", Reply(204, "", {"Link": link}))
    made = call(oapip_job, double, process_id="water", inputs={"fn": "x"}, response="raw")
    assert made["job_results"] == {
        "out": {"href": "https://x.example/a.tif", "type": "image/tiff"},
        "b": {"href": "https://x.example/b"},
    }


PNG = bytes(range(256))
PARTS = b"--x\r\nContent-ID: <a>\r\n\r\n\xff\x00\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("image/png", PNG, {"type": "image/png", "size": 256}),
        ("multipart/related; boundary=x", PARTS, {"type": "multipart/related", "size": len(PARTS)}),
        ("text/csv; charset=iso-8859-1", b"\xe9,1\r\n", "\ufffd,1\r\n"),
        ("text/plain", "\ufeff\u00e9\r\n".encode(), "\ufeff\u00e9\r\n"),
        ("application/xml", b"<a/>", "<a/>"),
    ],
    ids=["picture", "parts", "latin", "text", "xml"],
)
@pytest.mark.parametrize("mode", ["async", "sync"])
def test_raw_results_are_saved_as_they_are(
    double: Double, water: Engine, tmp_path: Path, kind: str, data: bytes, told: Any, mode: str
) -> None:
    name, dest = ("water" if mode == "async" else "echo"), tmp_path / "out.bin"
    where = ("GET", "/results") if mode == "async" else ("POST", "/execution")
    given: dict[str, Any] = {"process_id": name, "inputs": {"fn": "x"}, "response": "raw"}
    double.fail(*where, Reply(200, data, {"Content-Type": kind}))
    made = call(oapip_job, double, mode=mode, dest=str(dest), **given)
    assert dest.read_bytes() == data
    assert json.loads(json.dumps(made))["job_results"] == told
    if mode == "async":
        double.fail("GET", "/results", *[Reply(200, data, {"Content-Type": kind})] * 2)
        again: dict[str, Any] = {"job_id": made["job_id"], "dest": str(dest), "response": "raw"}
        assert call(oapip_job, double, **again)["changed"] is False
        info = call(oapip_job_info, double, job_id=made["job_id"], results=True)
        assert json.loads(json.dumps(info))["job_results"] == told


@pytest.mark.parametrize(
    ("begun", "over"), [("accepted", "successful"), ("QUEUED", "SUCCESSFUL"), ("x", "succeeded")]
)
def test_a_status_with_200_is_a_started_job(
    double: Double, water: Engine, begun: str, over: str
) -> None:
    water.jobs["j"] = [{"jobID": "j", "status": over}]
    double.fail("POST", "/execution", Reply(200, {"jobID": "j", "status": begun}))
    made = call(oapip_job, double, process_id="water", inputs={"fn": "x"})
    assert made["job"]["status"] == "successful"
    assert made["job_results"] == water.results


def test_a_page_is_neither_a_job_nor_its_results(double: Double, water: Engine) -> None:
    page = Reply(200, "<html>Sorry</html>", {"Content-Type": "text/html"})
    double.faults.append(("POST", "/execution", page))
    with pytest.raises(OapipError, match=r"not known whether .* process_id=water") as caught:
        call(oapip_job, double, process_id="water", inputs={"fn": "x"})
    told = str(caught.value)
    assert "starting a job of process water" in told
    assert double.url in told
    assert "not JSON but text/html" in told
    assert water.jobs == {}


def test_a_missing_process_is_assumed_in_check_mode_only(double: Double) -> None:
    made = call(oapip_job, double, Told(True), process_id="new", inputs={})
    assert made["assumed"] == ["process new"]
    with pytest.raises(OapipError, match="there is no such process"):
        call(oapip_job, double, process_id="new", inputs={})


# oapip_job_info


def test_jobs_are_read_and_filtered(double: Double, water: Engine) -> None:
    first = call(oapip_job, double, process_id="water", inputs={"fn": "x"})
    water.script = [{"status": "running"}]
    call(oapip_job, double, process_id="water", inputs={"fn": "x"}, state="started")
    one = call(oapip_job_info, double, job_id=first["job_id"], results=True)
    assert one["job_results"] == water.results
    assert call(oapip_job_info, double, job_id="none")["jobs"] == []
    assert len(call(oapip_job_info, double)["jobs"]) == 2
    assert len(call(oapip_job_info, double, limit=1)["jobs"]) == 1
    running = call(oapip_job_info, double, process_id="water", status=["running"])["jobs"]
    assert [job["status"] for job in running] == ["running"]
    assert double.asked[-1].target.endswith("/jobs?processID=water&status=running&limit=100")


def test_states_in_other_words_are_filtered_and_told_in_the_standards(
    double: Double, water: Engine
) -> None:
    words = {"a": "succeeded", "b": "EXCEPTION", "c": "started"}
    water.jobs = {name: [{"jobID": name, "status": word}] for name, word in words.items()}
    found = call(oapip_job_info, double, status=["successful", "running"])["jobs"]
    assert [(job["jobID"], job["status"]) for job in found] == [
        ("a", "successful"),
        ("c", "running"),
    ]
    one = call(oapip_job_info, double, job_id="a", results=True)
    assert one["job_results"] == water.results
    assert call(oapip_job, double, job_id="a")["job_results"] == water.results


@pytest.mark.parametrize("location", ["jobs/j", "../jobs/j/results", "http://wrong.invalid/jobs/j"])
def test_a_broken_answer_loses_no_job(double: Double, water: Engine, location: str) -> None:
    water.jobs["j"] = [{"status": "successful"}]
    cut = Reply(201, '{"jobID": "j"', {"Location": location}, cut=5)
    double.fail("POST", "/execution", cut)
    assert call(oapip_job, double, process_id="water", inputs={"fn": "x"})["job_id"] == "j"


def test_a_list_is_read_to_its_end_by_the_query_of_its_links(double: Double) -> None:
    def page(names: list[str], query: str = "") -> Reply:
        links = [{"rel": "next", "href": f"http://wrong.invalid/x/jobs?{query}"}] if query else []
        times = {"started": "2026-11-01T00:00:00Z", "finished": "2026-11-01T00:00:05Z"}
        found = [{"jobID": name, "status": "successful", **times} for name in names]
        return Reply(200, {"jobs": found, "links": [{"rel": "self"}, *links]})

    double.fail(
        "GET", "/jobs", page(["a", "b"], "skip=2&limit=100"), page(["b", "c"], "skip=4"), page([])
    )
    found = call(oapip_job_info, double, min_duration=5)["jobs"]
    assert [job["jobID"] for job in found] == ["a", "b", "c"]
    assert [asked.target.split("?")[1] for asked in double.asked] == [
        "minDuration=5&limit=100",
        "minDuration=5&skip=2&limit=100",
        "minDuration=5&limit=100&skip=4",
    ]


def job_at(name: str, created: str, finished: str = "", **more: Any) -> dict[str, Any]:
    """Return a status document with times of one day."""
    times = {"created": created, "started": created, "finished": finished}
    told = {key: f"2026-11-01T{time}Z" for key, time in times.items() if time}
    return {"jobID": name, "status": "successful" if finished else "running", **told, **more}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"datetime": "2026-11-01T10:00:00Z/.."}, ["late", "long"]),
        ({"datetime": "../2026-11-01T10:00:00Z"}, ["early", "running"]),
        ({"datetime": "2026-11-01T10:00:30Z"}, ["late"]),
        ({"datetime": "2026-11-01"}, ["early", "late", "long", "running"]),
        ({"datetime": "2026-11-02"}, []),
        ({"min_duration": 60}, ["long", "running"]),
        ({"max_duration": 60}, ["early", "late"]),
        ({"min_duration": 2, "max_duration": 60}, ["late"]),
        ({"min_duration": 60, "status": ["successful"]}, ["long"]),
    ],
)
def test_times_hold_on_servers_that_ignore_them(
    double: Double, engine: Engine, wanted: dict[str, Any], names: list[str]
) -> None:
    every = [
        job_at("early", "09:00:00", "09:00:01"),
        job_at("late", "10:00:30.7", "10:00:33.2"),
        job_at("long", "11:00:00", "12:00:00"),
        job_at("running", "08:00:00"),
        {"jobID": "silent", "status": "successful"},
    ]
    engine.jobs = {job["jobID"]: [job] for job in every}
    found = call(oapip_job_info, double, **wanted)["jobs"]
    assert [job["jobID"] for job in found] == names


def test_a_date_that_is_none_is_told_before_anybody_is_asked(double: Double) -> None:
    with pytest.raises(OapipError, match="reading the option datetime: soon is no date"):
        call(oapip_job_info, double, datetime="soon")
    assert double.asked == []


def test_ids_alone_are_read_where_a_filter_needs_more(double: Double, engine: Engine) -> None:
    engine.jobs = {"a": [job_at("a", "09:00:00")], "b": [job_at("b", "09:00:00", "09:00:05")]}
    names = Reply(200, '{"jobs": ["a", "b", "gone"]}')
    double.fail("GET", "/jobs", names, names)
    made = call(oapip_job_info, double, process_id="water")["jobs"]
    assert made == [{"jobID": "a"}, {"jobID": "b"}, {"jobID": "gone"}]
    assert len(double.asked) == 1
    made = call(oapip_job_info, double, status=["successful"])["jobs"]
    assert [job["jobID"] for job in made] == ["b"]


def test_pages_follow_the_header_too(double: Double) -> None:
    def page(name: str, link: str) -> Reply:
        return Reply(200, {"jobs": [{"jobID": name}]}, {"Link": link})

    first = page("a", '<http://wrong.invalid/jobs?page=0>; rel="prev", </jobs?page=2>; rel=next')
    double.fail("GET", "/jobs", first, page("b", '<http://[?x=1>; rel="next"'), page("c", ""))
    found = call(oapip_job_info, double, limit=10)["jobs"]
    assert [job["jobID"] for job in found] == ["a", "b"]
    assert [asked.target.split("?")[1] for asked in double.asked] == [
        "limit=10",
        "limit=10&page=2",
    ]


def test_a_job_that_is_gone_is_not_there(double: Double, engine: Engine) -> None:
    gone = Reply(410, {"code": "JobDismissed", "description": "Job was dismissed"})
    engine.jobs["j"] = [{"status": "running"}]
    double.fail("GET", "/jobs/j", gone, gone)
    assert not call(oapip_job, double, job_id="j", state="dismissed")["changed"]
    assert call(oapip_job_info, double, job_id="j")["jobs"] == []
    double.fail("DELETE", "/jobs/j", gone)
    call(oapip_job, double, job_id="j", state="dismissed")
    double.fail("GET", "/jobs/j", Reply(200, {"status": "running"}), gone, gone)
    with pytest.raises(OapipError, match="it was dismissed by somebody else"):
        call(oapip_job, double, job_id="j")


HTML = {"Content-Type": "text/html"}
CLASSES = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/"


@pytest.mark.parametrize("code", [404, 405, 501])
def test_what_a_server_does_not_offer_is_said(double: Double, engine: Engine, code: int) -> None:
    engine.jobs["j"] = [{"status": "running"}]
    missing = Reply(code, "<html>", HTML)

    def failure(method: str, classes: list[str] | None, **given: Any) -> str:
        module = oapip_job_info if method == "GET" else oapip_job
        double.fail(method, "/jobs" if method == "GET" else "/jobs/j", missing)
        told = {"conformsTo": [CLASSES + name for name in classes]} if classes is not None else {}
        double.fail("GET", "/conformance", Reply(200, told))
        with pytest.raises(OapipError, match=f"HTTP {code}") as caught:
            call(module, double, **given)
        return str(caught.value)

    dismissed = {"job_id": "j", "state": "dismissed"}
    words = (
        "The server does not offer a list of jobs: /conformance does not name the class job-list"
    )
    assert words in failure("GET", ["core", "dismiss"])
    assert "does not offer" not in failure("GET", ["core", "job-list"])
    assert ("does not offer" in failure("GET", None)) == (code != 404)
    words = (
        "The server does not offer to dismiss jobs: /conformance does not name the class dismiss"
    )
    assert words in failure("DELETE", ["core", "job-list"], **dismissed)
    assert "does not offer" not in failure("DELETE", ["core", "dismiss"], **dismissed)


@pytest.mark.parametrize("seconds", [3, 20])
@pytest.mark.parametrize("fault", ["silence", "502"])
def test_a_dismissal_at_the_deadline_does_not_outlive_it(
    double: Double, water: Engine, monkeypatch: pytest.MonkeyPatch, fault: str, seconds: int
) -> None:
    """By the wait's own clock, and what one request may take."""
    water.script = [{"status": "running"}]
    asked: list[float] = []
    send = requests.Session.request

    def request(session: Any, method: str, url: str, **kwargs: Any) -> Any:
        if method == "DELETE":
            asked.append(kwargs["timeout"])
            if fault == "silence":
                raise requests.exceptions.ReadTimeout("timed out")
        return send(session, method, url, **kwargs)

    monkeypatch.setattr(requests.Session, "request", request)
    clock = Simulated()
    monkeypatch.setattr(oapip_job, "Deadline", lambda most: Deadline(most, clock))
    double.fail("DELETE", "-02fc00000001", *[Reply(502)] * 3)
    begin = time.monotonic()
    with pytest.raises(OapipError, match="It could not be dismissed") as caught:
        call(
            oapip_job,
            double,
            process_id="water",
            inputs={"fn": "x"},
            wait_timeout=seconds,
            dismiss_on_timeout=True,
            timeout=30,
        )
    assert len(asked) == 1
    assert clock.time + asked[0] <= max(1.1 * seconds, seconds + 1)
    assert time.monotonic() - begin < 3
    assert caught.value.extra["job_id"] in caught.value.text()


def test_results_of_any_kind_are_accepted(double: Double, water: Engine) -> None:
    call(oapip_job, double, process_id="water", inputs={"fn": "x"})
    accepted = {a.path.rsplit("/", 1)[-1]: a.headers["accept"] for a in double.asked}
    assert accepted["execution"] == accepted["results"] == "application/json, */*;q=0.1"
    assert accepted["water"] == "application/json"


def test_see_other_is_a_started_job(double: Double, water: Engine) -> None:
    water.jobs["j"] = [{"status": "successful"}]
    double.fail("POST", "/execution", Reply(303, "", {"Location": "/x/jobs/j"}))
    assert call(oapip_job, double, process_id="water", inputs={"fn": "x"})["job_id"] == "j"
    double.fail("POST", "/execution", Reply(303, "", {"Location": "/login"}))
    with pytest.raises(OapipError, match="wants a login"):
        call(oapip_job, double, process_id="water", inputs={"fn": "x"})


def test_a_job_of_an_earlier_task_may_not_be_known_at_once(double: Double, water: Engine) -> None:
    water.jobs["j"] = [{"status": "successful"}]
    double.fail("GET", "/jobs/j", *[problem(404, "NoSuchJob")] * 3)
    assert call(oapip_job, double, job_id="j")["job"]["status"] == "successful"


def test_a_job_that_is_not_known_by_the_deadline_is_told_so(double: Double) -> None:
    with pytest.raises(OapipError, match=r"not over after 1 s .*the server does not know it"):
        call(oapip_job, double, job_id="j", wait_timeout=1)


def test_states_are_asked_for_one_by_one(double: Double, water: Engine) -> None:
    water.jobs = {str(n): [{"jobID": str(n), "status": "running"}] for n in range(3)}
    call(oapip_job_info, double, status=["running", "failed"])
    assert [asked.target.split("?")[1] for asked in double.asked] == [
        "status=running&limit=100",
        "status=failed&limit=100",
    ]


def test_a_list_that_does_not_turn_its_page_ends(double: Double) -> None:
    links = [{"rel": "next", "href": "http://x/processes?skip=1"}]
    same = Reply(200, {"processes": [{"id": "echo"}], "links": links})
    double.fail("GET", "/processes", same, same, same)
    assert call(oapip_process_info, double)["processes"] == [{"id": "echo"}]
    assert len(double.asked) == 2
