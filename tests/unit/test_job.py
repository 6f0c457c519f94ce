"""Waiting: late by little, asking seldom, never past the deadline; and what answers mean."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _job
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline
from tests.simulated_clock import Simulated

LATENCY = 0.05
"""Seconds that each look takes."""


def waited(duration: float, seed: int, progress: str) -> tuple[_job.Outcome, float]:
    """Wait for a simulated job and return the outcome and how late the end was seen."""
    clock = Simulated()

    def look() -> _job.Look:
        over = clock.time >= duration
        share = {
            "none": None,
            "linear": int(100 * clock.time / duration),
            "fine": 100 * clock.time / duration,
            "stuck": 99,
            "fast": min(99, int(900 * clock.time / duration)),
            "late": 100 * (clock.time / duration) ** 9,
            "erratic": random.Random(clock.time).uniform(0, 100),
        }[progress]
        clock.pass_by(LATENCY)
        return _job.Look({"status": "successful" if over else "running", "progress": share})

    deadline = Deadline(100_000, clock)
    outcome = _job.wait(look, deadline, uniform=random.Random(seed).uniform)
    return outcome, clock.time - duration


@pytest.mark.parametrize("progress", ["none", "linear", "fine", "stuck", "fast", "late", "erratic"])
@pytest.mark.parametrize("duration", [3, 10, 30, 120, 300, 600, 1800, 3600, 7200, 21600])
def test_a_wait_is_late_by_a_tenth_at_most_and_asks_seldom(duration: int, progress: str) -> None:
    for seed in range(40):
        real = duration * random.Random(seed).uniform(0.8, 1.0)
        outcome, late = waited(real, seed, progress)
        assert outcome.state == "successful"
        # the state is the one at the beginning of a look, and one look may begin just too early
        assert late <= max(1.0, 0.1 * real) + 2 * LATENCY
        assert outcome.looks <= 130 * max(1, real / 3600)


def looks(*found: _job.Look) -> tuple[Any, Simulated]:
    time, rest = Simulated(), list(found)
    return (lambda: rest.pop(0) if len(rest) > 1 else rest[0]), time


RUNNING = _job.Look({"status": "running"})
DONE = _job.Look({"status": "successful"})
GONE = _job.Look(gone=True)
BAD = _job.Look(trouble="HTTP 502: Bad Gateway")


def test_faults_in_between_are_not_failures() -> None:
    look, time = looks(RUNNING, BAD, BAD, BAD, RUNNING, DONE)
    assert _job.wait(look, Deadline(600, time)).state == "successful"


def test_faults_alone_end_the_wait_with_the_last_of_them() -> None:
    look, time = looks(RUNNING, BAD)
    with pytest.raises(OapipError, match="no usable answer for 300 seconds; the last: HTTP 502"):
        _job.wait(look, Deadline(6000, time))
    assert time.time <= 450


def test_not_found_just_after_the_start_is_early_not_gone() -> None:
    look, time = looks(GONE, GONE, GONE, RUNNING, DONE)
    assert _job.wait(look, Deadline(600, time)).state == "successful"


def test_not_found_later_is_gone_but_only_when_said_twice() -> None:
    look, time = looks(RUNNING, GONE, RUNNING, GONE, GONE)
    outcome = _job.wait(look, Deadline(600, time))
    assert (outcome.state, outcome.looks) == ("dismissed", 5)


def test_a_job_that_was_never_there_is_gone_after_the_grace() -> None:
    look, time = looks(GONE)
    assert _job.wait(look, Deadline(600, time)).state == "dismissed"
    assert _job.GRACE <= time.time < 2 * _job.GRACE


@pytest.mark.parametrize("limit", [0, 1, 7, 60, 3601])
def test_the_deadline_holds_and_the_last_status_comes_back(limit: int) -> None:
    look, time = looks(_job.Look({"status": "running", "progress": 5}))
    outcome = _job.wait(look, Deadline(limit, time))
    assert outcome.state == "timeout"
    assert outcome.status["progress"] == 5
    assert time.time <= limit * 1.1


def test_the_server_may_choose_the_pause_but_not_the_deadline() -> None:
    asked = _job.Look({"status": "running"}, retry_after=17.0)
    look, time = looks(asked, asked, DONE)
    assert _job.wait(look, Deadline(600, time)).state == "successful"
    assert time.time == 34.0
    look, time = looks(_job.Look({"status": "running"}, retry_after=10_000.0))
    assert _job.wait(look, Deadline(60, time)).state == "timeout"
    assert time.time == 60.0


def test_a_server_that_asks_for_no_pause_is_not_flooded() -> None:
    look, time = looks(_job.Look({"status": "running"}, retry_after=0.0))
    assert _job.wait(look, Deadline(60, time)).looks <= 61


@pytest.mark.parametrize(
    ("status", "moment"),
    [
        ({"created": "1970-01-01T00:01:00Z"}, 60),
        ({"created": "1970-01-01T00:01:00.7Z"}, 60),
        ({"created": "1970-01-01T01:01:00.123456789+01:00"}, 60),
        ({"created": "1970-01-01 00:01:00"}, 60),
        ({"created": "soon", "started": "1970-01-01T00:01:00"}, 60),
        ({"created": 7}, 0),
        ({}, 0),
    ],
)
def test_when_a_job_began_is_read_in_many_forms(status: dict[str, Any], moment: int) -> None:
    assert _job.began(status) == moment


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("1970-01-01T00:01:00Z/1970-01-01T00:02:00.5+00:00", (60, 120.5)),
        ("../1970-01-01T01:02:00+01:00", (-math.inf, 120)),
        ("1970-01-02/", (86400, math.inf)),
        ("1970-01-01/1970-01-02", (0, 2 * 86400 - 1e-6)),
        ("1970-01-02", (86400, 2 * 86400 - 1e-6)),
        ("1970-01-01T00:01:00z", (60, 61 - 1e-6)),
        ("1970-01-01T00:01:00.25Z", (60.25, 60.25)),
    ],
)
def test_intervals(text: str, ends: tuple[float, float]) -> None:
    assert _job.interval_of(text) == ends


@pytest.mark.parametrize("text", ["", "soon", "1970-01-01/soon", "1970-13-01", "a/b/c", "2026"])
def test_what_is_no_interval_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no date"):
        _job.interval_of(text)


BEGAN = {"created": "1970-01-01T00:00:10Z", "started": "1970-01-01T00:00:20.5Z"}


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({"status": "running"}, 79.5),
        ({"status": "running", "updated": "1970-01-01T00:00:30Z"}, 79.5),
        ({"status": "succeeded", "finished": "1970-01-01T00:00:30Z"}, 9.5),
        ({"status": "failed", "updated": "1970-01-01T00:00:30Z"}, 9.5),
        ({"status": "failed"}, None),
        ({"status": "accepted", "started": None}, 90),
        ({"status": "running", "created": None, "started": "then"}, None),
    ],
)
def test_how_long_a_job_took(more: dict[str, Any], seconds: float | None) -> None:
    assert _job.lasted({**BEGAN, **more}, 100.0) == seconds


def test_each_change_is_told_once() -> None:
    states = [("accepted", None), ("running", 0), ("running", 0), ("running", 33.4)]
    found = [_job.Look({"status": state, "progress": part}) for state, part in states]
    look, time = looks(*found, BAD, found[-1], DONE)
    told: list[str] = []
    _job.wait(look, Deadline(600, time), told.append)
    assert told == ["accepted", "running 0 %", "running 33 %", "successful"]


ABOUT = {
    "inputs": {
        "url": {"schema": {"type": "string"}},
        "size": {"schema": {"type": "integer"}},
        "mode": {"schema": {"type": "string", "enum": ["fast", "slow"]}, "minOccurs": 0},
        "list": {"schema": {"type": "number"}, "maxOccurs": "unbounded", "minOccurs": 0},
        "flag": {"schema": {"type": "boolean", "nullable": True}},
        "dflt": {"schema": {"type": "string", "default": "x"}},
        "box": {"schema": {"oneOf": [{"type": "object"}]}, "minOccurs": 0},
    }
}
GOOD: dict[str, Any] = {"url": "https://x.example", "size": 5}


@pytest.mark.parametrize(
    "inputs",
    [
        GOOD,
        {**GOOD, "mode": "fast", "list": [1, 2.5], "flag": True, "box": {"bbox": [1, 2, 3, 4]}},
        {"url": {"href": "https://x.example"}, "size": {"value": 5}},
        {**GOOD, "list": 3},
    ],
)
def test_good_inputs_pass(inputs: dict[str, Any]) -> None:
    assert _job.check_inputs(ABOUT, inputs) == []


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"size": 5}, "url: it is required"),
        ({"url": None, "size": 5}, "url: it is required"),
        ({**GOOD, "sise": 5}, "sise: the process has no such input (did you mean size?)"),
        ({**GOOD, "size": "5"}, "size: integer wanted, str given (use the filter int)"),
        ({**GOOD, "size": True}, "size: integer wanted, bool given (use the filter int)"),
        ({**GOOD, "flag": "yes"}, "flag: boolean wanted, str given"),
        ({**GOOD, "mode": "mid"}, "mode: it must be one of fast, slow"),
        ({**GOOD, "list": [1, "x"]}, "list: number wanted, str given (use the filter float)"),
        ({**GOOD, "url": ["a"]}, "url: string wanted, list given"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, Any], words: str) -> None:
    assert _job.check_inputs(ABOUT, inputs) == [words]


PLAIN: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 1, -1, 4.5, math.nan, math.inf, "", "0", "1", "a", "b\0\ud800", "object"]
)
FEW = st.lists(PLAIN, max_size=6)


def odd(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Documents with some of the real keys, or anything else in their place."""
    return st.fixed_dictionaries({}, optional=keys) | PLAIN | FEW


