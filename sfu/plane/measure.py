"""Measures the CPU cost of forwarding: ``python -m sfu.plane.measure [--subscribers N] [--packets N]``.

One VP8 layer goes to N subscribers with all header extensions; SRTP both ways is included, sockets are not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from sfu.plane.interface import Codec, ConsumerConfig, ExtensionIds, ProducerConfig, SrtpKeys, SrtpProfile
from sfu.plane.plane import PurePlane
from sfu.plane.rtp import RtpPacket, build_rtp
from sfu.plane.srtp import SrtpContext

__all__ = ["measure"]

_PAYLOAD_BYTES = 1100
_PACKETS_PER_FRAME = 8
_PACKET_INTERVAL_S = 1 / 250
_IDS = ExtensionIds(mid=1, rid=2, repaired_rid=3, abs_send_time=4, transport_cc=5)


def _prepare(subscribers: int) -> tuple[PurePlane, SrtpContext]:
    plane = PurePlane(3_900_000_000.0)
    plane.add_transport(0)
    inbound, outbound = bytes(range(28)), bytes(range(1, 29))
    plane.set_keys(0, SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, inbound, outbound))
    plane.set_path(0, "publisher")
    codec = Codec(96, "VP8", 90_000, 97)
    plane.add_producer(ProducerConfig(0, 0, "video", "0", (codec,), _IDS, rids=("f",)))
    for index in range(1, subscribers + 1):
        plane.add_transport(index)
        plane.set_keys(index, SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, outbound, inbound))
        plane.set_path(index, f"subscriber {index}")
        plane.add_consumer(ConsumerConfig(index, index, 0, "0", codec, _IDS, 1000 + index, 5000 + index, "c", 2000, 3000, 0))
        plane.set_target(index, 0, now=0.0)
    return plane, SrtpContext(SrtpKeys(SrtpProfile.AEAD_AES_128_GCM, outbound, inbound))


def _packets(context: SrtpContext, count: int) -> list[bytes]:
    packets = []
    for number in range(count):
        index = number % _PACKETS_PER_FRAME
        picture = number // _PACKETS_PER_FRAME
        start = index == 0
        head = bytes((0x90 if start else 0x80, 0xE0)) + (0x8000 | picture & 0x7FFF).to_bytes(2, "big") + bytes((picture & 0xFF, 0))
        payload = head + bytes((0 if number == 0 else 1,)) + bytes(_PAYLOAD_BYTES - 7)
        extensions = {1: b"0", 2: b"f", 4: bytes(3), 5: (number & 0xFFFF).to_bytes(2, "big")}
        marker = index == _PACKETS_PER_FRAME - 1
        packet = RtpPacket(96, number & 0xFFFF, picture * 3000, 42, payload, marker=marker, extensions=extensions)
        packets.append(context.protect_rtp(build_rtp(packet)))
    return packets


def measure(subscribers: int, packets: int) -> dict[str, float | int | str]:
    """Return CPU microseconds per received and per forwarded packet, with the number of packets that came out."""
    plane, context = _prepare(subscribers)
    datagrams = _packets(context, packets)
    forwarded = 0
    now = 1.0
    started = time.process_time()
    for datagram in datagrams:
        now += _PACKET_INTERVAL_S
        plane.receive(datagram, "publisher", now)
        forwarded += len(plane.take_datagrams())
        if plane.next_deadline()[0] <= now:
            plane.handle_timer(now)
            plane.take_datagrams()
        plane.take_events()
    elapsed_s = time.process_time() - started
    return {
        "subscribers": subscribers,
        "received": packets,
        "forwarded": forwarded,
        "us_per_received": round(1e6 * elapsed_s / packets, 2),
        "us_per_forwarded": round(1e6 * elapsed_s / forwarded, 2) if forwarded else 0.0,
        "machine": f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}",
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=20)
    parser.add_argument("--packets", type=int, default=4000)
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(measure(arguments.subscribers, arguments.packets)) + "\n")


if __name__ == "__main__":
    main()
