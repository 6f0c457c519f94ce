"""The files that results refer to: found, named safely, saved once, and no token elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _assets,
    _files,
    _http,
    _ogc,
    _remote,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_job
from tests.ogc_double import Asked, Double, Engine, Reply, serving
from tests.unit_params import params_of

TOKEN = "t0p-secret-token"  # noqa: S105
MONITOR = {"rel": "monitor", "href": "http://wrong.invalid/alice/ogc-api/jobs/1"}


class Files:
    """Files by path, after what an engine answers."""

    def __init__(self, then: Any = None) -> None:
        self.files: dict[str, Reply] = {}
        self.then = then

    def __call__(self, asked: Asked) -> Reply:
        if asked.path in self.files:
            return self.files[asked.path]
        return self.then(asked) if self.then else Reply(404, "{}")

    def put(self, path: str, body: bytes | str | dict[str, Any], **headers: str) -> None:
        kind = "application/json" if isinstance(body, dict) else "image/tiff"
        self.files[path] = Reply(200, body, {"Content-Type": kind, **headers})


class Place:
    """An engine with a job that is over, a data server, and a folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.engine = Engine()
        self.engine.jobs["1"] = [
            {"jobID": "1", "processID": "p", "status": "successful", "links": [MONITOR]}
        ]
        self.here, self.there = Files(self.engine), Files()
        self.api: Double = stack.enter_context(serving(self.here))
        self.data: Double = stack.enter_context(serving(self.there))
        self.folder = folder / "out"

    def run(self, results: Any, check: bool = False, **given: Any) -> dict[str, Any]:
        self.engine.results = results
        params = params_of(
            oapip_job,
            {
                "url": f"{self.api.url}/alice/ogc-api",
                "token": TOKEN,
                "job_id": "1",
                "assets_dest": str(self.folder),
                **given,
            },
        )
        made: dict[str, Any] = oapip_job.run(params, Context(check_mode=check))
        return made

    def saved(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(_http, "pause", lambda attempt, header=None: 0.01)
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def item(name: str, **hrefs: str) -> dict[str, Any]:
    assets = {key: {"href": href} for key, href in hrefs.items()}
    return {"type": "Feature", "id": name, "assets": assets, "links": []}


def test_references_of_this_server_and_of_others(place: Place) -> None:
    place.here.put("/alice/temp/a.tif", b"mine")
    place.here.put("/alice/temp/b.tif", b"old chart")
    place.there.put("/data/c%20d.tif", b"theirs")
    results = {
        "one": {"href": "http://wrong.invalid/alice/temp/a.tif", "type": "image/tiff"},
        "two": [{"href": "http://wrong.invalid/temp/b.tif"}, {"href": "../../../temp/b.tif"}],
        "three": {"href": f"{place.data.url}/data/c%20d.tif?X-Amz-Signature=s1gn"},
        "four": {"value": {"size": 3}},
        "five": "plain",
    }
    dry = place.run(results, check=True)
    assert not place.folder.exists()
    real = place.run(results)
    assert dry == {**real, "changes": dry["changes"]}
    assert (
        dry["changes"]
        == real["changes"]
        == [{"action": "create", "kind": "folder", "name": str(place.folder), "fields": []}]
    )
    assert place.saved() == {
        "one/a.tif": b"mine",
        "three/c d.tif": b"theirs",
        "two/b.tif": b"old chart",
    }
    again = place.run(results)
    assert (again["changed"], [one["changed"] for one in again["assets"]]) == (False, [False] * 3)
    place.there.put("/data/c%20d.tif", b"thRirs")
    assert place.run(results, check=True)["changed"]
    assert place.saved()["three/c d.tif"] == b"theirs"
    changed = place.run(results)
    assert [one["changed"] for one in changed["assets"]] == [False, False, True]
    assert "s1gn" not in json.dumps(changed["assets"])
    assert place.saved()["three/c d.tif"] == b"thRirs"
    heads = [one.headers for one in place.data.asked]
    assert heads
    assert not any("authorization" in one for one in heads)
    mine = [one for one in place.api.asked if "/temp/" in one.path]
    assert all(one.headers["authorization"] == f"Bearer {TOKEN}" for one in mine)


@pytest.mark.parametrize("ids", [{"id": "1"}, {"jobID": "1", "id": "other"}, {}])
def test_relative_references_start_at_the_results(place: Place, ids: dict[str, str]) -> None:
    """Part 1 version 2 may call a job's number `id` alone."""
    place.engine.jobs["1"] = [{**ids, "processID": "p", "status": "successful"}]
    place.here.put("/alice/ogc-api/jobs/1/a.tif", b"a")
    place.run({"out": {"href": "a.tif"}})
    assert place.saved() == {"out/a.tif": b"a"}


def test_relative_references_of_a_job_without_a_number(place: Place) -> None:
    """What runs synchronously may have none."""
    place.here.put("/alice/ogc-api/processes/echo/a.tif", b"a")
    place.api.fail("POST", "/execution", Reply(200, {"out": {"href": "a.tif"}}))
    given: dict[str, Any] = {
        "process_id": "echo",
        "job_id": None,
        "mode": "sync",
        "inputs": {"fn": "x"},
    }
    place.run({}, **given)
    assert place.saved() == {"out/a.tif": b"a"}


def test_stac_is_followed_from_document_to_document(place: Place) -> None:
    url = f"{place.data.url}/cat/collection.json"
    place.there.put(
        "/cat/catalog.json",
        {"type": "Catalog", "id": "c", "links": [{"rel": "child", "href": "./collection.json"}]},
    )
    collection = {
        "type": "Collection",
        "id": "all",
        "assets": {"thumb": {"href": "thumb.png"}},
        "links": [
            {"rel": "self", "href": url},
            {"rel": "parent", "href": "catalog.json"},
            {"rel": "item", "href": "i1/i1.json"},
            {"rel": "child", "href": "collection.json"},
        ],
    }
    place.there.put("/cat/collection.json", collection)
    place.there.put("/cat/i1/i1.json", item("i1", data="../files/x.tif"))
    place.there.put("/cat/files/x.tif", b"x")
    place.there.put("/cat/thumb.png", b"thumb")
    place.run({"out": {"value": collection}})
    embedded = ["out/i1/i1.json", "out/i1/x.tif", "out/thumb.png"]
    assert [one for one in place.saved() if "/all/" not in one] == embedded
    place.folder = place.folder.with_name("second")
    place.run({"out": {"href": f"{place.data.url}/cat/catalog.json"}})
    assert list(place.saved()) == [
        "out/all/collection.json",
        "out/all/i1/i1.json",
        "out/all/i1/x.tif",
        "out/all/thumb.png",
        "out/catalog.json",
    ]
    place.folder = place.folder.with_name("third")
    features = [item("i1", data=f"{place.data.url}/cat/files/x.tif")]
    made = place.run({"type": "FeatureCollection", "features": features})
    assert list(place.saved()) == ["i1/x.tif"]
    assert made["changed"]


def test_names_cannot_leave_the_folder(place: Place) -> None:
    place.there.put("/..%2F..%2Fetc%2Fpasswd", b"1")
    place.there.put("/x/.bashrc", b"2")
    results = {
        "../../up": {"href": f"{place.data.url}/..%2F..%2Fetc%2Fpasswd"},
        "/abs": {"value": item("../..", a=f"{place.data.url}/x/.bashrc")},
    }
    place.run(results)
    assert list(place.saved()) == ["_.._up/_.._etc_passwd", "_abs/_/bashrc"]


@given(st.text(max_size=400))
def test_any_text_becomes_a_name(text: str) -> None:
    name = _files.safe_name(text)
    assert name
    assert name not in (".", "..")
    assert not name.startswith(".")
    assert "/" not in name
    assert "\0" not in name
    assert len(name.encode()) <= _files.NAME_BYTES


def test_files_of_one_name_are_kept_apart_or_told(place: Place) -> None:
    for path in ("/a/B01.tif", "/b/b01.tif"):
        place.there.put(path, path.encode())
    at = place.data.url
    place.run({"out": {"value": item("i", red=f"{at}/a/B01.tif", nir=f"{at}/b/b01.tif")}})
    assert place.saved() == {
        "out/i/nir/b01.tif": b"/b/b01.tif",
        "out/i/red/B01.tif": b"/a/B01.tif",
    }
    both = [{"href": f"{at}/a/B01.tif"}, {"href": f"{at}/b/b01.tif"}]
    with pytest.raises(
        OapipError, match=r"/a/B01.tif and .*/b/b01.tif would both be saved as"
    ) as e:
        place.run({"more": both})
    assert e.value.extra["job_id"] == "1"
    assert not (place.folder / "more").exists()


def test_a_file_and_a_folder_of_one_name_are_told() -> None:
    assets = [
        _assets.Asset("https://h/x", (), "out"),
        _assets.Asset("https://h/y", ("Out",), "y"),
    ]
    with pytest.raises(OapipError, match="would both be saved as"):
        _assets.settled(assets)


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd",
        "ftp://h/x",
        "gopher://h/x",
        "https://[bad",
        "s3://bucket",
        "s3://bucket/a/../../b",
        "/alice/temp/%2e%2e/bob/x",
    ],
)
def test_other_addresses_are_refused(place: Place, href: str) -> None:
    with pytest.raises(OapipError, match="downloading"):
        place.run({"out": {"href": href}})
    assert not place.folder.exists()


