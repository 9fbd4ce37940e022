"""The measurement: every library in turn, several rounds, CPU time; the ratio of a round is taken within that round."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from statistics import median
from typing import Any

from bench.encryption.contender import Contender, Talker
from bench.encryption.double_ratchet import DoubleRatchet
from bench.encryption.olm_family import Olm, Vodozemac
from bench.encryption.own import Salam
from bench.encryption.stored import measure_stores
from salam import ConfigError, ResourceError

__all__ = ["FLOORS", "PEERS", "Report", "measure_encryption"]

PEERS: dict[str, Callable[[], Contender]] = {"vodozemac": Vodozemac, "olm": Olm, "doubleratchet": DoubleRatchet}
# The size at which most chat libraries are compared, a long message.
_MESSAGE = b"a" * 1024
_FORGED_LIMIT_US = 20.0
# The least ratio of ours to the peer's that the project holds itself to, in operations per CPU-second.
FLOORS: dict[str, dict[str, float]] = {
    "vodozemac": {"setup": 0.6, "encrypt_chain": 1.5, "ping_pong": 1.0},
    "doubleratchet": {"setup": 5.0, "encrypt_chain": 5.0, "decrypt_chain": 5.0, "ping_pong": 5.0},
}


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured: ``figures`` by library in operations per CPU-second (``forged_us`` in microseconds of CPU a message).

    ``ratios`` are ours to each peer's, the median of the rounds. ``failed`` names every floor that was not reached.
    """

    figures: dict[str, dict[str, float]]
    ratios: dict[str, dict[str, float]]
    stores: dict[str, dict[str, float]]
    versions: dict[str, str]
    rounds: int
    operations: int
    failed: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "message_bytes": len(_MESSAGE),
            "unit": "operations per CPU-second; forged_us in microseconds of CPU per message",
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.machine()},
            "rounds": self.rounds,
            "operations": self.operations,
            "versions": self.versions,
            "figures": self.figures,
            "ratios": self.ratios,
            "stores": self.stores,
            "floors": FLOORS,
            "forged_limit_us": _FORGED_LIMIT_US,
            "failed": self.failed,
        }


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    # The clock's own step keeps a very short piece of work from seeming free.
    return max(time.process_time() - started, 1e-6)


def _setups(contender: Contender, count: int, post_quantum: bool) -> float | None:
    prepared = [contender.prepare(post_quantum) for _ in range(count)]
    calls = [setup for setup in prepared if setup is not None]
    if not calls:
        return None
    return len(calls) / _cpu_s(lambda: [setup(_MESSAGE) for setup in calls])


def _pair(contender: Contender) -> tuple[Talker, Talker]:
    setup = contender.prepare(False)
    assert setup is not None
    mine, theirs = setup(_MESSAGE)
    # One message each way, so that both sides have left the handshake behind.
    mine.decrypt(theirs.encrypt(_MESSAGE))
    theirs.decrypt(mine.encrypt(_MESSAGE))
    return mine, theirs


def _ping_pong(mine: Talker, theirs: Talker, count: int) -> None:
    for _ in range(count // 2):
        theirs.decrypt(mine.encrypt(_MESSAGE))
        mine.decrypt(theirs.encrypt(_MESSAGE))


def _forged_us(contender: Contender, count: int) -> float:
    mine, theirs = _pair(contender)
    forged = contender.forge(mine.encrypt(_MESSAGE))
    assert contender.refuses(theirs, forged)
    return _cpu_s(lambda: [contender.refuses(theirs, forged) for _ in range(count)]) / count * 1e6


def _round(contender: Contender, operations: int) -> dict[str, float]:
    """One round of one library. A set-up costs as much as some thirty messages, so fewer of those are made."""
    setups = max(operations // 20, 5)
    figures: dict[str, float] = {}
    for name, post_quantum in (("setup", False), ("setup_pq", True)):
        rate = _setups(contender, setups, post_quantum)
        if rate is not None:
            figures[name] = rate
    mine, theirs = _pair(contender)
    messages: list[Any] = []
    figures["encrypt_chain"] = operations / _cpu_s(lambda: messages.extend(mine.encrypt(_MESSAGE) for _ in range(operations)))
    figures["decrypt_chain"] = operations / _cpu_s(lambda: [theirs.decrypt(message) for message in messages])
    turns = max(operations // 4, 10) // 2 * 2
    figures["ping_pong"] = turns / _cpu_s(lambda: _ping_pong(mine, theirs, turns))
    figures["forged_us"] = _forged_us(contender, max(operations // 20, 5))
    return figures


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(figures[name] for figures in rounds), 2) for name in rounds[0]}


def _ratios(own: Sequence[dict[str, float]], other: Sequence[dict[str, float]]) -> dict[str, float]:
    """Ours to theirs; what they do not have is compared with the nearest that they do, the plain set-up."""
    pairs = {name: name for name in other[0] if name != "forged_us"} | {"setup_pq": "setup"}
    return {
        name: round(median(mine[name] / theirs[counterpart] for mine, theirs in zip(own, other, strict=True)), 3)
        for name, counterpart in pairs.items()
    }


def _failures(ratios: dict[str, dict[str, float]], forged_us: float) -> list[str]:
    failed = [
        f"{name} against {peer} is {ratios[peer][name]}, below {floor}"
        for peer, floors in FLOORS.items()
        if peer in ratios
        for name, floor in floors.items()
        if ratios[peer][name] < floor
    ]
    if forged_us > _FORGED_LIMIT_US:
        failed.append(f"a forged message costs {forged_us} us, above {_FORGED_LIMIT_US}")
    return failed


def _peer(name: str) -> Contender:
    if name not in PEERS:
        raise ConfigError(f"--against names {name!r}; it may name {', '.join(PEERS)}")
    try:
        return PEERS[name]()
    except (ImportError, PackageNotFoundError):
        message = f"{name} is not installed here; pip install 'salam-rtc[bench]' brings it"
        raise ResourceError(message, code="peer_missing") from None


def measure_encryption(against: Iterable[str] = (), *, rounds: int = 5, operations: int = 2_000, stores: bool = True) -> Report:
    """Measure our sessions, and those of the libraries named in ``against``, alternating, in this process.

    Each of ``rounds`` does about ``operations`` messages per figure and library. ``stores`` adds what a whole `e2ee.Device` does
    over a memory store and over SQLite. Raises `salam.ConfigError` for a name that is unknown or a count below 1, and
    `salam.ResourceError` for a library that is not installed.
    """
    if rounds < 1 or operations < 1:
        raise ConfigError(f"rounds is {rounds} and operations {operations}; both must be at least 1")
    contenders: list[Contender] = [Salam(), *(_peer(name) for name in dict.fromkeys(against))]
    measured: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            measured[contender.name].append(_round(contender, operations))
    own = measured["salam"]
    figures = {name: _medians(taken) for name, taken in measured.items()}
    ratios = {name: _ratios(own, taken) for name, taken in measured.items() if name != "salam"}
    return Report(
        figures=figures,
        ratios=ratios,
        stores=measure_stores(operations) if stores else {},
        versions={contender.name: contender.version for contender in contenders},
        rounds=rounds,
        operations=operations,
        failed=_failures(ratios, figures["salam"]["forged_us"]),
    )