TYPE = st.sampled_from(list(_job.TYPES))
ENUM = st.lists(PLAIN, min_size=1, max_size=2) | PLAIN
TYPED = st.fixed_dictionaries({"type": TYPE}) | st.fixed_dictionaries({"type": TYPE, "enum": ENUM})
BOX = st.just({"format": "ogc-bbox"})
SCHEMA = st.one_of(
    TYPED,
    BOX,
    st.fixed_dictionaries({"allOf": PLAIN | st.lists(BOX | PLAIN, max_size=2)}),
    odd(type=TYPE | PLAIN | FEW, format=PLAIN, enum=PLAIN, nullable=PLAIN, default=PLAIN),
)
COUNTS = {"minOccurs": PLAIN, "maxOccurs": PLAIN}
INPUT = st.one_of(
    st.fixed_dictionaries({"schema": TYPED}),
    st.fixed_dictionaries({"schema": SCHEMA}, optional=COUNTS),
    odd(schema=SCHEMA, **COUNTS),
)
INPUTS = st.fixed_dictionaries({"a": INPUT}, optional={"b": INPUT}) | odd(a=INPUT)
VALUE = st.one_of(
    PLAIN,
    st.sampled_from(["c", 9, 0.5, True]),  # of each type one, and in no enumeration
    st.fixed_dictionaries({"bbox": PLAIN | FEW}),
    odd(href=PLAIN, value=PLAIN, bbox=PLAIN | FEW, crs=PLAIN),
)
STATUS = odd(
    status=PLAIN,
    progress=PLAIN,
    message=PLAIN,
    created=PLAIN | st.datetimes().map(str),
    started=PLAIN | st.datetimes().map(str),
    jobID=PLAIN | FEW,
    links=PLAIN | st.lists(odd(rel=st.just("related") | PLAIN, href=PLAIN), max_size=2),
)
EXCEPTION = odd(title=PLAIN | FEW, detail=PLAIN, description=PLAIN)


