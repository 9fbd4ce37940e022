"""What a forwarder must know of H.264 in RTP: where keyframes start and how high the picture is (RFC 6184, ITU-T H.264 7.3.2.1)."""

from __future__ import annotations

from sfu.plane.errors import MediaError

__all__ = ["is_h264_keyframe_start", "sps_height"]

_NAL_SPS = 7
_STAP_A, _FU_A = 24, 28
# Profiles whose sequence parameter set carries chroma and scaling fields (H.264 7.3.2.1.1).
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


def is_h264_keyframe_start(payload: bytes) -> bytes | None:
    """Return the sequence parameter set with which a keyframe starts in this packet, None when none starts here.

    A keyframe is known by its parameter set, alone, in an aggregate (STAP-A), or at the start of a fragmented unit (FU-A), which
    some hardware encoders use even for it. Raises MediaError for an empty or truncated payload.
    """
    if not payload:
        raise MediaError("H.264 payload is empty")
    kind = payload[0] & 0x1F
    if kind == _NAL_SPS:
        return payload
    if kind == _STAP_A:
        offset = 1
        while offset + 2 < len(payload):
            size = payload[offset] << 8 | payload[offset + 1]
            if offset + 2 + size > len(payload) or size == 0:
                raise MediaError("H.264 aggregate is truncated")
            if payload[offset + 2] & 0x1F == _NAL_SPS:
                return payload[offset + 2 : offset + 2 + size]
            offset += 2 + size
        return None
    if kind == _FU_A:
        if len(payload) < 2:
            raise MediaError("H.264 fragment is truncated")
        if payload[1] & 0x80 and payload[1] & 0x1F == _NAL_SPS:
            return bytes((payload[0] & 0xE0 | _NAL_SPS,)) + payload[2:]
    return None


class _Bits:
    def __init__(self, data: bytes) -> None:
        # Emulation prevention bytes are not part of the syntax (H.264 7.4.1).
        plain = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(plain, "big")
        self._left = 8 * len(plain)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise MediaError("H.264 sequence parameter set is truncated")
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 31:
                raise MediaError("H.264 sequence parameter set has a bad number")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        value = self.unsigned()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def sps_height(sps: bytes) -> int:
    """Return the height in pixels of pictures under this sequence parameter set, cropping applied.

    ``sps`` is the NAL unit with its header byte. Raises MediaError when it is truncated or nonsensical.
    """
    # The fields read lie in the first hundred bytes of any real set; more would only cost time.
    bits = _Bits(sps[1:256])
    profile = bits.take(8)
    bits.take(16)
    bits.unsigned()
    chroma = 1
    if profile in _HIGH_PROFILES:
        chroma = _skip_high_profile(bits)
    bits.unsigned()
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
    bits.unsigned()
    bits.take(1)
    bits.unsigned()
    map_units = bits.unsigned() + 1
    frame_only = bits.take(1)
    if not frame_only:
        bits.take(1)
    bits.take(1)
    height = map_units * 16 * (2 - frame_only)
    if bits.take(1):
        bits.unsigned()
        bits.unsigned()
        unit = (2 if chroma == 1 else 1) * (2 - frame_only)
        height -= unit * (bits.unsigned() + bits.unsigned())
    # 8192 is beyond level 6.2's largest picture side in practice: anything else is not a height.
    if not 0 < height <= 8192:
        raise MediaError("H.264 sequence parameter set has no sensible height")
    return height


def _skip_high_profile(bits: _Bits) -> int:
    chroma = bits.unsigned()
    if chroma == 3:
        bits.take(1)
    bits.unsigned()
    bits.unsigned()
    bits.take(1)
    if bits.take(1):
        for index in range(8 if chroma != 3 else 12):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last
