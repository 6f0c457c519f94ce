"""Certificates: dates, names and keys."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.eoepca.oapip.plugins.module_utils import _certificates

DAY = datetime.timedelta(days=1)


def private() -> tuple[ec.EllipticCurvePrivateKey, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key, pem.decode()


def certificate(
    key: ec.EllipticCurvePrivateKey, *names: str, start: int = -1, end: int = 90
) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + start * DAY)
        .not_valid_after(now + end * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("names", "start", "end", "level", "words"),
    [
        (["zoo.example.org"], -1, 90, "ok", "valid until"),
        (["*.example.org"], -1, 90, "ok", "valid until"),
        (["*.org"], -1, 90, "fail", "not for zoo.example.org"),
        (["other.example.org"], -1, 90, "fail", "not for zoo.example.org"),
        (["zoo.example.org"], -9, -1, "fail", "expired"),
        (["zoo.example.org"], 1, 90, "fail", "not valid before"),
        (["zoo.example.org"], -1, 3, "warn", "expires on"),
    ],
)
def test_certificate(names: list[str], start: int, end: int, level: str, words: str) -> None:
    key, pem = private()
    text = certificate(key, *names, start=start, end=end)
    (found,) = _certificates.check(text, pem, "zoo.example.org")
    assert found.level == level
    assert words in found.message


def test_key_of_another_certificate() -> None:
    key, _pem = private()
    _other, pem = private()
    (found,) = _certificates.check(certificate(key, "a.b"), pem, "a.b")
    assert (found.level, found.about) == ("fail", "tls_private_key")


def test_no_certificate_at_all() -> None:
    (found,) = _certificates.check("", "", "a.b")
    assert found.level == "fail"


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("ZOO.example.org", "zoo.example.org", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "localhost", True),
    ],
)
def test_names(pattern: str, host: str, expected: bool) -> None:
    assert _certificates.matches(pattern, host) is expected
