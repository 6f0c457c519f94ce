"""What counts as closed, and how a breach is confirmed."""

from __future__ import annotations

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _doors
from ansible_collections.eoepca.oapip.plugins.module_utils._doors import (
    BREACH,
    CLOSED,
    UNSURE,
    Answer,
    Door,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Clock, Deadline

ISSUER = "https://auth.example.org/realms/eoepca"
DOOR = Door("/alice/ogc-api/processes")
GUARDED = Door("/ogc-api/", (("Services-Namespace", "bob"),), guarded=True)


@pytest.mark.parametrize(
    ("door", "answer", "expected"),
    [
        (DOOR, Answer(401), CLOSED),
        (DOOR, Answer(403), CLOSED),
        (DOOR, Answer(404), CLOSED),
        (DOOR, Answer(400), CLOSED),
        (DOOR, Answer(200), BREACH),
        (DOOR, Answer(405), BREACH),
        (DOOR, Answer(401, {"x-powered-by": "ZOO-Project-DRU"}), BREACH),
        (DOOR, Answer(404, {"x-also-powered-by": "jwt.securityIn"}), BREACH),
        (DOOR, Answer(500, {"x-powered-by": "ZOO-Project-DRU"}), BREACH),
        (DOOR, Answer(302, {"location": f"{ISSUER}/protocol/openid-connect/auth?x"}), CLOSED),
        (DOOR, Answer(302, {"location": f"{ISSUER}2/protocol"}), BREACH),
        (DOOR, Answer(302, {"location": "https://evil.example/"}), BREACH),
        (DOOR, Answer(302), BREACH),
        (DOOR, Answer(503), UNSURE),
        (DOOR, Answer(429), UNSURE),
        (DOOR, Answer(429, {"x-powered-by": "ZOO-Project-DRU"}), BREACH),
        (GUARDED, Answer(429), UNSURE),
        (DOOR, Answer(0, {}, "no answer"), UNSURE),
        (GUARDED, Answer(400), CLOSED),
        (GUARDED, Answer(401), BREACH),
        (GUARDED, Answer(200), BREACH),
        (GUARDED, Answer(404), UNSURE),
    ],
)
def test_verdict(door: Door, answer: Answer, expected: str) -> None:
    assert _doors.verdict(door, answer, ISSUER) == expected


class Fake(_doors.Stranger):
    """Answers by round; the last round goes on for ever."""

    def __init__(self, *rounds: dict[Door, Answer]) -> None:
        self.rounds = list(rounds)

    def knock_all(self, closed: object) -> dict[Door, Answer]:  # noqa: ARG002
        return self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]


def deadline(seconds: float) -> Deadline:
    moment = [0.0]

    def sleep(pause: float) -> None:
        moment[0] += pause

    return Deadline(seconds, Clock(lambda: moment[0], sleep))


def test_two_looks_are_no_breach() -> None:
    stranger = Fake({DOOR: Answer(200)}, {DOOR: Answer(200)}, {DOOR: Answer(401)})
    report = _doors.probe(stranger, [DOOR], ISSUER, deadline(10))
    assert report.breaches == []
    assert report.ready


def test_three_looks_are() -> None:
    report = _doors.probe(Fake({DOOR: Answer(200)}), [DOOR], ISSUER, deadline(0))
    assert report.breaches == ["GET /alice/ogc-api/processes: HTTP 200"]


def test_silence_of_the_gateway_is_no_proof() -> None:
    report = _doors.probe(Fake({DOOR: Answer(404)}), [DOOR], ISSUER, deadline(3))
    assert not report.ready
    assert not report.breaches


def test_waits_for_the_gateway() -> None:
    rounds = [{DOOR: Answer(503)}, {DOOR: Answer(404)}, {DOOR: Answer(401)}]
    assert _doors.probe(Fake(*rounds), [DOOR], ISSUER, deadline(30)).ready


@pytest.mark.parametrize("status", [429, 503])
def test_a_gateway_is_given_the_time_that_it_asks_for(status: int) -> None:
    busy = Answer(status, {"retry-after": "7"})
    wait = deadline(30)
    assert _doors.probe(Fake({DOOR: busy}, {DOOR: Answer(401)}), [DOOR], ISSUER, wait).ready
    assert wait.elapsed == 7
    short = deadline(5)
    report = _doors.probe(Fake({DOOR: busy}, {DOOR: Answer(401)}), [DOOR], ISSUER, short)
    assert report.unsure == [f"GET /alice/ogc-api/processes: HTTP {status}"]
    assert short.elapsed == 0


def test_no_verdict_is_reported() -> None:
    report = _doors.probe(Fake({DOOR: Answer(503)}), [DOOR], ISSUER, deadline(3))
    assert report.unsure == ["GET /alice/ogc-api/processes: HTTP 503"]
    assert not report.ready


def test_doors_hold_every_context_and_the_known_tricks() -> None:
    paths = [door.path for door in _doors.doors(["alice", "team"], ["/ogc-api/"])]
    assert {"/alice/ogc-api/processes", "/team/ogc-api/jobs", "/swagger-ui/ogc-api/processes"} <= {
        *paths
    }
    assert "/ogc-api?service=WPS&request=GetCapabilities" in paths
    assert "/ogc-api/..%2falice/ogc-api/processes" in paths


def test_a_sample_has_a_door_of_each_kind() -> None:
    every = _doors.doors(["alice", "team"], ["/ogc-api/"])
    some = _doors.sample(["alice", "team"], ["/ogc-api/"])
    assert set(some) < set(every)
    assert [door.path for door in some if not door.guarded] == [
        "/ogc-api/processes",
        "/alice/ogc-api/processes",
        "/team/ogc-api/processes",
    ]
    assert [bool(door.headers) for door in some if door.guarded] == [True, False]


def test_odd_urls_are_refused() -> None:
    with pytest.raises(OapipError, match="probe_url"):
        _doors.Stranger("ftp://x")
