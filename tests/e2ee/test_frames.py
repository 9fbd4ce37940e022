"""What stays clear of each codec's frames, and that the rest comes out of the codec's wrapping as it went in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.errors import CodecNotSupported, MalformedMessage
from e2ee.frames import Codec, FrameKind, metadata

START = b"\x00\x00\x00\x01"
SPS = START + bytes.fromhex("6742c01fda02802dd08000000300800000 1e4f".replace(" ", ""))
PPS = START + bytes.fromhex("68ce3c80")
SEI = START + bytes.fromhex("0605ff")
AUD = START + bytes.fromhex("0910")
IDR = START + bytes.fromhex("658884")
# Bytes in which start codes and emulation prevention happen often.
TRICKY = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255]), max_size=40).map(bytes)


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("opus", Codec.OPUS, FrameKind.AUDIO),
        ("audio/opus", Codec.OPUS, FrameKind.AUDIO),
        ("video/VP8", Codec.VP8, FrameKind.VIDEO),
        ("VP9", Codec.VP9, FrameKind.VIDEO),
        ("video/H264", Codec.H264, FrameKind.VIDEO),
        ("data", Codec.DATA, FrameKind.DATA),
    ],
)
def test_names(name: str, codec: Codec, kind: FrameKind) -> None:
    assert Codec.named(name) is codec
    assert codec.kind is kind


@pytest.mark.parametrize("name", ["", "AV1", "video/AV1", "video/H265", "audio/red", "audio/PCMU", "video/rtx"])
def test_other_codecs_are_refused(name: str) -> None:
    with pytest.raises(CodecNotSupported):
        Codec.named(name)


@pytest.mark.parametrize(
    ("codec", "frame", "clear"),
    [
        (Codec.OPUS, b"", b""),
        (Codec.OPUS, b"sound", b""),
        (Codec.VP9, b"picture", b""),
        (Codec.DATA, b"text", b""),
        (Codec.VP8, b"P", b"P"),
        (Codec.VP8, b"Picture", b"P"),
        (Codec.H264, IDR + b"rest", IDR),
        (Codec.H264, IDR, IDR),
        (Codec.H264, SPS + PPS + IDR + b"rest", SPS + PPS + IDR),
        (Codec.H264, AUD + SEI + SPS + PPS + IDR + b"rest" + IDR + b"more", AUD + SEI + SPS + PPS + IDR),
    ],
)
def test_what_stays_clear(codec: Codec, frame: bytes, clear: bytes) -> None:
    assert codec.split(frame) == (clear, frame[len(clear) :])


def test_start_codes_are_made_alike() -> None:
    short = b"\x00\x00\x01"
    odd = b"\x00" * 3 + SPS[1:] + b"\x00\x00" + PPS[1:] + short + b"\x41\x9a\x00rest"
    assert Codec.H264.split(odd) == (SPS + PPS + START + b"\x41\x9a\x00", b"rest")


# A unit of a kind that is not known to be harmless is not left in the clear.
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 19, 20, 24, 31])
def test_every_other_unit_is_encrypted(kind: int) -> None:
    unit = bytes((0x60 | kind,)) + b"ab"
    assert Codec.H264.split(START + unit + b"secret") == (START + unit, b"secret")


@pytest.mark.parametrize(
    ("codec", "frame"),
    [
        (Codec.VP8, b""),
        (Codec.H264, b""),
        (Codec.H264, b"no start code"),
        (Codec.H264, b"x" + IDR),
        (Codec.H264, START),
        (Codec.H264, SPS + PPS),
        (Codec.H264, SPS + START),
        (Codec.H264, SPS + START + b"\x65\x88"),
    ],
)
def test_what_is_no_frame_is_refused(codec: Codec, frame: bytes) -> None:
    with pytest.raises(MalformedMessage):
        codec.split(frame)
    with pytest.raises(MalformedMessage):
        codec.split_sealed(frame)


@given(st.sampled_from(list(Codec)), TRICKY, TRICKY)
@settings(max_examples=300)
def test_what_is_sealed_comes_through(codec: Codec, middle: bytes, sealed: bytes) -> None:
    frame = SPS + START + b"\x65" + (middle + b"\x88\x84")[:2] + b"plain"
    clear, _ = codec.split(frame)
    assert codec.split_sealed(codec.join(clear, sealed)) == (clear, sealed)


@given(TRICKY, TRICKY)
@settings(max_examples=300)
def test_no_start_code_is_left_in_the_encrypted_part(middle: bytes, sealed: bytes) -> None:
    clear = START + b"\x65" + (middle + b"\x88\x84")[:2]
    before = len(START) + 1
    written = Codec.H264.join(clear, sealed)
    tail = written[len(clear) - 2 :]
    # What the encoder itself wrote there is its own affair.
    own = clear[before:]
    for forbidden in (b"\x00\x00\x00", b"\x00\x00\x01", b"\x00\x00\x02"):
        position = tail.find(forbidden)
        assert position < 0 or position + 3 <= len(own)


@given(st.binary(max_size=60) | TRICKY)
@settings(max_examples=200)
def test_any_bytes_are_taken_apart_or_refused(data: bytes) -> None:
    for codec in Codec:
        for split in (codec.split, codec.split_sealed):
            try:
                clear, rest = split(data)
            except MalformedMessage:
                continue
            assert codec is Codec.H264 or clear + rest == data


def test_metadata() -> None:
    assert metadata(b"\x10", FrameKind.VIDEO, "camera") == b"\x10\x01\x00\x06camera"
    assert metadata(b"", FrameKind.AUDIO, "") == b"\x00\x00\x00"
    assert len(metadata(b"", FrameKind.DATA, "x" * 255)) == 258
    for name in ("x" * 256, "\ud800"):
        with pytest.raises(MalformedMessage):
            metadata(b"", FrameKind.DATA, name)
