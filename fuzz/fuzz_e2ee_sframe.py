"""Fuzz target: a media frame from the network is opened or refused with an error of the package; a refused one moves nothing."""

from e2ee.call_keys import KeyRing, MediaKey, SenderKeys
from e2ee.errors import E2EEError, MalformedMessage
from e2ee.frames import Codec
from e2ee.sframe import Header

_SLICE = bytes.fromhex("000000016742c01f0000000168ce3c8000000165888400000301")
_KEY = bytes(range(32))


def _seeds() -> list[bytes]:
    keys = SenderKeys[str](random=lambda size: _KEY[:size])
    seeds = [Header(kid, counter).encode() for kid in (0, 8, 2**36 - 1) for counter in (0, 300, 2**64 - 1)]
    for codec, frame in (
        (Codec.OPUS, b"sound"),
        (Codec.VP8, b"\x10 picture"),
        (Codec.H264, _SLICE),
        (Codec.H264, _SLICE + bytes(40)),
    ):
        seeds.append(keys.seal(codec, "camera", frame))
        keys.renew(0.0)
    return seeds


SEEDS: list[bytes] = _seeds()


def one_input(data: bytes) -> None:
    """Open ``data`` as a frame of every codec, and check that an honest frame still opens afterwards."""
    try:
        header, length = Header.parse(data)
    except MalformedMessage:
        pass
    else:
        assert header.encode() == data[:length]
    ring = KeyRing[str]()
    ring.add("a", MediaKey(0, 0, _KEY))
    for codec in Codec:
        try:
            ring.open("a", codec, "camera", data, 0.0)
        except E2EEError:
            continue
        return
    honest = SenderKeys[str](random=lambda size: _KEY[:size]).seal(Codec.OPUS, "camera", b"sound")
    assert ring.open("a", Codec.OPUS, "camera", honest, 0.0) == b"sound"
