"""Client certificates: a server that demands one, all four modules, and nobody else."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.eoepca.oapip.plugins.module_utils import _http
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    oapip_job,
    oapip_job_info,
    oapip_process,
    oapip_process_info,
)
from sandbox.pki import Authority
from tests.harness import both_ways
from tests.ogc_double import Asked, Engine, Reply, serving
from tests.unit_params import params_of

CALLS: list[tuple[ModuleType, dict[str, Any]]] = [
    (oapip_process, {"process_id": "none", "state": "absent"}),
    (oapip_process_info, {}),
    (oapip_job, {"process_id": "echo", "inputs": {"fn": "x"}, "mode": "sync"}),
    (oapip_job_info, {}),
]


@dataclass
class Gate:
    """A server that demands a certificate, and the files of one that it takes."""

    url: str
    ca: str
    cert: str
    key: str
    folder: Path

    def call(self, module: ModuleType, **given: Any) -> dict[str, Any]:
        base = {"url": f"{self.url}/alice/ogc-api", "ca_path": self.ca, "timeout": 5}
        made: dict[str, Any] = module.run(params_of(module, {**base, **given}), Context())
        return made


def demanding(server: Any, ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def answer(engine: Engine) -> Any:
    def handle(asked: Asked) -> Reply:
        if asked.path == "/token":
            return Reply(200, {"access_token": "t", "expires_in": 60})
        return engine(asked)

    return handle


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    authority = Authority(tmp_path, "ca")
    server, client = authority.server("server"), authority.client("alice")
    ca = authority.pair.certificate
    with serving(answer(Engine()), demanding(server, ca)) as double:
        url = double.url.replace("127.0.0.1", "localhost")
        yield Gate(url, str(ca), str(client.certificate), str(client.key), tmp_path)


@pytest.mark.parametrize(("module", "given"), CALLS, ids=lambda one: getattr(one, "__name__", ""))
def test_each_module_proves_itself(gate: Gate, module: ModuleType, given: dict[str, Any]) -> None:
    gate.call(module, client_cert=gate.cert, client_key=gate.key, **given)
    together = gate.folder / "both.pem"
    together.write_text(Path(gate.cert).read_text() + Path(gate.key).read_text())
    gate.call(module, client_cert=str(together), **given)
    with pytest.raises(OapipError, match="may demand a client's certificate"):
        gate.call(module, **given)


def test_the_token_endpoint_may_demand_it_too(gate: Gate) -> None:
    login = {"token_url": f"{gate.url}/token", "client_id": "ci", "client_secret": "s3cret"}
    gate.call(oapip_job_info, client_cert=gate.cert, client_key=gate.key, **login)
    with pytest.raises(OapipError, match=r"getting a token for ci.*client_cert"):
        gate.call(oapip_job_info, **login)


def test_a_certificate_of_another_authority_is_refused_at_once(gate: Gate) -> None:
    other = Authority(gate.folder / "other", "other").client("alice")
    with pytest.raises(OapipError, match="that it trusts"):
        gate.call(oapip_job_info, client_cert=str(other.certificate), client_key=str(other.key))


def encrypted(path: Path) -> str:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    made = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    path = path.with_name("encrypted.pem")
    path.write_bytes(made)
    return str(path)


def test_files_that_are_no_pair_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    one, other = authority.client("one"), authority.client("other")
    cert, key = str(one.certificate), str(one.key)
    for given, words in (
        ((None, key), "client_key needs client_cert"),
        ((cert, None), "no certificate and its key"),
        ((cert, str(other.key)), "no certificate and its key"),
        ((cert, encrypted(one.key)), "no certificate and its key"),
        ((str(tmp_path / "gone"), key), "No such file"),
        ((cert, str(tmp_path)), "no certificate and its key|directory"),
    ):
        with pytest.raises(OapipError, match=words):
            _http.session(True, None, *given)
    assert _http.session(True, None, cert, key).cert == (cert, key)
    assert _http.session().cert is None


def test_it_is_shown_to_no_other_host_than_the_apis(gate: Gate) -> None:
    """The files of results may lie anywhere."""
    seen: list[Any] = []
    authority = Authority(gate.folder, "ca")  # the same
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=gate.ca)
    pair = authority.server("data")
    context.load_cert_chain(pair.certificate, pair.key)
    context.verify_mode = ssl.CERT_OPTIONAL

    class Watched(Engine):
        def __call__(self, asked: Asked) -> Reply:
            return Reply(200, b"data", {"Content-Type": "image/tiff"})

    with serving(Watched(), context) as other:
        accept = other.server.get_request

        def peeking() -> Any:
            connection: Any
            connection, peer = accept()
            connection.do_handshake()
            seen.append(connection.getpeercert())
            return connection, peer

        other.server.get_request = peeking  # type: ignore[method-assign]
        engine = Engine()
        at = other.url.replace("127.0.0.1", "localhost")
        engine.results = {"out": {"href": f"{at}/a.tif"}}
        engine.jobs["1"] = [{"jobID": "1", "status": "successful"}]
        own = demanding(authority.server("again"), Path(gate.ca))
        with serving(answer(engine), own) as double:
            gate.url = double.url.replace("127.0.0.1", "localhost")
            gate.call(
                oapip_job,
                client_cert=gate.cert,
                client_key=gate.key,
                job_id="1",
                assets_dest=str(gate.folder / "out"),
            )
    assert (gate.folder / "out" / "out" / "a.tif").read_bytes() == b"data"
    assert seen
    assert not any(seen)


def test_both_ways_through_ansible(gate: Gate) -> None:
    params = {
        "url": f"{gate.url}/alice/ogc-api",
        "ca_path": gate.ca,
        "client_cert": gate.cert,
        "client_key": gate.key,
    }
    here, sent = both_ways(gate.folder, "oapip_process_info", params)
    assert (here.status, sent.status) == ("ok", "ok"), here.result
    assert here.contract() == sent.contract()
