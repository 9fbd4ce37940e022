"""Fuzz target: nothing that an authenticated peer sends makes the media plane raise."""

from sfu.plane import (
    Codec,
    ConsumerConfig,
    ExtensionIds,
    MediaError,
    ProducerConfig,
    PurePlane,
    RtpPacket,
    SrtpContext,
    SrtpKeys,
    SrtpProfile,
    build_rtp,
)
from sfu.plane.rtcp import (
    Bye,
    Dlrr,
    DlrrBlock,
    Fir,
    Nack,
    Pli,
    ReceiverReferenceTime,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
)
from sfu.plane.transport_cc import TransportCc

_IDS = ExtensionIds(mid=1, rid=2, repaired_rid=3, abs_send_time=4, transport_cc=5, audio_level=6)
_KEYS = SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, bytes(range(28)), bytes(range(1, 29)))
_FAR_KEYS = SrtpKeys(_KEYS.profile, _KEYS.outbound, _KEYS.inbound)
_START = bytes((0x90, 0xF0, 0x81, 0x02, 7, 0x21, 0x00, 1, 2, 0x9D, 0x01, 0x2A, 64, 1, 180, 0))
_MORE = bytes((0x80, 0xF0, 0x81, 0x02, 7, 0x21, 0x55, 1, 2))


def _media(number: int, payload: bytes, *, payload_type: int = 96, ssrc: int = 50) -> bytes:
    extensions = {1: b"0", 3 if payload_type == 97 else 2: b"h", 5: bytes((0, number & 0xFF))}
    return build_rtp(RtpPacket(payload_type, number, 3000, ssrc, payload, marker=True, extensions=extensions))


def _joined(*packets: bytes) -> bytes:
    """Put packets into one input, each behind its length in one byte."""
    return b"".join(bytes((len(packet),)) + packet for packet in packets)


SEEDS: list[bytes] = [
    _joined(_media(1, _START), _media(2, _MORE), _media(4, _MORE), _media(9, b"\0\3" + _MORE, payload_type=97, ssrc=51)),
    _joined(_media(1, _START), Nack(1, 101, (2000, 2001)).build(), Pli(1, 101).build(), Fir(1, ((101, 1),)).build()),
    _joined(_media(1, _START), ReceiverReport(1, (ReportBlock(101, 9, 1, 2000, 4, 5, 6),)).build(), Remb(1, 9, (101,)).build()),
    _joined(SenderReport(50, 1 << 60, 9, 1, 1).build(), _media(1, _START), Bye((50,)).build(), _media(2, _START, ssrc=60)),
    _joined(ReceiverReferenceTime(9, 1 << 50).build(), Dlrr(9, (DlrrBlock(1, 2, 3),)).build()),
    _joined(_media(1, _START), TransportCc(1, 2, 0, 0, (1.0, None, 1.1)).build()),
]


def _plane() -> PurePlane:
    plane = PurePlane(3_900_000_000.0)
    plane.add_transport(1)
    plane.set_keys(1, _KEYS)
    plane.set_path(1, "path")
    codec = Codec(96, "VP8", 90_000, 97)
    plane.add_producer(ProducerConfig(1, 1, "video", "0", (codec,), _IDS, rids=("q", "h")))
    plane.add_consumer(ConsumerConfig(1, 1, 1, "1", codec, _IDS, 101, 102, "c", 2000, 3000, 0))
    plane.set_target(1, 1, 1, now=0.0)
    return plane


def one_input(data: bytes) -> None:
    """Send the packets in ``data``, each behind its length, first as they are, then protected; let all timers fire in between."""
    plane = _plane()
    far = SrtpContext(_FAR_KEYS)
    now = 1.0
    offset = 0
    while offset < len(data):
        packet = data[offset + 1 : offset + 1 + data[offset]]
        offset += 1 + data[offset]
        plane.receive(packet, "path", now)
        if len(packet) >= 12:
            _send_protected(plane, far, packet, now)
        now += 0.02
        while plane.next_deadline()[0] <= now:
            plane.handle_timer(now)
        plane.take_datagrams()
        plane.take_control()
        plane.take_events()
    plane.stats()
    plane.producer_stats(1)
    plane.consumer_stats(1)
    plane.remove_transport(1)


def _send_protected(plane: PurePlane, far: SrtpContext, packet: bytes, now: float) -> None:
    protect = far.protect_rtcp if 192 <= packet[1] <= 223 else far.protect_rtp
    try:
        protected = protect(packet)
    except MediaError:
        # Not even a header: libsrtp refuses to send it.
        return
    plane.receive(protected, "path", now)
