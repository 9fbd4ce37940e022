"""Writes sframe.json: known answers for media frames and media keys. Deterministic; run it from the repository's root.

Kinds of cases: ``header``, ``header_refused``, ``key`` (one SFrame object), ``key_refused``, ``ratchet``, ``frame`` (a whole one
of a codec), ``frame_refused``, ``codec_refused``, ``sender`` and ``receiver`` (a story of steps, each with what comes of it).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from e2ee.call_keys import KeyRing, MediaKey, SenderKeys, SendKey
from e2ee.errors import E2EEError
from e2ee.frames import Codec, metadata
from e2ee.sframe import FrameKey, Header, ratchet

Case = dict[str, Any]
START = b"\x00\x00\x00\x01"
SPS = START + bytes.fromhex("6742c01fda02802dd0800000030080001e4f")
PPS = START + bytes.fromhex("68ce3c80")
IDR = START + bytes.fromhex("658884")
_FLIP = 0x20


def _bytes(label: str, size: int) -> bytes:
    return hashlib.shake_256(label.encode()).digest(size)


def _headers() -> list[Case]:
    numbers = (0, 7, 8, 255, 256, 2**16, 2**24, 2**32, 2**36 - 1, 2**40, 2**48, 2**53, 2**56, 2**64 - 1)
    pairs = [(kid, numbers[-1 - index]) for index, kid in enumerate(numbers)]
    cases: list[Case] = [
        {"type": "header", "kid": str(kid), "counter": str(counter), "encoded": Header(kid, counter).encode().hex()}
        for kid, counter in pairs
    ]
    refused = ("", "80", "08", "9801", "8007", "0807", "900001", "090001", "f0" + "00" * 8, "ff" + "ff" * 15)
    return cases + [{"type": "header_refused", "encoded": encoded, "error": "malformed_message"} for encoded in refused]


def _keys() -> list[Case]:
    cases: list[Case] = []
    for kid, counter, size, tag in (
        (0, 0, 0, ""),
        (7, 7, 1, "a"),
        (16, 8, 100, "b"),
        (0x123, 0x4567, 1000, "c"),
        (2**36 - 1, 2**53 - 1, 33, "d"),
    ):
        base_key = _bytes(f"base {kid}", 64 if kid & 15 else 32)
        plain, extra = _bytes(f"plain {kid}", size), tag.encode() * 3
        sealed = FrameKey(kid, base_key).seal(counter, plain, extra)
        key = {"kid": str(kid), "base_key": base_key.hex(), "metadata": extra.hex()}
        cases.append({"type": "key", **key, "counter": str(counter), "plain": plain.hex(), "sealed": sealed.hex()})
        for index in (0, len(sealed) // 2, len(sealed) - 1):
            changed = bytearray(sealed)
            changed[index] ^= _FLIP
            cases.append(
                {"type": "key_refused", **key, "sealed": changed.hex(), "error": _error(kid, base_key, bytes(changed), extra)}
            )
        cases.append({"type": "key_refused", **key, "metadata": "ff", "sealed": sealed.hex(), "error": "decryption_failed"})
        cases.append({"type": "key_refused", **key, "sealed": sealed[:15].hex(), "error": "malformed_message"})
    steps = [_bytes("ratchet", 32)]
    for _ in range(15):
        steps.append(ratchet(steps[-1]))
    return [*cases, {"type": "ratchet", "steps": [step.hex() for step in steps]}]


def _error(kid: int, base_key: bytes, sealed: bytes, extra: bytes) -> str:
    try:
        FrameKey(kid, base_key).open(sealed, extra)
    except E2EEError as error:
        return error.code
    raise AssertionError("a changed frame opened")


def _frames() -> list[Case]:
    cases: list[Case] = []
    frames: list[tuple[Codec, str, bytes]] = [
        (Codec.OPUS, "microphone", b""),
        (Codec.OPUS, "screen_audio", _bytes("opus", 80)),
        (Codec.VP8, "camera", b"\x10"),
        (Codec.VP8, "screen", _bytes("vp8", 300)),
        (Codec.VP9, "camera", _bytes("vp9", 300)),
        (Codec.DATA, "", b"a message"),
        (Codec.H264, "camera", SPS + PPS + IDR + _bytes("idr", 200)),
        (
            Codec.H264,
            "camera",
            b"\x00\x00\x01" + SPS[4:] + b"\x00\x00\x00\x01" + PPS[4:] + b"\x00\x00\x01\x41\x9a\x00" + _bytes("p", 60),
        ),
        (Codec.H264, "camera", IDR + _bytes("slice", 30) + IDR + _bytes("another", 30)),
    ]
    for number, (codec, stream, frame) in enumerate(frames):
        cases.append(_frame(codec, stream, frame, _bytes(f"frame {number}", 32), 0, number))
    # Objects in which emulation prevention has something to do: header bytes of zeros, and ciphertext found by search.
    zeros = IDR[:-2] + b"\x88\x00" + _bytes("e", 40)
    cases += [_frame(Codec.H264, "camera", zeros, _bytes("zeros", 32), 0, counter) for counter in (0, 2, 256, 65_536)]
    found = 0
    for counter in range(100_000):
        case = _frame(Codec.H264, "camera", IDR + bytes(60), _bytes("search", 32), 0, counter)
        if b"\x00\x00\x03" in bytes.fromhex(case["sealed"])[len(IDR) :]:
            cases.append(case)
            found += 1
        if found == 3:
            break
    for codec, bad in (
        (Codec.VP8, b""),
        (Codec.H264, b""),
        (Codec.H264, b"x" + IDR),
        (Codec.H264, SPS + PPS),
        (Codec.H264, START),
        (Codec.H264, IDR[:-1]),
    ):
        cases.append({"type": "frame_refused", "codec": codec.value, "frame": bad.hex(), "error": "malformed_message"})
    names = ("video/AV1", "AV1", "video/H265", "audio/red", "audio/PCMU", "")
    return cases + [{"type": "codec_refused", "codec": name, "error": "codec_not_supported"} for name in names]


def _frame(codec: Codec, stream: str, frame: bytes, base_key: bytes, kid: int, counter: int) -> Case:
    clear, secret = codec.split(frame)
    sealed = codec.join(clear, FrameKey(kid, base_key).seal(counter, secret, metadata(clear, codec.kind, stream)))
    return {
        "type": "frame",
        "codec": codec.value,
        "stream": stream,
        "kid": str(kid),
        "counter": str(counter),
        "base_key": base_key.hex(),
        "frame": frame.hex(),
        "clear": clear.hex(),
        "sealed": sealed.hex(),
        # What the decoder is given: start codes are four bytes long then.
        "opened": (clear + secret).hex(),
    }


def _sender() -> Case:
    """A call in which people come, go, and acknowledge or not."""
    draws = _bytes("sender", 32 * 8)
    position = 0

    def random(size: int) -> bytes:
        nonlocal position
        position += size
        return draws[position - size : position]

    keys = SenderKeys(["b", "c"], random=random)
    steps: list[Case] = [{"do": "start", "peers": ["b", "c"], "events": _events(keys.events_at_start())}]

    def did(name: str, events: list[Any], **arguments: Any) -> None:
        steps.append({"do": name, **arguments, "events": _events(events), "kid": str(keys.kid)})
        frame = b"\x10frame %d" % len(steps)
        sealed = keys.seal(Codec.VP8, "camera", frame)
        steps.append({"do": "seal", "codec": "vp8", "stream": "camera", "frame": frame.hex(), "sealed": sealed.hex()})

    did("add", keys.add("d", 1.0), peer="d", now=1.0)
    did("add", keys.add("d", 1.0), peer="d", now=1.0)
    did("remove", keys.remove("b", 2.0), peer="b", now=2.0)
    did("acknowledged", keys.acknowledged("c", 1), peer="c", generation=1)
    did("add", keys.add("e", 2.5), peer="e", now=2.5)
    did("acknowledged", keys.acknowledged("d", 1), peer="d", generation=1)
    did("remove", keys.remove("c", 10.0), peer="c", now=10.0)
    did("remove", keys.remove("d", 11.0), peer="d", now=11.0)
    did("on_time", keys.on_time(11.9), now=11.9)
    did("on_time", keys.on_time(12.0), now=12.0)
    for number in range(15):
        did("add", keys.add(f"p{number}", 13.0), peer=f"p{number}", now=13.0)
    did("add", keys.add("last", 13.0), peer="last", now=13.0)
    did("on_time", keys.on_time(15.0), now=15.0)
    return {"type": "sender", "random": draws.hex(), "steps": steps}


def _events(events: list[Any]) -> list[Case]:
    return [
        {"send_key": event.peer, "generation": event.key.generation, "step": event.key.step, "base_key": event.key.base_key.hex()}
        if isinstance(event, SendKey)
        else {"key_frame_needed": True}
        for event in events
    ]


def _receiver() -> Case:
    ring = KeyRing[str]()
    first, second, other = (_bytes(f"receiver {number}", 32) for number in range(3))
    steps: list[Case] = []

    def add(sender: str, key: MediaKey) -> None:
        ring.add(sender, key)
        steps.append(
            {"do": "add", "sender": sender, "generation": key.generation, "step": key.step, "base_key": key.base_key.hex()}
        )

    def open_(sender: str, key: MediaKey, counter: int, now: float, change: int = -1) -> None:
        plain = b"frame %d" % counter
        clear = b"\x10"
        extra = metadata(clear, Codec.VP8.kind, "camera")
        sealed = bytearray(clear + FrameKey(key.kid, key.base_key).seal(counter, plain, extra))
        if change >= 0:
            sealed[change] ^= 1
        step: Case = {"do": "open", "sender": sender, "codec": "vp8", "stream": "camera", "frame": sealed.hex(), "now": now}
        try:
            step["opened"] = ring.open(sender, Codec.VP8, "camera", bytes(sealed), now).hex()
        except E2EEError as error:
            step["error"] = error.code
        steps.append(step)

    zero = MediaKey(0, 0, first)
    one, five = zero.next(), zero
    for _ in range(5):
        five = five.next()
    open_("a", zero, 0, 0.0)
    add("a", zero)
    for counter in (0, 0, 5, 3, 3, 1028, 5, 4, 1029, 2**53 - 1, 2**64 - 1, 2**53 - 1):
        open_("a", zero, counter, 1.0)
    open_("b", zero, 9, 1.0)
    for change in (0, 1, 2, 5, -2):
        open_("a", one, 0, 2.0, change if change >= 0 else 12)
    open_("a", one, 0, 2.0)
    open_("a", zero, 2**64 - 3, 3.0)
    open_("a", five, 0, 4.0)
    open_("a", one.next(), 0, 4.0)
    open_("a", one, 1, 11.9)
    open_("a", zero, 2**64 - 4, 11.9)
    open_("a", zero, 2**64 - 5, 12.0)
    open_("a", one, 2, 14.0)
    add("a", MediaKey(1, 0, second))
    add("a", five)
    open_("a", MediaKey(1, 0, second), 0, 20.0)
    open_("a", five, 1, 29.0)
    open_("a", five, 2, 30.0)
    add("a", MediaKey(1, 0, other))
    open_("a", MediaKey(1, 0, second), 1, 31.0)
    open_("a", MediaKey(1, 0, other), 0, 31.0)
    for generation in range(2, 12):
        add("a", MediaKey(generation, 0, _bytes(f"many {generation}", 32)))
    for generation in (1, 2, 4, 5, 11):
        open_("a", MediaKey(generation, 0, other if generation == 1 else _bytes(f"many {generation}", 32)), 1, 32.0)
    steps.append({"do": "remove", "sender": "a"})
    ring.remove("a")
    open_("a", MediaKey(11, 0, _bytes("many 11", 32)), 2, 32.0)
    return {"type": "receiver", "steps": steps}


def main() -> None:
    note = "Kinds of cases are explained in make_sframe.py; whole numbers that may pass 2^53 are decimal text."
    made = [*_headers(), *_keys(), *_frames(), _sender(), _receiver()]
    cases = [{"name": f"{number} {case['type']}", **case} for number, case in enumerate(made)]
    document = {"profile": "salam-e2ee v1", "kind": "sframe", "note": note, "cases": cases}
    Path(__file__).with_name("sframe.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
