"""Fuzz target: whatever datagrams come, NAT discovery counts them or draws its conclusions, and comes to an end."""

from turn_client import Attribute, MessageClass, build_message, encode_xor_address
from turn_client.attributes import encode_address
from turn_client.discovery import Discovery, LocalSocket

_SERVER = ("198.51.100.1", 3478)
_OTHER = ("198.51.100.2", 3479)
_LOCAL = (("10.0.0.2", 5000), ("10.0.0.2", 5001))
# The transaction ids of the machine, in order: `_random` makes the same ones.
_IDS = [bytes((number,)) * 12 for number in range(1, 10)]


def _answer(transaction_id: bytes, *, mapped: tuple[str, int] = ("203.0.113.7", 20_000)) -> bytes:
    attributes = [
        (Attribute.XOR_MAPPED_ADDRESS, encode_xor_address(*mapped, transaction_id)),
        (Attribute.OTHER_ADDRESS, encode_address(_OTHER)),
    ]
    return build_message(1, MessageClass.SUCCESS, transaction_id, attributes)


def _record(data: bytes, local_socket: int = 0, source: int = 0) -> bytes:
    return bytes((local_socket, source)) + len(data).to_bytes(2, "big") + data


SEEDS: list[bytes] = [
    b"".join(_record(_answer(transaction_id), number % 2, number) for number, transaction_id in enumerate(_IDS)),
    _record(_answer(_IDS[0])) + _record(_answer(_IDS[1]), 1) + _record(build_message(1, MessageClass.REQUEST, _IDS[6]), 0, 3),
    _record(build_message(1, MessageClass.ERROR, _IDS[0], [(Attribute.ERROR_CODE, b"\x00\x00\x04\x14")])),
]


def one_input(data: bytes) -> None:
    """Deliver the datagrams that ``data`` describes, then let time pass until the end."""
    ids = iter(_IDS)
    machine = Discovery(_SERVER, _LOCAL, random=lambda _: next(ids))
    machine.start(0.0)
    sources = (_SERVER, _OTHER, (_SERVER[0], _OTHER[1]), (_OTHER[0], _SERVER[1]), ("203.0.113.7", 20_000))
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        local_socket, source = LocalSocket(data[at] % 2), sources[data[at + 1] % len(sources)]
        machine.receive(local_socket, source, data[at + 4 : at + 4 + length], 0.1)
        at += 4 + length
    for _ in range(100):
        if machine.done:
            break
        machine.tick(machine.deadline)
    else:
        raise AssertionError("the discovery does not end")
    if machine.report.nat_name == "" or len(machine.take_outgoing()) > 56:
        raise AssertionError("more was sent than eight tests need")
