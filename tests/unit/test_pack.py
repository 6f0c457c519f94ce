"""Packages of several files become one document that means the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.eoepca.oapip.plugins.module_utils import _cwl, _http, _pack, _process
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from sandbox.engine.packages import read_package
from tests.ogc_double import Asked, Double, Reply, serving

TOOL = """\
cwlVersion: v1.2
class: CommandLineTool
id: tool
baseCommand: [echo]
inputs: {word: {type: string, inputBinding: {position: 1}}}
outputs: {said: {type: stdout}}
stdout: said.txt
"""
FLOW = """\
cwlVersion: v1.2
class: Workflow
id: water
inputs: {word: string}
outputs: {said: {type: File, outputSource: one/said}}
steps:
  one: {run: tool.cwl, in: {word: word}, out: [said]}
"""


@pytest.fixture
def double() -> Iterator[Double]:
    with serving(lambda _asked: Reply(404)) as made:
        yield made


def write(folder: Path, **files: str) -> Path:
    """Write files, `a__b` for `a/b.cwl`, and return the path of the entry `flow`."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ("" if "." in name else ".cwl"))
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / "flow.cwl"


def pack(entry: Path | str) -> dict[str, Any]:
    """Pack, check, and return the document."""
    text = _process.fetch_source(str(entry), 5, _http.session())
    document: dict[str, Any] = _cwl.load(text).document
    assert "&" not in text, "anchors"
    read_package(text)  # as the engine does, by cwl-utils
    return document


def ids(document: dict[str, Any]) -> list[str]:
    return [node["id"] for node in document["$graph"]]


def run(document: dict[str, Any], folder: Path, **inputs: Any) -> str:
    """Run a packed document somewhere else and return what its tool said."""
    folder = folder / "elsewhere"
    folder.mkdir()
    (folder / "packed.cwl").write_text(yaml.safe_dump(document))
    (folder / "job.yml").write_text(yaml.safe_dump(inputs))
    # `python -m cwltool` exits with 0 whatever happens
    program = "import sys; from cwltool.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--quiet", "packed.cwl#water", "job.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return (folder / "said.txt").read_text().strip()


def test_a_document_that_stands_alone_is_sent_as_it_is(tmp_path: Path) -> None:
    text = "# a comment\n" + FLOW.replace("tool.cwl", "'#tool'")
    entry = write(tmp_path, flow=text)
    assert _process.fetch_source(str(entry), 5, None) == text


def test_a_tool_in_another_file_joins_the_graph(tmp_path: Path) -> None:
    document = pack(write(tmp_path, flow=FLOW, tool=TOOL))
    assert ids(document) == ["water", "tool"]
    assert document["cwlVersion"] == "v1.2"
    assert "cwlVersion" not in document["$graph"][1]
    assert document["$graph"][0]["steps"]["one"]["run"] == "#tool"
    assert run(document, tmp_path, word="hello") == "hello"


def test_the_same_file_twice_is_one_process(tmp_path: Path) -> None:
    two = "  two: {run: ./tool.cwl, in: {word: word}, out: [said]}\n"
    assert ids(pack(write(tmp_path, flow=FLOW + two, tool=TOOL))) == ["water", "tool"]


def test_files_in_folders_with_the_same_ids(tmp_path: Path) -> None:
    """Paths are relative to the file that names them, and ids to theirs."""
    inner = FLOW.replace("id: water", "id: tool\nrequirements: []").replace(
        "one/said", "'#one/said'"
    )
    flow = FLOW.replace("run: tool.cwl", "run: sub/inner.cwl").replace(
        "steps:", "requirements: {SubworkflowFeatureRequirement: {}}\nsteps:"
    )
    document = pack(write(tmp_path, flow=flow, sub__inner=inner, sub__tool=TOOL))
    assert ids(document) == ["water", "tool", "tool-2"]
    assert run(document, tmp_path, word="deep") == "deep"


def test_a_graph_that_refers_to_files_and_to_parts_of_them(tmp_path: Path) -> None:
    main = FLOW.replace("cwlVersion: v1.2\n", "").replace("tool.cwl", "tools.cwl#tool")
    nodes = [yaml.safe_load(main), yaml.safe_load(main.replace("id: water", "id: second"))]
    tools = [{**yaml.safe_load(TOOL), "id": name} for name in ("unused", "tool")]
    for tool in tools:
        del tool["cwlVersion"]
    document = pack(
        write(
            tmp_path,
            flow=yaml.safe_dump({"cwlVersion": "v1.2", "$graph": nodes}),
            tools=yaml.safe_dump({"cwlVersion": "v1.2", "$graph": tools}),
        )
    )
    assert ids(document) == ["water", "tool", "second"]


