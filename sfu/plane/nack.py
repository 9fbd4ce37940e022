"""Asking a publisher again for what was lost (generic NACK, RFC 4585 6.2.1)."""

from __future__ import annotations

import math

__all__ = ["NackGenerator"]

# Wired and Wi-Fi paths reorder within a few milliseconds; a NACK sent earlier asks for packets that are about to arrive.
_REORDER_DELAY_S = 0.010
# Both as mediasoup: 10 requests at the pace of the round trip are about a second of trying, after which a keyframe is cheaper; and
# with a thousand packets missing the picture is gone anyway.
_MAX_TRIES = 10
_MAX_MISSING = 1000
# The pace while the round trip is short or unknown: a repetition must not overtake the answer to its predecessor.
_MIN_SPACING_S = 0.020


class _Missing:
    __slots__ = ("due_s", "tries")

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.tries = 0


class NackGenerator:
    """Keeps the straight sequence numbers that one source still owes."""

    def __init__(self) -> None:
        self._missing: dict[int, _Missing] = {}
        self.deadline = math.inf
        """When `due` has something to ask for (monotonic seconds)."""

    def __len__(self) -> int:
        return len(self._missing)

    def on_gap(self, first: int, last: int, now: float) -> bool:
        """Note that ``first`` to ``last`` did not arrive in order; False when too much is missing to ask for it one by one."""
        if last - first + 1 + len(self._missing) > _MAX_MISSING:
            self.clear()
            return False
        due_s = now + _REORDER_DELAY_S
        for number in range(first, last + 1):
            self._missing[number] = _Missing(due_s)
        self.deadline = min(self.deadline, due_s)
        return True

    def on_received(self, number: int) -> None:
        """Note that ``number`` has arrived after all."""
        self._missing.pop(number, None)

    def forget_before(self, number: int) -> None:
        """Give up on everything before ``number``, where a keyframe starts: nobody needs it any more."""
        for old in [missing for missing in self._missing if missing < number]:
            del self._missing[old]

    def clear(self) -> None:
        """Give up on everything."""
        self._missing.clear()
        self.deadline = math.inf

    def due(self, now: float, rtt_s: float) -> tuple[list[int], bool]:
        """Return the numbers to ask for now, oldest first, and whether one of them was given up for good."""
        spacing_s = max(rtt_s, _MIN_SPACING_S)
        ask: list[int] = []
        given_up: list[int] = []
        deadline = math.inf
        for number, missing in self._missing.items():
            if missing.due_s <= now:
                if missing.tries >= _MAX_TRIES:
                    given_up.append(number)
                    continue
                missing.tries += 1
                missing.due_s = now + spacing_s
                ask.append(number)
            deadline = min(deadline, missing.due_s)
        for number in given_up:
            del self._missing[number]
        self.deadline = deadline
        ask.sort()
        return ask, bool(given_up)
