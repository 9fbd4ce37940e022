"""Transport-wide congestion control: the message, the generator for publishers, the matching for subscribers."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sfu.plane import MediaError, parse_rtcp
from sfu.plane.transport_cc import TransportCc, build_transport_cc, parse_transport_cc
from sfu.plane.twcc import FeedbackGenerator, SentHistory


def reported(packets: list[bytes]) -> dict[int, float | None]:
    found: dict[int, float | None] = {}
    for packet in packets:
        [message] = parse_rtcp(packet)
        assert isinstance(message, TransportCc)
        for offset, arrived_s in enumerate(message.arrivals):
            found[message.base_sequence + offset & 0xFFFF] = arrived_s
    return found


@given(
    st.integers(0, 0xFFFF),
    st.lists(st.none() | st.floats(100.0, 130.0), min_size=1, max_size=1200),
)
def test_round_trip_of_anything(base: int, arrivals: list[float | None]) -> None:
    packets = build_transport_cc(1, 2, base, 250, tuple(arrivals))
    assert all(len(packet) % 4 == 0 and len(packet) <= 1200 for packet in packets)
    found = reported(packets)
    for offset, arrived_s in enumerate(arrivals):
        value = found.get(base + offset & 0xFFFF)
        if arrived_s is None:
            assert value is None
        else:
            assert value is not None
            assert abs(value - arrived_s) <= 0.000126


def test_known_bytes_with_padding() -> None:
    # One received, one lost, two received: three deltas of a byte each, then three bytes of padding.
    packet = bytes.fromhex("afcd 0006 00000001 00000002 ffff 0004 000002 07 ac00 04 01 02 000003".replace(" ", ""))
    message = parse_transport_cc(packet)
    assert message.base_sequence == 0xFFFF
    assert message.feedback_count == 7
    assert message.arrivals == (0.129, None, 0.12925, 0.12975)


def test_truncated_messages_are_refused() -> None:
    [whole] = build_transport_cc(1, 2, 3, 4, (1.0, None, 1.5, 1.6))
    for size in range(len(whole)):
        try:
            parse_transport_cc(whole[:size])
        except MediaError:
            continue
        raise AssertionError(f"{size} bytes were taken for a message")


def test_a_few_bytes_cannot_describe_the_whole_number_space() -> None:
    runs = b"\x1f\xff" * 8
    head = bytes((0x8F, 205, 0, 8)) + bytes(8) + bytes(2) + (60_000).to_bytes(2, "big") + bytes(4)
    with pytest.raises(MediaError, match="too many"):
        parse_transport_cc(head + runs)


def test_everything_is_reported_and_nothing_twice_as_lost() -> None:
    generator = FeedbackGenerator()
    for index, number in enumerate((65_534, 65_535, 1, 2)):
        generator.on_packet(number, 10.0 + index / 1000)
    assert generator.deadline == 10.05
    found = reported(generator.take(1, 2, 10.05))
    assert [found[number] is not None for number in (65_534, 65_535, 0, 1, 2)] == [True, True, False, True, True]
    # The missing one comes late: it is reported now.
    generator.on_packet(0, 10.06)
    generator.on_packet(0, 10.07)
    generator.on_packet(3, 10.08)
    found = reported(generator.take(1, 2, 10.11))
    assert found[0] is not None
    assert found[3] is not None
    assert generator.take(1, 2, 10.2) == []


def test_a_burst_is_reported_at_once_and_memory_is_bounded() -> None:
    generator = FeedbackGenerator()
    for number in range(100_000):
        generator.on_packet(number * 7 & 0xFFFF, number / 100_000)
        if generator.deadline <= number / 100_000:
            for packet in generator.take(1, 2, number / 100_000):
                assert len(packet) <= 1200
    assert len(reported(generator.take(1, 2, 1.0))) <= 2000


def test_a_report_is_matched_with_what_was_sent() -> None:
    history = SentHistory()
    for index in range(70_000):
        history.record(1000 + index % 7, index / 1000)
    newest = history.next_sequence - 1
    message = TransportCc(1, 2, newest - 2 & 0xFFFF, 0, (5.0, None, 5.001, 9.9))
    arrivals = history.match(message)
    assert [arrival.transport_sequence for arrival in arrivals] == [newest - 2, newest - 1, newest]
    assert [arrival.arrived_s for arrival in arrivals] == [5.0, None, 5.001]
    assert arrivals[0].sent_s == 69.997
    # An arrival is told once.
    assert [arrival.transport_sequence for arrival in history.match(message)] == [newest - 1]


def test_the_receivers_clock_may_wrap() -> None:
    history = SentHistory()
    first, second = history.next_sequence, history.next_sequence + 1
    history.record(100, 1.0)
    history.record(100, 1.1)
    period_s = (1 << 24) * 0.064
    [before] = history.match(TransportCc(1, 2, first & 0xFFFF, 0, (period_s - 0.05,)))
    [after] = history.match(TransportCc(1, 2, second & 0xFFFF, 1, (0.05,)))
    assert before.arrived_s is not None
    assert after.arrived_s is not None
    assert abs(after.arrived_s - before.arrived_s - 0.1) < 1e-6