def test_objects_in_s3_need_the_storage(place: Place) -> None:
    with pytest.raises(OapipError, match=r"downloading s3://b/k: it is in S3. Give storage"):
        place.run({"out": "s3://b/k"})


class Bucket:
    """A store of one object, as Remote asks it."""

    def __init__(self, body: bytes, tag: str) -> None:
        self.body, self.tag, self.asked = body, tag, ""

    def call(self, _doing: str, operation: str, into: Any, **_names: str) -> dict[str, Any]:
        self.asked += operation[0]
        if into is not None:
            into.seek(0)
            into.write(self.body)
        return {"ContentLength": len(self.body), "ETag": f'"{self.tag}"'}


@pytest.mark.parametrize(
    ("body", "tag", "differs", "asked"),
    [
        (b"abcd", "e2fc714c4727ee9395f324cd2e7f331f", False, "h"),
        (b"abxd", "0" * 32, True, "h"),
        (b"abcde", "0" * 32, True, "h"),
        (b"abcd", "0123-2", False, "hg"),
        (b"abxd", "0123-2", True, "hg"),
    ],
)
def test_an_object_is_compared_by_what_s3_tells_of_it(
    tmp_path: Path, body: bytes, tag: str, differs: bool, asked: str
) -> None:
    """The digest of an object stored in parts is not that of its content, which is read then."""
    params: dict[str, Any] = {"url": "https://h/oapi", "storage": {}}
    remote = _remote.Remote(_ogc.Server(params, Context()), params, {})
    bucket = Bucket(body, tag)
    remote._store = bucket  # type: ignore[assignment]
    (tmp_path / "x").write_bytes(b"abcd")
    assert remote.differs("s3://b/x", str(tmp_path / "x")) is differs
    assert bucket.asked == asked
    assert remote.differs("s3://b/x", str(tmp_path / "gone"))


