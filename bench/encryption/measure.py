"""The measurement: every library in turn, several rounds, CPU time; the ratio of a round is taken within that round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError
from typing import Any

from bench.encryption.contender import Contender, Talker
from bench.encryption.double_ratchet import DoubleRatchet
from bench.encryption.olm_family import Olm, Vodozemac
from bench.encryption.own import Salam
from bench.encryption.stored import measure_stores
from bench.report import BenchReport, Figure, Rounds, figure, ratio_figures
from salam import ConfigError, ResourceError

__all__ = ["FLOORS", "PEERS", "measure_encryption"]

PEERS: dict[str, Callable[[], Contender]] = {"vodozemac": Vodozemac, "olm": Olm, "doubleratchet": DoubleRatchet}
# The size at which most chat libraries are compared, a long message.
_MESSAGE = b"a" * 1024
_FORGED_LIMIT_US = 20.0
# The least ratio of ours to the peer's that the project holds itself to, in operations per CPU-second.
FLOORS: dict[str, dict[str, float]] = {
    "vodozemac": {"setup": 0.6, "encrypt_chain": 1.5, "ping_pong": 1.0},
    "doubleratchet": {"setup": 5.0, "encrypt_chain": 5.0, "decrypt_chain": 5.0, "ping_pong": 5.0},
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


def _figures(rounds: Rounds) -> dict[str, Figure]:
    return {name: figure([taken[name] for taken in rounds], _unit(name)) for name in rounds[0]}


def _unit(name: str) -> str:
    return "us" if name.endswith("_us") else "1/CPU-s"


def _ratios(own: Rounds, other: Rounds) -> dict[str, Figure]:
    """Ours to theirs; what they do not have is compared with the nearest that they do, the plain set-up."""
    return ratio_figures(own, other, {name: name for name in other[0] if name != "forged_us"} | {"setup_pq": "setup"})


def _failures(ratios: dict[str, dict[str, Figure]], forged_us: float) -> list[str]:
    failed = [
        f"{name} against {peer} is {ratios[peer][name].value}, below {floor}"
        for peer, floors in FLOORS.items()
        if peer in ratios
        for name, floor in floors.items()
        if ratios[peer][name].value < floor
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


def measure_encryption(
    against: Iterable[str] = (), *, rounds: int = 5, operations: int = 2_000, stores: bool = True
) -> BenchReport:
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
    own = measured.pop("salam")
    metrics = _figures(own)
    ratios = {name: _ratios(own, taken) for name, taken in measured.items()}
    return BenchReport(
        scenario="e2ee",
        title="Operations per CPU-second (forged_us: microseconds of CPU for a forged message)",
        metrics=metrics,
        versions={contender.name: contender.version for contender in contenders},
        method={"rounds": rounds, "operations": operations, "message_bytes": len(_MESSAGE), "order": "in turns, one process"},
        peers={name: _figures(taken) for name, taken in measured.items()},
        ratios=ratios,
        groups={"stores": _store_figures(operations)} if stores else {},
        floors={**FLOORS, "forged_us": _FORGED_LIMIT_US},
        failed=_failures(ratios, metrics["forged_us"].value),
    )


def _store_figures(operations: int) -> dict[str, dict[str, Figure]]:
    return {
        store: {name: figure([rate], _unit(name)) for name, rate in rates.items()}
        for store, rates in measure_stores(operations).items()
    }
