"""DTLS-SRTP for one transport (RFC 5764, RFC 8842), without I/O, on pyOpenSSL's public interface.

OpenSSL works on memory buffers here; its own retransmission timer reads the machine's clock, so the last flight is also resent from
this module, on the ``now`` that it is given.

Handshake records are not authenticated, and OpenSSL ends an association on the first one that it cannot make sense of. So every
record is checked before OpenSSL sees it, and an association that still dies before the handshake is complete is begun anew, a
bounded number of times: the peer repeats its hello anyway.
"""

from __future__ import annotations

import datetime
import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from sfu.dtls_records import MAX_DATAGRAM_BYTES, acceptable_records, is_encrypted_handshake, pack_records
from sfu.plane.interface import SrtpKeys, SrtpProfile

__all__ = [
    "DtlsAssociation",
    "DtlsClosed",
    "DtlsConnected",
    "DtlsEvent",
    "DtlsFailed",
    "DtlsIdentity",
    "DtlsRole",
    "DtlsState",
    "Fingerprint",
]

# DTLS 1.2. In 1.3 a record's header has another shape, and no peer needs it.
_DTLS_1_2 = 0xFEFD
# AEAD before HMAC: one pass over the packet. 128 bits are beyond reach, and shorter keys mean fewer rounds.
_PROFILES = (SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AEAD_AES_256_GCM, SrtpProfile.AES128_CM_SHA1_80)
# Key and salt bytes: RFC 7714 section 12, RFC 5764 section 4.1.2.
_KEY_SALT_BYTES = {
    SrtpProfile.AEAD_AES_128_GCM: (16, 12),
    SrtpProfile.AEAD_AES_256_GCM: (32, 12),
    SrtpProfile.AES128_CM_SHA1_80: (16, 14),
}
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
# Hash names of RFC 8122 that are still worth believing.
_HASHES: dict[str, hashes.HashAlgorithm] = {"sha-256": hashes.SHA256(), "sha-384": hashes.SHA384(), "sha-512": hashes.SHA512()}
# Browsers use certificates of 30 days; ours lives as long as the process, and nobody checks the dates of a self-signed one.
_VALID_DAYS = 365
# The first resend comes after a long round trip, then twice as late each time (RFC 6347 section 4.2.4.1, at WebRTC's pace).
_FIRST_RESEND_S = 0.2
_LAST_RESEND_S = 3.2
# Browsers give up after about as long; a peer that comes later starts with new ICE credentials.
_HANDSHAKE_TIMEOUT_S = 30.0
# A browser's hello takes two datagrams and comes a few times before its description reaches us.
_MAX_EARLY_DATAGRAMS = 8
# A forger can reset a handshake this often; each costs him a datagram from a path whose checks he could not have authenticated.
_MAX_RESETS = 16
_READ_BYTES = 65_536


class DtlsRole(enum.Enum):
    """Who sends the first hello; the values are those of ``a=setup`` (RFC 4145)."""

    CLIENT = "active"
    SERVER = "passive"


class DtlsState(enum.Enum):
    """Where the association stands."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A certificate's hash as in ``a=fingerprint`` (RFC 8122)."""

    algorithm: str
    """Lower case, for example ``sha-256``."""
    value: str
    """Upper-case hexadecimal bytes with colons between."""


@dataclass(frozen=True, slots=True)
class DtlsConnected:
    """The handshake is complete and the peer's certificate is the one that its description named."""

    keys: SrtpKeys


@dataclass(frozen=True, slots=True)
class DtlsFailed:
    """The handshake did not come to an end; ``reason`` is a word for logs and metrics."""

    reason: str


@dataclass(frozen=True, slots=True)
class DtlsClosed:
    """The peer said goodbye."""


DtlsEvent = DtlsConnected | DtlsFailed | DtlsClosed


