"""The certificate a client gets: chosen by the name it asks for (SNI)."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

KeyPair = tuple[bytes, bytes]
"""Certificate chain and private key, PEM."""


class PairError(ValueError):
    """The certificate and key cannot be served."""


def server_context(pair: KeyPair | None = None) -> ssl.SSLContext:
    """A server's context; without a pair every handshake fails. Raises PairError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    if pair is not None:
        # OpenSSL's loader takes files only; this one is private and gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair[0] + b"\n" + pair[1])
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except ssl.SSLError as error:
                raise PairError(f"invalid certificate or key: {error.reason}") from error
    return context


class Certificates:
    """Pairs by host name; ``*.name`` covers one label, as certificates do."""

    def __init__(self, default_cert: Path | None = None, default_key: Path | None = None) -> None:
        pair = None
        if default_cert is not None and default_key is not None:
            pair = (default_cert.read_bytes(), default_key.read_bytes())
        self.listener = server_context(pair)
        self.listener.sni_callback = self._choose
        self._contexts: dict[KeyPair, ssl.SSLContext] = {}
        self._hosts: dict[str, ssl.SSLContext] = {}

    def check(self, pair: KeyPair) -> None:
        """Raises PairError when the pair cannot be served."""
        if pair not in self._contexts:
            self._contexts[pair] = server_context(pair)

    def publish(self, pairs: Mapping[str, KeyPair]) -> None:
        """Serve these, and only these, from the next handshake on."""
        for pair in pairs.values():
            self.check(pair)
        self._hosts = {host.lower(): self._contexts[pair] for host, pair in pairs.items()}
        self._contexts = {p: c for p, c in self._contexts.items() if p in set(pairs.values())}

    def context(self, name: str) -> ssl.SSLContext:
        """The context for a server name; the default where none is published."""
        wildcard = "*." + name.lower().partition(".")[2]
        return self._hosts.get(name.lower()) or self._hosts.get(wildcard) or self.listener

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name:
            connection.context = self.context(name)
