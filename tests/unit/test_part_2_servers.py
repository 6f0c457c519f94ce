"""oapip_process on servers of Part 2 (20-044) that are not the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _process
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_process, oapip_process_info
from tests.ogc_double import ENGINE_HEADERS, Asked, Double, Reply, serving
from tests.unit.test_oapip_modules import CWL, OTHER, Told, call

CORE = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/core"
DRU = "http://www.opengis.net/spec/ogcapi-processes-2/1.0/conf/deploy-replace-undeploy"
MISSING = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/no-such-process"


@dataclass
class Other:
    """A server that follows the standard in its own way."""

    names: dict[str, str] = field(default_factory=dict)
    """What it calls a process, where that is not its Workflow's id."""
    nested: str = ""
    """Member of its answer that holds the summary."""
    accepts: bool = False
    """It answers 202 and works later."""
    looks: int = 0
    """Times that a new package is looked for before it is there."""
    location: str | None = None
    shown: str | None = None
    """What it shows for every package."""
    classes: tuple[str, ...] = (CORE, DRU)
    packages: dict[str, str] = field(default_factory=dict)
    coming: dict[str, str] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Reply:
        parts = [unquote(one) for one in asked.path.split("/ogc-api/")[1].split("/")]
        if parts == ["conformance"]:
            return Reply(200, {"conformsTo": list(self.classes)})
        if parts == ["processes"]:
            if asked.method == "POST":
                return self._deploy(asked)
            return Reply(200, {"processes": [{"id": one} for one in self.packages], "links": []})
        name = parts[1]
        if asked.method == "GET" and name in self.coming:
            self.looks -= 1
            if self.looks < 0:
                self.packages[name] = self.coming.pop(name)
        if name not in self.packages:
            return Reply(404, {"type": MISSING, "title": "No such process", "status": 404})
        if parts[2:] == ["package"]:
            text = self.packages[name] if self.shown is None else self.shown
            return Reply(200, text, {"Content-Type": "application/cwl+yaml"})
        if asked.method == "PUT":
            return self._keep(name, asked.body.decode(), Reply(204))
        if asked.method == "DELETE":
            del self.packages[name]
            return Reply(204)
        return Reply(200, {"id": name, "mutable": True})

    def _keep(self, name: str, text: str, done: Reply) -> Reply:
        if not self.accepts and not self.looks:
            self.packages[name] = text
            return done
        self.coming[name] = text
        if not self.accepts:
            return done
        job = {"id": "job-7", "jobID": "job-7", "type": "process", "status": "accepted"}
        return Reply(202, job, {"Location": "http://wrong.invalid/jobs/job-7"})

    def _deploy(self, asked: Asked) -> Reply:
        text = asked.body.decode()
        named = next(line for line in text.splitlines() if " id: " in line).split("id: ")[1]
        name = self.names.get(named, named)
        summary: dict[str, Any] = {"id": name}
        location = f"http://wrong.invalid/processes/{name}"
        headers = {"Location": location if self.location is None else self.location}
        body = {self.nested: summary} if self.nested else summary
        return self._keep(name, text, Reply(201, body, headers))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "pause", lambda attempt, header=None: 0.01)
    monkeypatch.setattr(_process, "SETTLE", 0.5)


@pytest.fixture
def other() -> Other:
    return Other()


@pytest.fixture
def double(other: Other) -> Iterator[Double]:
    with serving(other) as made:
        yield made


def writes(double: Double) -> list[str]:
    return [line.replace("/alice/ogc-api/processes", "") for line in double.writes()]


@pytest.mark.parametrize("nested", ["", "process", "processSummary"])
@pytest.mark.parametrize("location", [None, ""])
def test_an_id_of_the_servers_own_is_told_and_nothing_is_sent_twice(
    double: Double, other: Other, nested: str, location: str | None
) -> None:
    other.names, other.nested, other.location = {"water": "u-1"}, nested, location
    with pytest.raises(OapipError, match=r"deployed it as u-1, not as water.* workflow=u-1") as e:
        call(oapip_process, double, content=CWL)
    assert e.value.status == 201
    assert [one.method for one in double.asked] == ["GET", "POST", "GET"]  # no wait
    assert other.packages == {"u-1": CWL}