@dataclass(frozen=True, slots=True)
class DtlsIdentity:
    """A certificate with its key and the OpenSSL context made from it: one per worker."""

    fingerprint: Fingerprint
    context: SSL.Context = field(repr=False)

    @classmethod
    def generate(cls, wall_s: float) -> DtlsIdentity:
        """Make a self-signed ECDSA P-256 certificate that is valid at ``wall_s`` (Unix seconds)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "salam")])
        today = datetime.datetime.fromtimestamp(wall_s, tz=datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # A day of slack on both sides for peers whose clock is wrong.
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=_VALID_DAYS))
            .sign(key, hashes.SHA256())
        )
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(_DTLS_1_2)
        context.set_max_proto_version(_DTLS_1_2)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
        context.set_cipher_list(_CIPHERS)
        context.use_privatekey(key)
        context.use_certificate(certificate)
        # The chain means nothing for self-signed certificates: the fingerprint in the signalled description is what counts.
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.set_tlsext_use_srtp(":".join(profile.value for profile in _PROFILES).encode())
        return cls(Fingerprint("sha-256", _hash_of(certificate, "sha-256")), context)


def _hash_of(certificate: x509.Certificate, algorithm: str) -> str:
    return certificate.fingerprint(_HASHES[algorithm]).hex(":").upper()


class DtlsAssociation:
    """One DTLS association.

    Datagrams that arrive before `start` are kept, a few of them: browsers begin as soon as a path works, and that may be before
    their description has reached us.
    """

    def __init__(self, identity: DtlsIdentity) -> None:
        self._identity = identity
        self._role = DtlsRole.SERVER
        self._fingerprints: tuple[Fingerprint, ...] = ()
        self._connection: SSL.Connection | None = None
        self._state = DtlsState.NEW
        self._early: list[bytes] = []
        self._flight: list[bytes] = []
        self._resend_s = math.inf
        self._interval_s = _FIRST_RESEND_S
        self._give_up_s = math.inf
        self._resets = 0
        self._dropped = 0
        self._datagrams: list[bytes] = []
        self._events: list[DtlsEvent] = []

    @property
    def state(self) -> DtlsState:
        """Where the association stands."""
        return self._state

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """What the peer's certificate must match, as given to `start`."""
        return self._fingerprints

    @property
    def dropped_records(self) -> int:
        """Records that were not passed to OpenSSL because they could only do harm."""
        return self._dropped

    def start(self, role: DtlsRole, fingerprints: Sequence[Fingerprint], now: float) -> None:
        """Begin the handshake; the peer's certificate must match one of ``fingerprints``. Ignored when begun already."""
        if self._state is not DtlsState.NEW:
            return
        self._role = role
        self._fingerprints = tuple(fingerprints)
        self._state = DtlsState.CONNECTING
        self._give_up_s = now + _HANDSHAKE_TIMEOUT_S
        self._open(now)
        early, self._early = self._early, []
        for data in early:
            self.receive(data, now)

    def receive(self, data: bytes, now: float) -> None:
        """Take one datagram from the transport's path; what is wrong with it costs at most a bounded number of fresh starts."""
        if self._state is DtlsState.NEW:
            if len(self._early) < _MAX_EARLY_DATAGRAMS:
                self._early.append(data)
            return
        if self._connection is None:
            return
        established = self._state is DtlsState.CONNECTED
        records, dropped = acceptable_records(data, from_client=self._role is DtlsRole.SERVER, established=established)
        self._dropped += dropped
        if not records:
            return
        self._connection.bio_write(records)
        if established:
            self._read(now, repeated=is_encrypted_handshake(records))
        else:
            self._handshake(now, records)

    def handle_timer(self, now: float) -> None:
        """Resend the last flight when it is due, or give up."""
        if self._state is not DtlsState.CONNECTING:
            return
        if now >= self._give_up_s:
            self._fail("dtls_timeout")
        elif now >= self._resend_s:
            self._datagrams += self._flight
            self._interval_s = min(self._interval_s * 2, _LAST_RESEND_S)
            self._resend_s = now + self._interval_s

    def next_deadline(self) -> float:
        """When `handle_timer` has something to do; infinity when nothing waits."""
        return min(self._resend_s, self._give_up_s) if self._state is DtlsState.CONNECTING else math.inf

    def close(self) -> None:
        """Say goodbye to the peer; idempotent."""
        if self._connection is not None and self._state is DtlsState.CONNECTED:
            try:
                self._connection.shutdown()
            except SSL.Error:
                # The peer's goodbye may have come first; there is nothing left to say then.
                self._dropped += 1
            self._datagrams += self._output()
        self._end(DtlsState.CLOSED)

    def take_datagrams(self) -> list[bytes]:
        """Return and clear the datagrams to send, in order."""
        taken, self._datagrams = self._datagrams, []
        return taken

    def take_events(self) -> list[DtlsEvent]:
        """Return and clear the events."""
        taken, self._events = self._events, []
        return taken

    def _open(self, now: float) -> None:
        connection = SSL.Connection(self._identity.context, None)
        connection.set_ciphertext_mtu(MAX_DATAGRAM_BYTES)
        self._connection = connection
        self._flight = []
        self._resend_s = math.inf
        if self._role is DtlsRole.CLIENT:
            connection.set_connect_state()
            self._handshake(now)
        else:
            connection.set_accept_state()

    def _handshake(self, now: float, records: bytes = b"") -> None:
        assert self._connection is not None
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._send_flight(now)
        except SSL.Error:
            self._reset(now, records)
        else:
            self._send_flight(now)
            self._complete(self._connection)

    def _send_flight(self, now: float) -> None:
        flight = self._output()
        if flight:
            self._flight = flight
            self._datagrams += flight
            self._interval_s = _FIRST_RESEND_S
            self._resend_s = now + self._interval_s

    def _reset(self, now: float, records: bytes) -> None:
        self._resets += 1
        if self._resets > _MAX_RESETS:
            # Now the alert that OpenSSL has ready is worth sending: it tells the peer why.
            self._datagrams += self._output()
            self._fail("dtls_handshake")
            return
        self._open(now)
        if self._role is DtlsRole.SERVER and records:
            # A client that began anew, as ours does, is understood by a fresh association. Tried once, so without the records
            # again.
            assert self._connection is not None
            self._connection.bio_write(records)
            self._handshake(now)

    def _complete(self, connection: SSL.Connection) -> None:
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or not self._matches(certificate):
            self._fail("dtls_fingerprint")
            return
        try:
            profile = SrtpProfile(connection.get_selected_srtp_profile().decode())
        except ValueError:
            self._fail("dtls_no_srtp")
            return
        self._state = DtlsState.CONNECTED
        self._events.append(DtlsConnected(self._export(connection, profile)))

    def _matches(self, certificate: x509.Certificate) -> bool:
        return any(
            known.algorithm in _HASHES and _hash_of(certificate, known.algorithm) == known.value for known in self._fingerprints
        )

    def _export(self, connection: SSL.Connection, profile: SrtpProfile) -> SrtpKeys:
        # Both keys come first, then both salts, the client's before the server's (RFC 5764 section 4.2).
        key_bytes, salt_bytes = _KEY_SALT_BYTES[profile]
        material = connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (key_bytes + salt_bytes))
        salts = material[2 * key_bytes :]
        client = material[:key_bytes] + salts[:salt_bytes]
        server = material[key_bytes : 2 * key_bytes] + salts[salt_bytes:]
        if self._role is DtlsRole.SERVER:
            return SrtpKeys(profile, inbound=client, outbound=server)
        return SrtpKeys(profile, inbound=server, outbound=client)

    def _read(self, now: float, *, repeated: bool) -> None:
        assert self._connection is not None
        try:
            # No data channel runs over this transport: application data is read only to be thrown away.
            self._connection.recv(_READ_BYTES)
        except SSL.WantReadError:
            pass
        except SSL.Error:
            # A close alert, or a fatal one; both were authenticated.
            self._end(DtlsState.CLOSED)
            self._events.append(DtlsClosed())
            return
        # A repeated last flight of the peer means that ours was lost. OpenSSL answers one that was sealed anew; one that was sent
        # again as it was looks like a replay to it.
        answer = self._output()
        if not answer and repeated and self._role is DtlsRole.SERVER and now >= self._resend_s:
            answer = self._flight
            self._resend_s = now + _FIRST_RESEND_S
        self._datagrams += answer

    def _output(self) -> list[bytes]:
        assert self._connection is not None
        out = b""
        while True:
            try:
                out += self._connection.bio_read(_READ_BYTES)
            except SSL.WantReadError:
                return pack_records(out)

    def _fail(self, reason: str) -> None:
        self._end(DtlsState.FAILED)
        self._events.append(DtlsFailed(reason))

    def _end(self, state: DtlsState) -> None:
        self._state = state
        self._connection = None
        self._early = []
        self._flight = []
