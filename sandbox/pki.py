"""The sandbox's certificate authorities and certificates (files are made once and kept)."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.paths import write_private

LOOPBACK = ("localhost", "127.0.0.1", "::1")
YEARS_CA, YEARS_LEAF = 10, 2


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path

    def certificate_base64(self) -> str:
        return base64.b64encode(self.certificate.read_bytes()).decode()

    def key_base64(self) -> str:
        return base64.b64encode(self.key.read_bytes()).decode()


class Authority:
    """A CA in a folder; every pair is made once and kept while its files are there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.pair = Pair(folder / "ca.crt", folder / "ca.key")
        if not self.pair.certificate.is_file():
            key = ec.generate_private_key(ec.SECP256R1())
            _save(self.pair, key, _ca_certificate(key, name))

    def server(self, name: str, hosts: tuple[str, ...] = LOOPBACK) -> Pair:
        """A server's pair for these host names and addresses."""
        return self._issue(name, x509.Name([_attribute("CN", hosts[0])]), hosts)

    def client(self, user: str, group: str | None = None) -> Pair:
        """A user's pair: Kubernetes reads the user from CN and the group from O."""
        attributes = [_attribute("CN", user)] + ([_attribute("O", group)] if group else [])
        return self._issue(f"user-{user.replace(':', '-')}", x509.Name(attributes), ())

    def _issue(self, name: str, subject: x509.Name, hosts: tuple[str, ...]) -> Pair:
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if pair.certificate.is_file() and pair.key.is_file():
            return pair
        ca = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())
        ca_key = serialization.load_pem_private_key(self.pair.key.read_bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        _save(pair, key, _leaf(subject, key.public_key(), hosts, ca.subject, ca_key))
        return pair


def self_signed(folder: Path, name: str, hosts: tuple[str, ...] = LOOPBACK) -> Pair:
    """A pair nobody trusts, for a server that has no proper one yet."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    if not pair.certificate.is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([_attribute("CN", "no certificate configured")])
        _save(pair, key, _leaf(subject, key.public_key(), hosts, subject, key))
    return pair


def signing_key(path: Path) -> Path:
    """An RSA key (for ServiceAccount tokens)."""
    if not path.is_file():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        write_private(path, _pem(key))
    return path


def _attribute(kind: str, value: str) -> x509.NameAttribute[str]:
    oid = NameOID.COMMON_NAME if kind == "CN" else NameOID.ORGANIZATION_NAME
    return x509.NameAttribute(oid, value)


def _builder(subject: x509.Name, issuer: x509.Name, years: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365 * years))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _ca_certificate(key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    subject = x509.Name([_attribute("CN", name)])
    public = key.public_key()
    return (
        _builder(subject, subject, YEARS_CA)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    hosts: tuple[str, ...],
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + (
        [ExtendedKeyUsageOID.SERVER_AUTH] if hosts else []
    )
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        _builder(subject, issuer, YEARS_LEAF)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(authority, critical=False)
    )
    if hosts:
        names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _save(pair: Pair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    write_private(pair.key, _pem(key))
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    write_private(pair.certificate, pem)  # last: its presence says the pair is whole
