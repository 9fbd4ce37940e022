"""DTLS between two associations in memory: loss, reordering, junk, forged certificates, under simulated time."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.dtls import (
    DtlsAssociation,
    DtlsClosed,
    DtlsConnected,
    DtlsEvent,
    DtlsFailed,
    DtlsIdentity,
    DtlsRole,
    DtlsState,
    Fingerprint,
)
from sfu.dtls_records import MAX_DATAGRAM_BYTES, acceptable_records, pack_records
from sfu.plane.interface import SrtpProfile

SERVER_IDENTITY = DtlsIdentity.generate(1_700_000_000.0)
CLIENT_IDENTITY = DtlsIdentity.generate(1_700_000_000.0)

# Each of these ended an association when OpenSSL saw it: an unencrypted fatal alert, a cut-off handshake message, a Finished in the
# clear, a server's message sent to the server, an overlong message.
JUNK = [
    bytes.fromhex("15fefd00000000000000000002022f"),
    bytes.fromhex("16fefd00000000000000010004deadbeef"),
    bytes.fromhex("16feff0000000000000000001401000008000000000000000008fefd0000000000000000")[:20],
    bytes.fromhex("16fefd0000000000000001000c140000000000000000000000"),
    bytes.fromhex("16fefd0000000000000001000c0e0000000000000000000000"),
    bytes.fromhex("16fefd0000000000000001000c01ffffff0000000000000000"),
    bytes.fromhex("16fefd00000000000000050000"),
    b"\x16",
    b"",
]


class Pair:
    """A client and a server with a link between that a test may bend."""

    def __init__(self, *, server_believes: Fingerprint = CLIENT_IDENTITY.fingerprint) -> None:
        self.now = 100.0
        self.client = DtlsAssociation(CLIENT_IDENTITY)
        self.server = DtlsAssociation(SERVER_IDENTITY)
        self.events: dict[str, list[DtlsEvent]] = {"client": [], "server": []}
        self.server.start(DtlsRole.SERVER, [server_believes], self.now)
        self.client.start(DtlsRole.CLIENT, [SERVER_IDENTITY.fingerprint], self.now)

    def run(self, loss: "random.Random | None" = None, loss_rate: float = 0.0, until_s: float = 60.0) -> None:
        while self.now < 100.0 + until_s:
            moved = self._exchange(loss, loss_rate)
            if moved:
                continue
            deadline = min(self.client.next_deadline(), self.server.next_deadline())
            if deadline == float("inf"):
                return
            self.now = max(self.now, deadline)
            self.client.handle_timer(self.now)
            self.server.handle_timer(self.now)

    def _exchange(self, loss: "random.Random | None", loss_rate: float) -> bool:
        moved = False
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            datagrams = sender.take_datagrams()
            if loss is not None:
                loss.shuffle(datagrams)
            for datagram in datagrams:
                moved = True
                assert len(datagram) <= MAX_DATAGRAM_BYTES
                if loss is None or loss.random() >= loss_rate:
                    receiver.receive(datagram, self.now)
        self.events["client"] += self.client.take_events()
        self.events["server"] += self.server.take_events()
        return moved

    def keys_agree(self) -> bool:
        (client,) = [event.keys for event in self.events["client"] if isinstance(event, DtlsConnected)]
        (server,) = [event.keys for event in self.events["server"] if isinstance(event, DtlsConnected)]
        return (client.inbound, client.outbound, client.profile) == (server.outbound, server.inbound, server.profile)


def test_handshake_agrees_on_keys() -> None:
    pair = Pair()
    pair.run()
    assert (pair.client.state, pair.server.state) == (DtlsState.CONNECTED, DtlsState.CONNECTED)
    assert pair.keys_agree()
    (event,) = pair.events["server"]
    assert isinstance(event, DtlsConnected)
    assert event.keys.profile is SrtpProfile.AEAD_AES_128_GCM
    assert len(event.keys.inbound) == len(event.keys.outbound) == 28
    assert event.keys.inbound.hex() not in repr(event)


@pytest.mark.parametrize("seed", range(12))
def test_handshake_survives_loss_and_reordering(seed: int) -> None:
    pair = Pair()
    pair.run(random.Random(seed), loss_rate=0.3)
    # The server is done when it has the client's Finished; the client's retransmission fetches a lost last flight.
    assert pair.server.state is DtlsState.CONNECTED
    assert pair.client.state is DtlsState.CONNECTED
    assert pair.keys_agree()


def test_junk_before_during_and_after_is_ignored() -> None:
    pair = Pair()
    for junk in JUNK:
        pair.server.receive(junk, pair.now)
        pair.client.receive(junk, pair.now)
    *_, hello = pair.client.take_datagrams()
    pair.server.receive(hello, pair.now)
    for junk in JUNK:
        pair.server.receive(junk, pair.now)
    pair.run()
    for junk in JUNK:
        pair.server.receive(junk, pair.now)
        pair.client.receive(junk, pair.now)
    pair.run()
    assert pair.server.state is DtlsState.CONNECTED
    assert pair.client.state is DtlsState.CONNECTED
    assert pair.keys_agree()
    assert pair.server.dropped_records > 0


def test_a_forged_hello_only_costs_a_reset() -> None:
    pair = Pair()
    garbage = b"\x01\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x20" + bytes(32)
    forged = b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x07" + len(garbage).to_bytes(2, "big") + garbage
    pair.server.receive(forged, pair.now)
    pair.run()
    assert pair.server.state is DtlsState.CONNECTED
    assert pair.keys_agree()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.binary(max_size=80) | st.builds(lambda tail: bytes.fromhex("16feff0000000000000000") + tail, st.binary(max_size=60))
    )
)
def test_garbage_never_raises(datagrams: list[bytes]) -> None:
    server = DtlsAssociation(SERVER_IDENTITY)
    for datagram in datagrams:
        server.receive(datagram, 0.0)
    server.start(DtlsRole.SERVER, [CLIENT_IDENTITY.fingerprint], 0.0)
    for datagram in datagrams:
        server.receive(datagram, 0.0)


def test_early_datagrams_wait_for_start() -> None:
    client = DtlsAssociation(CLIENT_IDENTITY)
    client.start(DtlsRole.CLIENT, [SERVER_IDENTITY.fingerprint], 0.0)
    server = DtlsAssociation(SERVER_IDENTITY)
    for datagram in client.take_datagrams():
        server.receive(datagram, 0.0)
    assert server.take_datagrams() == []
    server.start(DtlsRole.SERVER, [CLIENT_IDENTITY.fingerprint], 0.0)
    assert server.take_datagrams()


def test_wrong_certificate_fails() -> None:
    pair = Pair(server_believes=Fingerprint("sha-256", ":".join(["AB"] * 32)))
    pair.run()
    assert pair.server.state is DtlsState.FAILED
    assert pair.events["server"] == [DtlsFailed("dtls_fingerprint")]


def test_unknown_hash_is_not_believed() -> None:
    pair = Pair(server_believes=Fingerprint("sha-1", ":".join(["AB"] * 20)))
    pair.run()
    assert pair.server.state is DtlsState.FAILED


def test_silence_ends_in_a_timeout() -> None:
    client = DtlsAssociation(CLIENT_IDENTITY)
    client.start(DtlsRole.CLIENT, [SERVER_IDENTITY.fingerprint], 0.0)
    sent = 0
    now = 0.0
    while client.next_deadline() != float("inf"):
        now = client.next_deadline()
        client.handle_timer(now)
        sent += len(client.take_datagrams())
    assert client.take_events() == [DtlsFailed("dtls_timeout")]
    assert now == 30.0
    assert 5 <= sent <= 20


def test_goodbye_reaches_the_peer() -> None:
    pair = Pair()
    pair.run()
    pair.client.close()
    pair.client.close()
    pair.run()
    assert pair.server.state is DtlsState.CLOSED
    assert pair.events["server"][-1] == DtlsClosed()


def test_records_stay_whole_when_packed() -> None:
    records = [b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2, "big") + bytes(size) for size in (700, 500, 100, 1100)]
    datagrams = pack_records(b"".join(records))
    assert b"".join(datagrams) == b"".join(records)
    assert [len(datagram) for datagram in datagrams] == [713, 513 + 113, 1113]


@given(st.binary(max_size=100), st.booleans(), st.booleans())
def test_record_filter_takes_anything(data: bytes, from_client: bool, established: bool) -> None:
    kept, _ = acceptable_records(data, from_client=from_client, established=established)
    assert len(kept) <= len(data)