def test_an_id_that_is_told_by_the_location_alone(double: Double, other: Other) -> None:
    other.names, other.nested = {"water": "a b"}, "job"
    other.location = "../processes/a%20b/"
    with pytest.raises(OapipError, match="deployed it as a b, not as water"):
        call(oapip_process, double, content=CWL)
    assert writes(double) == ["POST "]


def test_an_answer_with_an_id_of_something_else(double: Double, other: Other) -> None:
    """What counts is whether the process is there."""
    other.location = "http://wrong.invalid/processes/request-4"
    assert call(oapip_process, double, content=CWL)["process"]["id"] == "water"
    other.location = ""
    other.nested = "process"
    call(oapip_process, double, content=CWL.replace("id: water", "id: tea"))
    assert writes(double) == ["POST ", "POST "]


@pytest.mark.parametrize("location", ["http://[", "//[/processes/x", "\x7f", "/processes/%ff%00"])
def test_a_location_that_is_no_address(double: Double, other: Other, location: str) -> None:
    other.location = location
    assert call(oapip_process, double, content=CWL)["changed"]
    assert writes(double) == ["POST "]


@pytest.mark.parametrize("accepts", [True, False])
def test_a_deployment_that_takes_its_time_is_waited_for(
    double: Double, other: Other, accepts: bool
) -> None:
    other.accepts, other.looks = accepts, 2
    ctx = Told()
    made = call(oapip_process, double, ctx, content=CWL)
    assert made["process"]["id"] == "water"
    assert writes(double) == ["POST "]
    assert ctx.lines == ["[host] process water: accepted, not there yet"][: int(accepts)]
    assert not call(oapip_process, double, content=CWL)["changed"]


def test_a_replacement_that_takes_its_time_is_waited_for(double: Double, other: Other) -> None:
    other.packages["water"] = OTHER
    other.accepts, other.looks = True, 2
    call(oapip_process, double, content=CWL)
    assert other.packages["water"] == CWL
    assert writes(double) == ["PUT /water"]


@pytest.mark.parametrize("accepts", [True, False])
def test_a_deployment_that_does_not_come_is_neither_repeated_nor_removed(
    double: Double, other: Other, accepts: bool
) -> None:
    other.accepts, other.looks = accepts, 99
    with pytest.raises(OapipError, match=r"no such process after 1 s.* raise timeout") as caught:
        call(oapip_process, double, content=CWL, timeout=1)
    assert caught.value.status == (202 if accepts else 201)
    assert writes(double) == ["POST "]


def test_a_replacement_that_does_not_come_is_an_error(double: Double, other: Other) -> None:
    other.packages["water"] = OTHER
    other.accepts, other.looks = True, 99
    with pytest.raises(OapipError, match="shows another one"):
        call(oapip_process, double, content=CWL, timeout=1)
    assert writes(double) == ["PUT /water"]
    assert other.packages["water"] == OTHER


def test_packages_in_a_form_of_the_servers_own(double: Double, other: Other) -> None:
    """The engine's repair (undeploy, deploy) would help nobody here."""
    other.shown = CWL + "hints: []\n"
    for write in ("POST ", "PUT /water"):
        ctx = Told()
        assert call(oapip_process, double, ctx, content=CWL)["changed"]
        assert "another text than was sent" in "".join(ctx.warnings)
        assert writes(double)[-1:] == [write]
    assert len(writes(double)) == 2


def test_a_removal_that_takes_its_time_is_waited_for(double: Double, other: Other) -> None:
    other.packages["water"] = CWL
    double.fail("DELETE", "/water", Reply(202, {"jobID": "1", "status": "accepted"}))
    with pytest.raises(OapipError, match=r"undeploying process water.* still there after 1 s"):
        call(oapip_process, double, workflow="water", state="absent", timeout=1)
    gone = Reply(404, {"type": MISSING, "title": "No such process"})
    about = Reply(200, {"id": "water"})
    double.fail("DELETE", "/water", Reply(202, "{}"))
    double.fail("GET", "/water", about, about, gone)
    assert call(oapip_process, double, workflow="water", state="absent", timeout=3)["changed"]


