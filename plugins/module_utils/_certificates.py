# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether a certificate and a key serve a host: RFC 5280 dates and names, RFC 6125 wildcards."""

from __future__ import annotations

import datetime
import ipaddress
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils._findings import (
    Findings,
    fail,
    ok,
    warn,
)

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    CRYPTOGRAPHY = True
except ImportError:  # it comes with ansible-core
    CRYPTOGRAPHY = False

SOON = datetime.timedelta(days=14)


def check(
    certificate: str,
    private_key: str,
    host: str,
    about: str = "tls_certificate",
    about_key: str = "tls_private_key",
) -> Findings:
    """Judge a PEM certificate chain and its key for a host; never tells a part of the key."""
    if not CRYPTOGRAPHY:
        return warn("TLS", "not checked: the Python library cryptography is missing", about)
    cure = "Give the PEM text of the certificate for this host, then those of its issuers."
    try:
        found = x509.load_pem_x509_certificates(certificate.encode())[0]
    except (ValueError, IndexError):
        return fail("TLS", "this is no PEM certificate", about, cure)
    problems: Findings = []
    names = names_of(found)
    if host and not any(matches(name, host) for name in names):
        said = f"the certificate is for {', '.join(names) or 'no host'}, not for {host}"
        problems += fail("TLS", said, about, "Give a certificate for this host.")
    now = datetime.datetime.now(datetime.timezone.utc)
    end = found.not_valid_after_utc
    if end <= now:
        said = f"the certificate expired on {end:%Y-%m-%d}"
        problems += fail("TLS", said, about, "Renew it.")
    elif found.not_valid_before_utc > now:
        said = (
            f"the certificate is not valid before {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        )
        problems += fail("TLS", said, about, "Check the clock of this machine, or wait.")
    elif end - now < SOON:
        problems += warn("TLS", f"the certificate expires on {end:%Y-%m-%d}", about, "Renew it.")
    problems += _key(found, private_key, about_key)
    return problems or ok("TLS", f"a certificate for {host}, valid until {end:%Y-%m-%d}", about)


def _key(certificate: t.Any, private_key: str, about: str) -> Findings:
    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError):
        cure = "Give the PEM text of the key, without a passphrase."
        return fail("TLS", "the private key cannot be read", about, cure)
    if _public(key.public_key()) == _public(certificate.public_key()):
        return []
    return fail("TLS", "the private key is not that of the certificate", about, "Give its key.")


def _public(key: t.Any) -> bytes:
    encoded: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def names_of(certificate: t.Any) -> t.List[str]:
    """Return the DNS names and addresses a certificate is for; the common name counts no more."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    names = list(extension.value.get_values_for_type(x509.DNSName))
    return names + [str(ip) for ip in extension.value.get_values_for_type(x509.IPAddress)]


def matches(pattern: str, host: str) -> bool:
    """Whether a name of a certificate covers a host; ``*`` stands for exactly one label."""
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    try:
        return ipaddress.ip_address(pattern) == ipaddress.ip_address(host)
    except ValueError:
        pass
    if pattern.startswith("*."):
        return "." in host and host.split(".", 1)[1] == pattern[2:]
    return pattern == host
