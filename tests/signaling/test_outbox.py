"""What waits for a slow consumer: bounded, in order, and thinned out where the newest word is all that counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signaling.messages import (
    ChatEvent,
    ChatLine,
    LayerChanged,
    Quality,
    QualityReport,
    Reaction,
    SpeakerLevel,
    Speakers,
    StreamChanged,
)
from signaling.outbox import Outbox, topic


def taken(outbox: Outbox) -> list[bytes]:
    frames = []
    while (frame := outbox.take()) is not None:
        frames.append(frame)
    return frames


def test_only_what_the_newest_supersedes_has_a_topic() -> None:
    loud, quiet = SpeakerLevel(participant_id="a", level_dbov=-3), SpeakerLevel(participant_id="b", level_dbov=-30)
    assert topic(Speakers(speakers=[loud])) == topic(Speakers(speakers=[quiet])) != ""
    assert topic(LayerChanged(track_id="a")) != topic(LayerChanged(track_id="b"))
    assert topic(StreamChanged(stream="a", state="live")) != topic(Reaction(stream="a", emoji="x"))
    first, second = QualityReport(participant_id="a", score=3), QualityReport(participant_id="b", score=1)
    assert topic(Quality(reports=[first, second])) == topic(Quality(reports=[second, first])) != topic(Quality(reports=[first]))
    line = ChatLine(chat_id="1", participant_id="a", name="A", text="x", sent_at=0.0)
    assert topic(ChatEvent(line=line)) == ""


def test_a_consumer_that_keeps_up_misses_nothing() -> None:
    outbox = Outbox(max_frames=8, max_bytes=1_000)
    assert all(outbox.put(frame, "speakers") for frame in (b"1", b"2"))
    assert taken(outbox) == [b"1", b"2"]


def test_a_slow_consumer_is_spared_what_is_out_of_date() -> None:
    outbox = Outbox(max_frames=8, max_bytes=1_000)
    assert all(outbox.put(frame) for frame in (b"chat 1", b"chat 2"))
    for number in range(1_000):
        assert outbox.put(b"speakers %d" % number, "speakers")
        assert outbox.put(b"layer %d" % number, "layer t")
    assert outbox.put(b"chat 3")
    assert taken(outbox) == [b"chat 1", b"chat 2", b"speakers 999", b"layer 999", b"chat 3"]
    assert outbox.waiting_bytes == 0


def test_what_everybody_must_know_still_overflows() -> None:
    outbox = Outbox(max_frames=4, max_bytes=1_000)
    assert all(outbox.put(b"chat") for _ in range(4))
    assert not outbox.put(b"chat")
    assert outbox.overflowed
    outbox.clear()
    assert not outbox.put(b"speakers", "speakers")
    assert outbox.take() is None


@given(st.lists(st.one_of(st.none(), st.tuples(st.sampled_from(["", "a", "b"]), st.integers(0, 40))), max_size=200))
def test_the_books_are_right_whatever_comes(steps: list[tuple[str, int] | None]) -> None:
    outbox = Outbox(max_frames=12, max_bytes=200)
    model: list[tuple[str, bytes]] = []
    for step in steps:
        if step is None:
            expected = model.pop(0)[1] if model else None
            assert outbox.take() == expected
        else:
            about, size = step
            frame = bytes(size)
            behind = 4 * len(model) >= 12 or 4 * sum(len(waiting) for _, waiting in model) >= 200
            if about and behind:
                same = [index for index, (other, _) in enumerate(model) if other == about]
                # Those that came before the consumer fell behind are sent; the newest is replaced.
                if same:
                    del model[same[-1]]
            fits = len(model) < 12 and sum(len(waiting) for _, waiting in model) + size <= 200
            assert outbox.put(frame, about) == fits
            if not fits:
                assert outbox.overflowed
                return
            model.append((about, frame))
        assert len(outbox) == len(model)
        assert outbox.waiting_bytes == sum(len(waiting) for _, waiting in model)