@settings(max_examples=300)
@given(
    st.fixed_dictionaries({"inputs": INPUTS}, optional={"jobControlOptions": PLAIN | FEW}),
    st.fixed_dictionaries({"a": VALUE}, optional={"b": VALUE | FEW, "c": PLAIN, 7: PLAIN}),
)
@example({"inputs": {"a": {"schema": {"type": "string", "enum": 5}}}}, {"a": "a"})
@example({"inputs": {"a": {"schema": {"format": "ogc-bbox"}}}}, {"a": {"bbox": 5}})
def test_no_description_makes_a_traceback(about: dict[str, Any], inputs: dict[str, Any]) -> None:
    for words in _job.check_inputs(about, inputs):
        assert words.partition(": ")[2]
    assert all(isinstance(one, str) for one in _job.modes_of(about))


def test_the_descriptions_that_are_tried_reach_each_check() -> None:
    """Else the test above could not fail."""
    seen: set[str] = set()

    @settings(max_examples=800, database=None, phases=[Phase.generate], derandomize=True)
    @given(INPUT, VALUE)
    def draw(about: Any, value: Any) -> None:
        words = _job.check_inputs({"inputs": {"a": about}}, {"a": value})
        words += _job.check_inputs({"inputs": {"a": about}}, {})
        seen.update(" ".join(one.split()[1:3]) for one in words)

    draw()
    wanted = {f"{kind} wanted," for kind in _job.TYPES}
    assert seen >= {*wanted, "a bounding", "it must", "it is"}


