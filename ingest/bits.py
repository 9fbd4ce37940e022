"""Reading values that do not end at byte borders, as parameter sets and audio configurations have them."""

from __future__ import annotations

from salam import ProtocolError

__all__ = ["BitReader", "remove_emulation_prevention"]

# Exp-Golomb values of parameter sets fit 32 bits (H.264 section 9.1), so longer runs of zeros are garbage.
_MAX_LEADING_ZEROS = 32


class BitReader:
    """Reads ``data`` from its highest bit on; every read past the end is a ProtocolError."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    @property
    def left(self) -> int:
        """Bits not read yet."""
        return self._left

    def skip(self, count: int) -> None:
        """Pass over ``count`` bits."""
        if count > self._left:
            raise ProtocolError("a bit field runs past the end of its data")
        self._left -= count

    def unsigned(self, count: int) -> int:
        """Return the next ``count`` bits as a number."""
        self.skip(count)
        return (self._value >> self._left) & ((1 << count) - 1)

    def flag(self) -> bool:
        """Return the next bit."""
        return self.unsigned(1) == 1

    def exp_golomb(self) -> int:
        """Return the next unsigned Exp-Golomb value, ue(v) (H.264 section 9.1)."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > _MAX_LEADING_ZEROS:
                raise ProtocolError("an Exp-Golomb value of more than 32 bits")
        return (1 << zeros) - 1 + self.unsigned(zeros)

    def signed_exp_golomb(self) -> int:
        """Return the next signed Exp-Golomb value, se(v) (H.264 section 9.1.1)."""
        code = self.exp_golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def remove_emulation_prevention(data: bytes) -> bytes:
    """Return ``data`` without the 3 in each 0 0 3: the RBSP of a NAL unit (H.264 section 7.4.1.1)."""
    return data.replace(b"\x00\x00\x03", b"\x00\x00")
