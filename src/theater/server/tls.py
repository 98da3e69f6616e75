"""TLS: a certificate and its key, which may be replaced while the server runs."""

import ssl
from pathlib import Path
from typing import Final

from theater.errors import ConfigError, Mistake

# Forward secrecy and authenticated encryption; TLS 1.3 has no others.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

_MISMATCHES: Final = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED")  # the latter of keys of another kind


class Certificate:
    """A certificate and its private key.

    Args:
        chain: PEM file with the certificate, and those of its issuers behind it.
        key: PEM file with the private key, without a password.

    Attributes:
        context: for `ssl=` of a server. It follows `reload`.

    Raises:
        ConfigError: a file cannot be read, or they do not belong together.
    """

    def __init__(self, chain: str, key: str) -> None:
        self._chain = chain
        self._key = key
        self._latest = self.context = self._load()
        # An open server cannot be given another context, but each of its handshakes can. It is
        # called for clients that name no host, too.
        self.context.sni_callback = self._use_latest

    def reload(self) -> None:
        """Reads the files again, for connections that begin from now on.

        Raises:
            ConfigError: as above; the certificate stays as it was.
        """
        self._latest = self._load()

    def _use_latest(self, connection: ssl.SSLObject, _host: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._latest

    def _load(self) -> ssl.SSLContext:
        chain = _read(self._chain, "a certificate chain in PEM")
        key = _read(self._key, "a private key in PEM")
        if b"-----BEGIN CERTIFICATE-----" not in chain:
            raise _mistake(self._chain, "no certificate", "a certificate chain in PEM")
        if b"PRIVATE KEY-----" not in key:
            raise _mistake(self._key, "no private key", "a private key in PEM")
        if b"ENCRYPTED" in key:
            raise _mistake(self._key, "a key with a password", "one without")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._chain, self._key, password="")  # never asks at the terminal
        except ssl.SSLError as error:
            if error.reason in _MISMATCHES:
                raise _mistake(
                    self._key, "the key of another certificate", f"that of {self._chain}"
                ) from error
            found = f"what OpenSSL does not take, with {self._key} ({error.reason or error})"
            raise _mistake(self._chain, found, "a certificate chain and its key in PEM") from error
        return context


def _read(file: str, expected: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
        raise _mistake(file, found, expected) from error


def _mistake(file: str, found: str, expected: str) -> ConfigError:
    return ConfigError([Mistake(file, "", found, expected)])
