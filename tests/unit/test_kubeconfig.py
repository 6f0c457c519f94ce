"""Keys that stand in a kubeconfig are read into memory and left in no file."""

from __future__ import annotations

import base64
import concurrent.futures
import datetime
import tempfile
import threading
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError


def pair() -> tuple[str, str]:
    """Return a certificate and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "operator")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(pem).decode(), private.decode()


def kubeconfig(folder: Path, certificate: str, key: str) -> str:
    def packed(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    user = {"client-certificate-data": packed(certificate), "client-key-data": packed(key)}
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": packed(certificate)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return str(file)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_no_key_stays_in_a_file(tmp_path: Path, temporary: Path) -> None:
    file = kubeconfig(tmp_path, *pair())
    for _nth in range(2):
        kube = Kube.connect(file)
        assert list(temporary.iterdir()) == []
        with pytest.raises(OapipError, match="no answer"):
            kube.request("POST", "/")


def test_a_key_that_does_not_fit_is_told_and_not_left(tmp_path: Path, temporary: Path) -> None:
    file = kubeconfig(tmp_path, pair()[0], pair()[1])
    with pytest.raises(OapipError, match="loading the kubeconfig"):
        Kube.connect(file)
    assert list(temporary.iterdir()) == []


def test_threads_that_load_it_at_once_do_not_delete_each_others_files(
    tmp_path: Path, temporary: Path
) -> None:
    file = kubeconfig(tmp_path, *pair())
    start = threading.Barrier(8)

    def load(_nth: int) -> None:
        start.wait()
        for _again in range(5):
            Kube.connect(file)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(load, range(8)))
    assert list(temporary.iterdir()) == []