@settings(max_examples=300)
@given(STATUS, EXCEPTION)
def test_no_status_makes_a_traceback(status: Any, results: Any) -> None:
    assert _job.is_status(status) in (True, False)
    if isinstance(status, dict):
        assert _job.describe(_job.as_standard(status))
        assert _job.lasted(status, 0.0) is None or _job.created(status) is not None
        assert all(isinstance(one, str) for one in _job.logs_of(status))
        assert _job.reason_of(status, results)


def test_the_reason_is_in_the_results_and_the_stale_message_is_not() -> None:
    stale = {"message": "ZOO-Kernel accepted to run your service!"}
    body = {"title": "MissingParameterValue", "type": "MissingParameterValue", "detail": "no <x>"}
    assert _job.reason_of(stale, body) == "MissingParameterValue: no <x>"
    assert _job.reason_of({"message": "Unable to run"}, None) == "Unable to run"
    assert _job.reason_of(stale, []) == "the server gives no reason"


def test_what_the_engine_says_twice_is_told_once() -> None:
    body = {"title": "NoApplicableCode", "type": "NoApplicableCode", "detail": "no disk left"}
    status = {"message": f"{_job.ECHO}no disk left"}
    assert _job.reason_of(status, body) == "NoApplicableCode: no disk left"
    assert _job.reason_of(status, None) == "no disk left"


@pytest.mark.parametrize(
    ("body", "location", "job_id"),
    [
        ({"jobID": "a", "id": "b"}, "http://x/jobs/c", "a"),
        ({"id": "b"}, "http://x/jobs/c", "b"),
        (None, "http://x/jobs/c/?f=json", "c"),
        (None, "http://x/jobs/c/results", "c"),
        (None, "jobs/c%2Fd", "c/d"),
        (None, "/jobs/x/processes/water/jobs/c#top", "c"),
        (None, "elsewhere/c", "c"),
        ({"jobID": 7}, "", "7"),
        ({"jobID": True, "jobId": None, "job_id": "e"}, "", "e"),
        ({"jobID": []}, "", ""),
    ],
)
def test_the_id_of_a_job(body: Any, location: str, job_id: str) -> None:
    assert _job.job_id_of(body, location) == job_id


def test_requests_never_name_another_process() -> None:
    body = _job.request_of({"id": "x"}, {"out": None}, "document")
    assert body == {"inputs": {"id": "x"}, "response": "document", "outputs": {"out": {}}}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ("successful", "successful"),
        ("succeeded", "successful"),
        ("SUCCESSFUL", "successful"),
        ("finished", "successful"),
        ("RUNNING", "running"),
        ("In_Progress", "running"),
        ("queued", "accepted"),
        ("Exception", "failed"),
        ("error", "failed"),
        ("cancelled", "dismissed"),
        ("canceled", "dismissed"),
        ("Paused", "paused"),
        ("\x1b[2Jodd\n", "2jodd"),
        (None, ""),
        (7, ""),
    ],
)
def test_states_are_known_by_many_words(told: Any, state: str) -> None:
    assert _job.state_of({"status": told}) == state
    assert _job.as_standard({"status": told, "id": 7}) == {
        "status": state or told,
        "id": 7,
        "jobID": "7",
    }


@pytest.mark.parametrize("word", ["succeeded", "EXCEPTION", "Dismissed"])
def test_a_wait_ends_by_any_word_for_an_end(word: str) -> None:
    look, time = looks(RUNNING, _job.Look({"status": word}))
    told: list[str] = []
    outcome = _job.wait(look, Deadline(60, time), told.append)
    assert outcome.state in _job.OVER
    assert told == ["running", outcome.state]


@pytest.mark.parametrize(
    ("body", "yes"),
    [
        ({"jobID": "j", "status": "succeeded"}, True),
        ({"jobID": 7, "status": "ACCEPTED"}, True),
        ({"id": "j", "processID": "p", "status": "queued"}, True),
        ({"id": "j", "status": "accepted"}, True),
        ({"id": "j", "status": "finished"}, False),  # two outputs
        ({"jobID": "j", "status": {"value": "running"}}, False),
        ({"status": "running"}, False),
        (["running"], False),
    ],
)
def test_a_status_document_is_told_from_results(body: Any, yes: bool) -> None:
    assert _job.is_status(body) is yes
