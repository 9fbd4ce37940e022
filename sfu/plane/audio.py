"""How loud an audio track is, from the level that its sender writes into each packet (RFC 6464)."""

from __future__ import annotations

from sfu.plane.interface import AudioSummary

__all__ = ["AudioMeter"]

_SILENCE = 127


class AudioMeter:
    """Collects levels between two summaries."""

    __slots__ = ("_loudest", "_packets", "_voice")

    def __init__(self) -> None:
        self._loudest = _SILENCE
        self._packets = 0
        self._voice = 0

    def on_packet(self, level: bytes | None) -> None:
        """Take the value of the audio-level extension: voice flag and level below full scale; None when a packet has none."""
        self._packets += 1
        if level:
            self._loudest = min(self._loudest, level[0] & 0x7F)
            self._voice += level[0] >> 7

    def take(self, producer_id: int) -> AudioSummary | None:
        """Return the summary since the last call, None without packets."""
        if not self._packets:
            return None
        summary = AudioSummary(producer_id, -self._loudest, self._voice, self._packets)
        self._loudest, self._packets, self._voice = _SILENCE, 0, 0
        return summary