def test_a_broken_download_is_begun_anew_and_leaves_nothing_half(place: Place) -> None:
    place.there.put("/a.bin", b"0123456789")
    results = {"out": {"href": f"{place.data.url}/a.bin"}}
    half = Reply(200, b"0123456789", {"Content-Type": "x/y"}, cut=4)
    place.data.fail("GET", "/a.bin", half, half)
    place.run(results)
    assert place.saved() == {"out/a.bin": b"0123456789"}
    place.there.put("/a.bin", b"9876543210")
    place.data.fail("GET", "/a.bin", *[half] * 9)
    with pytest.raises(OapipError, match=r"reset by peer|broke inside the answer") as caught:
        place.run(results)
    assert caught.value.extra["job_results"] == results
    assert place.saved() == {"out/a.bin": b"0123456789"}
    assert [one.name for one in (place.folder / "out").iterdir()] == ["a.bin"]


def test_redirects_are_followed_without_the_token(place: Place) -> None:
    place.here.files["/alice/temp/a.tif"] = Reply(302, "", {"Location": f"{place.data.url}/a"})
    place.there.files["/a"] = Reply(307, "", {"Location": f"{place.api.url}/alice/temp/b"})
    place.here.put("/alice/temp/b", b"b")
    place.run({"out": {"href": "http://wrong.invalid/alice/temp/a.tif"}})
    assert place.saved() == {"out/a.tif": b"b"}
    assert "authorization" not in place.data.asked[-1].headers
    assert "authorization" not in place.api.asked[-1].headers
    place.there.files["/a"] = Reply(307, "", {"Location": f"{place.data.url}/a"})
    with pytest.raises(OapipError, match="HTTP 307"):
        place.run({"out": {"href": f"{place.data.url}/a"}})


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(404, "{}"), "HTTP 404"),
        (Reply(200, "<html>", {"Content-Type": "text/html"}), "the answer is a page"),
        (Reply(302, "", {"Location": "file:///etc/passwd"}), "only HTTPS and S3"),
        (Reply(302, "", {"Location": "http://127.0.0.1:http/x"}), "it is no address"),
    ],
)
def test_a_file_that_cannot_be_had_fails_with_the_job_in_it(
    place: Place, reply: Reply, words: str
) -> None:
    place.there.files["/a.tif"] = reply
    dest = place.folder.with_suffix(".json")
    with pytest.raises(OapipError, match=words) as caught:
        place.run({"out": {"href": f"{place.data.url}/a.tif"}}, dest=str(dest))
    assert caught.value.extra["job"]["status"] == "successful"
    assert caught.value.extra["job_id"] == "1"
    assert dest.exists()


def test_a_start_in_check_mode_expects_the_folder(place: Place) -> None:
    place.engine.packages["p"] = "cwl"
    given: dict[str, Any] = {"job_id": None, "process_id": "p", "inputs": {"fn": "x"}}
    dry = place.run({}, check=True, **given)
    assert dry["changes"] == place.run({}, **given)["changes"]
    assert [one["kind"] for one in dry["changes"]] == ["job", "folder"]


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["Feature", "Catalog"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "links", "assets", "features", "value", "id", "rel", "href"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


class Nowhere:
    """Reads nothing: every address is refused, every document is empty."""

    def resolve(self, href: str, base: str) -> str:
        return f"https://h/{len(href)}.json"

    def copy(self, url: str, into: Any) -> None:
        into.write(b"{")


@given(JSON)
def test_no_results_make_a_traceback(results: Any) -> None:
    found: Any = Nowhere()
    _assets.Gathered(results, "https://h/", found)