def test_imports_and_includes_are_put_in_place(tmp_path: Path) -> None:
    tool = TOOL.replace("baseCommand: [echo]", "baseCommand: {$import: parts/command.yml}").replace(
        "inputs:", "doc: {$include: parts/about.txt}\ninputs:"
    )
    document = pack(
        write(
            tmp_path,
            flow=FLOW.replace("run: tool.cwl", "run: {$import: tool.cwl}"),
            tool=tool,
            **{"parts__command.yml": "[echo, -n]", "parts__about.txt": "It says\nso: [\n"},
        )
    )
    assert ids(document) == ["water"]
    inner = document["$graph"][0]["steps"]["one"]["run"]
    assert (inner["baseCommand"], inner["doc"]) == (["echo", "-n"], "It says\nso: [\n")
    assert "cwlVersion" not in inner


def test_types_from_a_file_of_types(tmp_path: Path) -> None:
    types = """\
- {name: point, type: record, fields: [{name: x, type: string}]}
- {name: box, type: record, fields: [{name: at, type: point}]}
"""
    schema = "requirements: [{class: SchemaDefRequirement, types: [{$import: types.yml}]}]\n"
    tool = TOOL + "arguments: [$(inputs.box.at.x)]\n" + schema
    tool = tool.replace("inputs: {", "inputs: {box: types.yml#box, ")
    flow = FLOW.replace("inputs: {word: string}", "inputs: {word: string, b: types.yml#box}")
    flow = flow.replace("in: {word: word}", "in: {word: word, box: b}") + schema
    document = pack(write(tmp_path, flow=flow, tool=tool, **{"types.yml": types}))
    assert len(document["$graph"][0]["requirements"][0]["types"]) == 2
    assert run(document, tmp_path, word="w", b={"at": {"x": "far"}}) == "far w"


