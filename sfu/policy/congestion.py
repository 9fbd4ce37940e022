"""How many layers a subscriber's downlink can take, from its loss reports and its own estimate."""

from __future__ import annotations

__all__ = ["DownlinkController"]

# The classic loss-based controller backs off above 10 % and sees no reason to below 2 % (RFC 8698 and GCC agree on the first).
_HIGH_LOSS = 0.10
_LOW_LOSS = 0.02
# Estimates swing by this much around the truth.
_SHORT_ESTIMATE = 0.8
# Two or three receiver reports in a row: a burst on Wi-Fi is shorter.
_SUSTAINED_S = 2.0
# After a step down the queue in the network needs time to drain before loss means anything again.
_SETTLE_S = 3.0
# First try of a step up after a step down; each try that fails at once doubles the wait.
_PROBE_AFTER_S = 10.0
_PROBE_AFTER_MAX_S = 120.0
# A step up that brings loss within this time was one too many.
_PROBE_JUDGED_S = 6.0


class DownlinkController:
    """Caps the spatial layer of everything that one subscriber receives.

    ``cap`` counts layers below the top: 0 means no cap, 1 one layer lower everywhere, and so on up to ``max_steps``.
    """

    def __init__(self, max_steps: int = 2) -> None:
        self._max_steps = max_steps
        self._steps = 0
        self._loss_since_s: float | None = None
        self._clean_since_s: float | None = None
        self._changed_s = float("-inf")
        self._probed_s = float("-inf")
        self._probe_after_s = _PROBE_AFTER_S

    @property
    def steps_down(self) -> int:
        """How many layers below the top the subscriber is held."""
        return self._steps

    def on_loss(self, loss_fraction: float, now: float) -> None:
        """Take the loss in one report, 0 to 1."""
        if loss_fraction > _HIGH_LOSS:
            self._clean_since_s = None
            if self._loss_since_s is None:
                self._loss_since_s = now
        elif loss_fraction <= _LOW_LOSS:
            self._loss_since_s = None
            if self._clean_since_s is None:
                self._clean_since_s = now
        else:
            self._loss_since_s = None
            self._clean_since_s = None

    def on_estimate(self, estimate_bps: int, sending_bps: int, now: float) -> None:
        """Take the receiver's own estimate (REMB) beside what it is sent: clearly less than that counts as loss.

        An estimate above it says little, because receivers never estimate much more than they get.
        """
        if sending_bps and estimate_bps < _SHORT_ESTIMATE * sending_bps:
            self.on_loss(1.0, now)

    def poll(self, now: float) -> bool:
        """Decide; returns whether the cap changed."""
        if self._loss_since_s is not None and now - self._loss_since_s >= _SUSTAINED_S and now - self._changed_s >= _SETTLE_S:
            return self._step_down(now)
        if self._steps and self._clean_since_s is not None:
            if now - max(self._clean_since_s, self._changed_s) >= self._probe_after_s:
                return self._step_up(now)
        return False

    def _step_down(self, now: float) -> bool:
        if self._steps >= self._max_steps:
            return False
        if now - self._probed_s <= _PROBE_JUDGED_S:
            self._probe_after_s = min(self._probe_after_s * 2, _PROBE_AFTER_MAX_S)
        self._steps += 1
        self._changed_s = now
        # What comes next is judged anew.
        self._loss_since_s = now
        self._clean_since_s = None
        return True

    def _step_up(self, now: float) -> bool:
        if now - self._probed_s > self._probe_after_s + _PROBE_JUDGED_S:
            self._probe_after_s = _PROBE_AFTER_S
        self._steps -= 1
        self._changed_s = self._probed_s = now
        return True
