"""TLS: what is spoken, WebSockets by it, and certificates that are replaced."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from tests.protocol.wire import BINARY, CLOSE, PING, TEXT
from tests.server.raw import PATIENCE, Raw, client_frame, dial, handshake, request, until

from theater import Actor, Binary, Connection, Event, Peer, Received, Request, Response, Text, UpgradeRequest
from theater.app import Theater, bind
from theater.config import Manifest
from theater.errors import ConfigError, Mistake
from theater.limits import Limits
from theater.server.tls import Certificate
from theater.testing import Server

pytestmark = pytest.mark.usefixtures("quiet")


class Echo(Actor):
    """Answers with what it gets, slowly if it is told to."""

    peer: Peer | None = None

    def upgrade_connection(self, request: UpgradeRequest):  # type: ignore[no-untyped-def]
        type(self).peer = request.peer
        return super().upgrade_connection(request)

    async def handle_websocket(self, connection: Connection, event: Event) -> Text | Binary | None:
        match event:
            case Received(Text() | Binary() as message):
                if message == Text("slow"):
                    await asyncio.sleep(0.01)
                return message
        return None

    def handle_request(self, request: Request) -> Response:
        return Response.text("hello\n")


class Files:
    """A certificate and its key as files."""

    def __init__(self, folder: Path, ca: trustme.CA, key_type: trustme.KeyType) -> None:
        folder.mkdir()
        made = ca.issue_cert("localhost", "127.0.0.1", key_type=key_type)
        self.chain, self.key = str(folder / "chain.pem"), str(folder / "key.pem")
        for index, blob in enumerate(made.cert_chain_pems):
            blob.write_to_path(self.chain, append=index > 0)
        made.private_key_pem.write_to_path(self.key)

    @property
    def der(self) -> bytes:
        first = Path(self.chain).read_text().partition("-----END CERTIFICATE-----")
        return ssl.PEM_cert_to_DER_cert(first[0] + first[1])

    def become(self, other: "Files") -> None:
        shutil.copy(other.chain, self.chain)
        shutil.copy(other.key, self.key)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    return Files(tmp_path / "one", ca, trustme.KeyType.ECDSA)


@pytest.fixture
def others(tmp_path: Path, ca: trustme.CA) -> Files:
    return Files(tmp_path / "two", ca, trustme.KeyType.RSA)


def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    return context


@asynccontextmanager
async def serving(certificate: Certificate, limits: Limits = Limits()) -> AsyncIterator[Server]:
    theater = Theater([Manifest.of(Echo)], limits)
    sock = bind("127.0.0.1", 0)
    await theater.start(sock, certificate.context)
    try:
        yield Server(theater, sock.getsockname()[1])
    finally:
        await theater.stop()


@asynccontextmanager
async def dial_tls(port: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=host, limit=1 << 22
    )
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def certificate_of(raw: Raw) -> bytes:
    found: bytes = raw.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return found


async def echoes(raw: Raw, word: bytes) -> None:
    raw.write(client_frame(TEXT, word))
    assert await raw.frame() == (0x81, word)


# What is spoken


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions(version: ssl.TLSVersion, files: Files, ca: trustme.CA) -> None:
    context = client_context(ca)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(Certificate(files.chain, files.key)) as server, dial_tls(server.port, context) as raw:
        spoken = raw.writer.get_extra_info("ssl_object")
        assert spoken.version() == version.name.replace("_", ".")
        assert spoken.selected_alpn_protocol() == "http/1.1"
        assert "GCM" in spoken.cipher()[0] or "CHACHA20" in spoken.cipher()[0]
        raw.write(request(fields=[("Host", "x")]))
        assert (await raw.answer()).body == b"hello\n"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_and_ciphers_are_refused(files: Files, ca: trustme.CA) -> None:
    old = client_context(ca)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    weak = client_context(ca)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    async with serving(Certificate(files.chain, files.key)) as server:
        for context in (old, weak):
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                async with dial_tls(server.port, context):
                    pass


async def test_plain_http_and_noise_are_dropped(files: Files) -> None:
    async with serving(Certificate(files.chain, files.key)) as server:
        for noise in (handshake(), b"\x16\x03\x01\xff\xff" + bytes(100), b"\0"):
            async with dial(server.port) as raw:
                raw.write(noise)
                raw.writer.write_eof()
                with suppress(ConnectionResetError):
                    assert b"HTTP" not in await raw.rest()


async def test_who_does_not_begin_a_handshake_is_cut_off(files: Files) -> None:
    limits = Limits(handshake_timeout=0.05)
    async with serving(Certificate(files.chain, files.key), limits) as server, dial(server.port) as raw:
        with suppress(ConnectionResetError):
            assert await raw.rest() == b""


# WebSockets


async def test_websocket(files: Files, ca: trustme.CA) -> None:
    """From the first protocol to the buffered one, in both directions, to the end."""
    async with serving(Certificate(files.chain, files.key)) as server:
        async with dial_tls(server.port, client_context(ca)) as raw:
            await raw.upgraded(handshake() + client_frame(TEXT, b"early") + client_frame(PING, b"ping"))
            assert {await raw.frame(), await raw.frame()} == {(0x81, b"early"), (0x8A, b"ping")}
            large = bytes(range(256)) * 4000
            raw.write(client_frame(BINARY, large))
            assert await raw.frame() == (0x82, large)
            for byte in client_frame(TEXT, b"byte by byte"):
                raw.write(bytes([byte]))
                await asyncio.sleep(0)
            assert await raw.frame() == (0x81, b"byte by byte")
            raw.write(client_frame(CLOSE, b"\x03\xe8"))
            assert await raw.frame() == (0x88, b"\x03\xe8")
            assert await raw.rest() == b""
        await until(lambda: not server.theater._hub.open)
        assert Echo.peer is not None
        assert Echo.peer.address == "127.0.0.1"


async def test_busy_actor_makes_its_client_wait(files: Files, ca: trustme.CA) -> None:
    limits = Limits(mailbox_high_water=4, mailbox_low_water=1)
    async with (
        serving(Certificate(files.chain, files.key), limits) as server,
        dial_tls(server.port, client_context(ca)) as raw,
    ):
        await raw.upgraded()
        for _ in range(50):
            raw.write(client_frame(TEXT, b"slow"))
        raw.write(client_frame(TEXT, b"last"))
        for _ in range(50):
            assert await raw.frame() == (0x81, b"slow")
        assert await raw.frame() == (0x81, b"last")


async def test_slow_reader_gets_everything(files: Files, ca: trustme.CA) -> None:
    limits = Limits(max_send_queue=1 << 26)
    async with (
        serving(Certificate(files.chain, files.key), limits) as server,
        dial_tls(server.port, client_context(ca)) as raw,
    ):
        await raw.upgraded()
        for _ in range(20):
            raw.write(client_frame(BINARY, bytes(1 << 20)))
        await asyncio.sleep(0.05)
        for _ in range(20):
            assert await raw.frame() == (0x82, bytes(1 << 20))


async def test_violation_is_told_and_the_connection_ends(files: Files, ca: trustme.CA) -> None:
    limits = Limits(close_timeout=0.1)
    async with (
        serving(Certificate(files.chain, files.key), limits) as server,
        dial_tls(server.port, client_context(ca)) as raw,
    ):
        await raw.upgraded()
        raw.write(client_frame(TEXT, b"\xff"))
        first, payload = await raw.frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xef")
        with suppress(ConnectionResetError, ssl.SSLError):
            assert await raw.rest() == b""
        await until(lambda: not server.theater._hub.open)


async def test_client_that_vanishes(files: Files, ca: trustme.CA) -> None:
    async with serving(Certificate(files.chain, files.key)) as server:
        async with dial_tls(server.port, client_context(ca)) as raw:
            await raw.upgraded()
            await echoes(raw, b"hello")
        await until(lambda: not server.theater._hub.open)


async def test_stop_says_goodbye(files: Files, ca: trustme.CA) -> None:
    async with (
        serving(Certificate(files.chain, files.key)) as server,
        dial_tls(server.port, client_context(ca)) as raw,
    ):
        await raw.upgraded()
        stopping = asyncio.ensure_future(server.theater.stop())
        assert await raw.frame() == (0x88, b"\x03\xe9")
        raw.write(client_frame(CLOSE, b"\x03\xe9"))
        assert await raw.rest() == b""
        async with asyncio.timeout(PATIENCE):
            await stopping


# Certificates


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # without and with SNI
async def test_new_certificate_is_for_new_connections(
    host: str, files: Files, others: Files, ca: trustme.CA
) -> None:
    certificate = Certificate(files.chain, files.key)
    before = files.der
    context = client_context(ca)
    context.set_alpn_protocols(["http/1.1"])
    async with serving(certificate) as server, dial_tls(server.port, context, host) as old:
        await old.upgraded()
        assert certificate_of(old) == before
        files.become(others)
        certificate.reload()
        async with dial_tls(server.port, context, host) as new:
            assert certificate_of(new) == others.der != before
            assert new.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            await new.upgraded()
            await echoes(new, b"new")
        await echoes(old, b"old")


@pytest.mark.parametrize("broken", ["chain", "key", "both"])
async def test_broken_certificate_leaves_the_old_one(
    broken: str, files: Files, others: Files, ca: trustme.CA
) -> None:
    certificate = Certificate(files.chain, files.key)
    before = files.der
    async with serving(certificate) as server:
        if broken != "key":
            shutil.copy(others.chain, files.chain)
        if broken != "chain":
            shutil.copy(files.chain, files.key)
        with pytest.raises(ConfigError):
            certificate.reload()
        async with dial_tls(server.port, client_context(ca)) as raw:
            assert certificate_of(raw) == before
            await raw.upgraded()


def wrong(chain: str, key: str) -> Mistake:
    with pytest.raises(ConfigError) as error:
        Certificate(chain, key)
    [mistake] = error.value.mistakes
    return mistake


def test_files_that_cannot_be_read(files: Files, tmp_path: Path) -> None:
    none, folder = str(tmp_path / "none"), str(tmp_path)
    chain, key = "a certificate chain in PEM", "a private key in PEM"
    assert wrong(none, files.key) == Mistake(none, "", "no such file", chain)
    assert wrong(files.chain, none) == Mistake(none, "", "no such file", key)
    assert wrong(folder, files.key) == Mistake(folder, "", "is a directory", chain)


def test_files_that_are_something_else(files: Files, others: Files, tmp_path: Path) -> None:
    assert wrong(files.key, files.key) == Mistake(
        files.key, "", "no certificate", "a certificate chain in PEM"
    )
    assert wrong(files.chain, files.chain) == Mistake(
        files.chain, "", "no private key", "a private key in PEM"
    )
    same_kind = Files(tmp_path / "three", trustme.CA(), trustme.KeyType.ECDSA)
    for key in (same_kind.key, others.key):
        assert wrong(files.chain, key) == Mistake(
            key, "", "the key of another certificate", f"that of {files.chain}"
        )
    Path(files.chain).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    found = wrong(files.chain, files.key)
    assert found.found.startswith(f"what OpenSSL does not take, with {files.key} (")


def test_key_with_a_password_is_not_asked_for(files: Files) -> None:
    path = Path(files.key)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    for kind in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        encryption = serialization.BestAvailableEncryption(b"secret")
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, encryption))
        assert wrong(files.chain, files.key) == Mistake(files.key, "", "a key with a password", "one without")