def test_namespaces_and_schemas_of_all_files_are_in_the_head(tmp_path: Path) -> None:
    head = '$namespaces: {s: "https://schema.org/"}\n$schemas: [https://schema.org/x.rdf]\n'
    document = pack(
        write(tmp_path, flow=FLOW + 's:version: "1"\n', tool=TOOL + head + "s:name: x\n")
    )
    assert document["$namespaces"] == {"s": "https://schema.org/"}
    assert document["$schemas"] == ["https://schema.org/x.rdf"]
    other = '$namespaces: {s: "http://example.org/"}\n'
    entry = write(tmp_path, flow=FLOW + other)
    with pytest.raises(OapipError, match="different things by the prefix s"):
        pack(entry)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"reading .*tool\.cwl: No such file"),
        (
            {"tool": TOOL.replace("v1.2", "v1.0")},
            r"tool\.cwl has cwlVersion v1\.0, the entry v1\.2",
        ),
        ({"tool": "a: ["}, "no YAML"),
        ({"tool": "- a"}, r"tool\.cwl is no CWL"),
        ({"tool": "{$import: tool.cwl}"}, r"tool\.cwl imports itself"),
        ({"tool": "cwlVersion: v1.2\n$graph: []"}, r"tool\.cwl holds no process main"),
        ({"tool": TOOL + "doc: {$import: 'tool.cwl#no'}"}, r"tool\.cwl imports itself"),
    ],
)
def test_what_does_not_go_together_is_said(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    with pytest.raises(OapipError, match=words):
        pack(write(tmp_path, flow=FLOW, **files))


def test_a_workflow_without_an_id_is_told(tmp_path: Path) -> None:
    with pytest.raises(OapipError, match="it has no id"):
        pack(write(tmp_path, flow=FLOW.replace("id: water\n", ""), tool=TOOL))


def test_aliases_do_not_multiply_without_end(tmp_path: Path) -> None:
    bomb = "x0: &x0 [a, a]\n" + "".join(
        f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    with pytest.raises(OapipError, match="too large together"):
        pack(write(tmp_path, flow=FLOW + bomb, tool=TOOL))


def test_a_package_from_the_web_takes_its_files_from_the_web_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    files = {"/a/flow.cwl": FLOW.replace("tool.cwl", "../tool.cwl"), "/tool.cwl": TOOL}

    def serve(asked: Asked) -> Reply:
        return Reply(200, files[asked.path], {"Content-Type": "text/plain"})

    with serving(serve) as double:
        entry = f"{double.url}/a/flow.cwl?signature=abc"
        assert ids(pack(entry)) == ["water", "tool"]
        for reference in (f"file://{secret}", f"file:{secret}"):
            files["/tool.cwl"] = TOOL + f"doc: {{$include: '{reference}'}}\n"
            with pytest.raises(OapipError, match="which is no web address") as caught:
                pack(entry)
            assert "hush" not in caught.value.text()
        asked = len(double.asked)
        files["/tool.cwl"] = TOOL + f"doc: {{$include: '{secret}'}}\n"
        with pytest.raises(KeyError):  # a path of that server
            _pack.packed(entry, files["/a/flow.cwl"], lambda url: files[url[len(double.url) :]])
        assert len(double.asked) == asked


def moved(double: Double, moves: dict[str, str], files: dict[str, str]) -> list[str]:
    """Let a server answer for files, some of them elsewhere; return what it is asked for."""
    asked_for: list[str] = []

    def serve(asked: Asked) -> Reply:
        asked_for.append(asked.target)
        assert "authorization" not in asked.headers
        if asked.target in moves:
            return Reply(302, "elsewhere", {"Location": moves[asked.target]})
        return Reply(200, files[asked.path], {"Content-Type": "text/plain"})

    double.handler = serve
    return asked_for


def test_redirects_are_followed_and_references_start_at_their_end(
    double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password hush\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    types = "- {type: enum, name: color, symbols: [red]}\n"
    own = "requirements: {SchemaDefRequirement: {types: [{$import: t.yml}]}}\n"
    tool = own + TOOL.replace("type: string", "type: t.yml#color")
    flow = FLOW.replace("tool.cwl", "../tools/tool.cwl") + (
        "  two: {run: again.cwl#tool, in: {word: word}, out: [said]}\n"
    )
    moves = {
        "/raw/flow.cwl": "/hop?to=1",
        "/hop?to=1": f"{double.url}/main/flow.cwl?token=x#here",
        "/tools/tool.cwl": "/v2/tools/tool.cwl",
        "/main/again.cwl": "../v2/tools/tool.cwl",
    }
    files = {"/main/flow.cwl": flow, "/v2/tools/tool.cwl": tool, "/v2/tools/t.yml": types}
    asked_for = moved(double, moves, files)
    document = pack(f"{double.url}/raw/flow.cwl")
    assert ids(document)[0] == "water"
    assert asked_for[:3] == ["/raw/flow.cwl", "/hop?to=1", "/main/flow.cwl?token=x"]
    assert asked_for.count("/v2/tools/t.yml") == 1
    tools = document["$graph"][1:]
    assert {one["inputs"]["word"]["type"] for one in tools} == {"#t.yml/color"}


def test_a_file_that_names_itself_where_it_lies(double: Double) -> None:
    """It is read once, whatever address it was asked for by."""
    tool = TOOL.replace("cwlVersion: v1.2\n", "")
    flow = FLOW.replace("tool.cwl", "flow.cwl#tool").replace("cwlVersion: v1.2\n", "")
    nodes = [yaml.safe_load(flow), yaml.safe_load(tool)]
    graph = yaml.safe_dump({"cwlVersion": "v1.2", "$graph": nodes})
    asked_for = moved(double, {"/old": "/new/flow.cwl"}, {"/new/flow.cwl": graph})
    assert ids(pack(f"{double.url}/old")) == ["water", "tool"]
    assert asked_for == ["/old", "/new/flow.cwl"]


def test_five_redirects_are_followed_and_no_more(double: Double) -> None:
    moves = {f"/{n}": f"/{n + 1}" for n in range(6)}
    asked_for = moved(double, moves, {"/6": FLOW.replace("tool.cwl", "'#tool'")})
    assert _process.fetch_source(f"{double.url}/1", 5, _http.session())
    del asked_for[:]
    with pytest.raises(OapipError, match=r"reading http.*/0: redirected .*/5 to .*/6.* more than"):
        pack(f"{double.url}/0")
    assert len(asked_for) == 6


@pytest.mark.parametrize(
    ("here", "location", "words"),
    [
        ("https://a.example/x", "http://a.example/x", "https://a.example/x to http://a.example/x"),
        ("http://a.example/x", "file:///etc/passwd", "no web address"),
        ("http://a.example/x", "ftp://a.example/x", "no web address"),
        ("http://a.example/x", "http://[", "no web address"),
        ("http://a.example/x", "https:///x", "no web address"),
        ("http://a.example/x", "http://a.example:http/x", "no web address"),
        ("http://a.example/x", "", "no web address"),
        ("https://a.example/x", "http://u:hush@b.example/y?hush=1", "to http://b.example/y"),
    ],
)
def test_a_redirect_that_is_refused_is_named(here: str, location: str, words: str) -> None:
    with pytest.raises(OapipError, match="redirected") as caught:
        _process.next_hop("reading src", here, location)
    assert words in caught.value.text()
    assert "hush" not in caught.value.text()


@pytest.mark.parametrize(
    ("here", "location", "there"),
    [
        ("http://a.example/x", "https://b.example/y", "https://b.example/y"),
        ("https://a.example/x/y?q=1", "../z#part", "https://a.example/z"),
        ("https://a.example/x", "//b.example/y", "https://b.example/y"),
    ],
)
def test_where_a_redirect_leads(here: str, location: str, there: str) -> None:
    assert _process.next_hop("reading src", here, location) == there


def test_a_login_in_an_address_is_not_told(double: Double) -> None:
    double.handler = lambda asked: Reply(404, "{}")
    with pytest.raises(OapipError, match="404") as caught:
        pack(double.url.replace("//", "//alice:hush@") + "/flow.cwl?token=hush")
    assert "hush" not in str(caught.value.as_result())
