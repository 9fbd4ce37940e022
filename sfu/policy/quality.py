"""How good a participant's connection is, in one number and one word."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["QualityGrade", "QualityMeter", "QualityReason"]

# Opus and repaired video hide a few percent of loss; from 10 % people complain, and above 20 % speech breaks up.
_FAIR_LOSS = 0.04
_POOR_LOSS = 0.12
# Conversation gets difficult beyond 150 ms one way (ITU-T G.114), which is 300 ms there and back; 600 ms is a satellite.
_FAIR_RTT_S = 0.3
_POOR_RTT_S = 0.6
# Weight of a new value in the smoothed one: reports come about once a second, so this remembers some seconds.
_SMOOTHING = 0.3
# A worse grade shows at once; a better one must hold, so that the indicator does not flicker.
_BETTER_AFTER_S = 4.0


class QualityReason(enum.Enum):
    """What drags the score down."""

    GOOD = "good"
    UPLINK_LOSS = "uplink_loss"
    DOWNLINK_LOSS = "downlink_loss"
    HIGH_RTT = "high_rtt"
    LOW_BITRATE = "low_bitrate"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class QualityGrade:
    """3 good, 2 fair, 1 poor, 0 lost; with the reason."""

    score: int
    reason: QualityReason


class QualityMeter:
    """Grades one participant from losses, round-trip time and whether layers had to be taken away."""

    def __init__(self) -> None:
        self._uplink_loss = 0.0
        self._downlink_loss = 0.0
        self._rtt_s = 0.0
        self._held_back = False
        self._lost = False
        self._grade = QualityGrade(3, QualityReason.GOOD)
        self._better_since_s: float | None = None

    @property
    def grade(self) -> QualityGrade:
        """As of the last `poll`."""
        return self._grade

    @property
    def rtt_s(self) -> float:
        """Smoothed round-trip time; 0 while unknown."""
        return self._rtt_s

    @property
    def loss_fraction(self) -> float:
        """The worse of the two directions, smoothed."""
        return max(self._uplink_loss, self._downlink_loss)

    def on_uplink_loss(self, fraction: float) -> None:
        """Loss of what the participant sends, after repair."""
        self._uplink_loss += _SMOOTHING * (fraction - self._uplink_loss)

    def on_downlink_loss(self, fraction: float) -> None:
        """Loss of what the participant receives, by its reports."""
        self._downlink_loss += _SMOOTHING * (fraction - self._downlink_loss)

    def on_rtt(self, rtt_s: float) -> None:
        """A round-trip time to the participant."""
        self._rtt_s = rtt_s if self._rtt_s == 0.0 else self._rtt_s + _SMOOTHING * (rtt_s - self._rtt_s)

    def set_held_back(self, *, held_back: bool) -> None:
        """Whether layers are kept from the participant because its downlink does not take them."""
        self._held_back = held_back

    def set_lost(self, *, lost: bool) -> None:
        """Whether a connection of the participant is gone."""
        self._lost = lost

    def poll(self, now: float) -> QualityGrade | None:
        """Return the grade when it changed since the last call, else None."""
        grade = self._judge()
        if grade == self._grade:
            self._better_since_s = None
            return None
        if grade.score > self._grade.score and self._grade.score > 0:
            if self._better_since_s is None:
                self._better_since_s = now
            if now - self._better_since_s < _BETTER_AFTER_S:
                return None
        self._better_since_s = None
        self._grade = grade
        return grade

    def _judge(self) -> QualityGrade:
        if self._lost:
            return QualityGrade(0, QualityReason.LOST)
        scored = [
            (_score(self._uplink_loss, _FAIR_LOSS, _POOR_LOSS), QualityReason.UPLINK_LOSS),
            (_score(self._downlink_loss, _FAIR_LOSS, _POOR_LOSS), QualityReason.DOWNLINK_LOSS),
            (_score(self._rtt_s, _FAIR_RTT_S, _POOR_RTT_S), QualityReason.HIGH_RTT),
            (2 if self._held_back else 3, QualityReason.LOW_BITRATE),
        ]
        score, reason = min(scored, key=lambda entry: entry[0])
        return QualityGrade(score, QualityReason.GOOD if score == 3 else reason)


def _score(value: float, fair: float, poor: float) -> int:
    return 1 if value >= poor else 2 if value >= fair else 3