@pytest.mark.parametrize("there", [True, False])
def test_a_server_that_contradicts_itself_is_asked_once(
    double: Double, other: Other, there: bool
) -> None:
    """409 to POST and 404 to PUT."""
    if there:
        other.packages["water"] = OTHER
    missing = Reply(404, {"type": MISSING, "title": "No such process"})

    def torn(asked: Asked) -> Reply:
        if asked.method == "POST":
            where = {"Location": "http://wrong.invalid/processes/u-1"}
            return Reply(409, {"type": "duplicated-process", "title": "Duplicated"}, where)
        return missing if asked.method == "PUT" else other(asked)

    double.handler = torn
    with pytest.raises(OapipError, match=r"is there \(409\), and that it is not \(404\)") as e:
        call(oapip_process, double, content=CWL)
    assert writes(double) == (["PUT /water", "POST "] if there else ["POST ", "PUT /water"])
    assert "u-1" in str(e.value)


# Ids


@pytest.mark.parametrize("ident", ["run", "In", "a.b", "x/y", "ünï", "two words"])
def test_ids_that_only_the_engine_breaks_are_warned_of(
    double: Double, other: Other, ident: str
) -> None:
    text = CWL.replace("id: water", f"id: {ident}")
    ctx = Told()
    for check in (True, False):
        ctx = Told(check)
        made = call(oapip_process, double, ctx, content=text)
        assert "the engine" in "".join(ctx.warnings)
    assert (made["process_id"], other.packages) == (ident, {ident: text})
    ctx = Told()
    assert not call(oapip_process, double, ctx, content=text)["changed"]
    assert ctx.warnings == []
    assert call(oapip_process, double, content=text, state="absent")["changed"]
    assert other.packages == {}


@pytest.mark.parametrize("ident", ["run", "a.b"])
@pytest.mark.parametrize("header", [True, False])
def test_they_are_refused_on_the_engine(
    double: Double, other: Other, ident: str, header: bool
) -> None:
    """It names itself in a header, and its kind of file where a gateway drops that."""
    reason = f"Unable to parse the ZCFG file: {ident}.zcfg (No message provided)"
    body = {"type": MISSING, "title": "NoSuchProcess", "detail": "none" if header else reason}
    for check in (True, False):
        double.fail("GET", f"/{ident}", Reply(404, body, ENGINE_HEADERS if header else {}))
        with pytest.raises(OapipError, match=f"the id {ident} .*Rename"):
            call(oapip_process, double, Told(check), content=CWL.replace("water", ident))
    assert writes(double) == []


@pytest.mark.parametrize("ident", [".", "..", "\ud800"])
def test_ids_that_no_address_can_hold(double: Double, ident: str) -> None:
    """`/processes/..` is the API itself."""
    for given in (
        {"content": CWL.replace("id: water", f"id: '{ident}'")},
        {"workflow": ident, "state": "absent", "force": True},
    ):
        if given.get("content") and ident == "\ud800":
            continue  # no such text comes out of a file
        with pytest.raises(OapipError, match="cannot stand in an address"):
            call(oapip_process, double, **given)
    with pytest.raises(OapipError, match="cannot stand in an address"):
        call(oapip_process_info, double, process_id=ident)
    assert double.asked == []


# oapip_process_info


def test_a_backup_of_a_server_without_part_2_says_so(double: Double, other: Other) -> None:
    other.packages, other.classes = {"a": CWL, "b": CWL}, (CORE,)
    ctx = Told()
    made = call(oapip_process_info, double, ctx, package=True)
    assert made["processes"] == [{"id": "a", "package": None}, {"id": "b", "package": None}]
    assert len(ctx.warnings) == 1
    assert "packages cannot be read" in ctx.warnings[0]
    assert "names no class of Part 2" in ctx.warnings[0]
    assert not [one for one in double.asked if one.path.endswith("/package")]
    ctx = Told()
    call(oapip_process_info, double, ctx)
    assert ctx.warnings == []
    other.classes = (CORE, DRU)
    made = call(oapip_process_info, double, ctx, package=True)
    assert [one["package"] for one in made["processes"]] == [CWL.rstrip("\n")] * 2
    assert ctx.warnings == []


def test_a_package_that_is_not_told_is_named(double: Double, other: Other) -> None:
    other.packages = {"a": CWL, "b": CWL}
    refusal = Reply(406, {"type": "about:blank", "title": "Not Acceptable"})
    double.fail("GET", "/a/package", refusal, refusal)
    ctx = Told()
    made = call(oapip_process_info, double, ctx, package=True)
    assert [one["package"] for one in made["processes"]] == [None, CWL.rstrip("\n")]
    assert ctx.warnings == ["the server does not tell the package of a"]
    assert urlsplit(double.asked[1].target).path.endswith("/conformance")
