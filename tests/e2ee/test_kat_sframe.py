"""The known answers for media frames and media keys, in Python; the browser runs the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2ee.call_keys import KeyRing, MediaKey, SenderKeys, SendKey
from e2ee.errors import CodecNotSupported, E2EEError, MalformedMessage
from e2ee.frames import Codec, metadata
from e2ee.sframe import FrameKey, Header, ratchet

Case = dict[str, Any]
DOCUMENT = json.loads((Path(__file__).parent / "kat" / "sframe.json").read_text())


def cases(kind: str) -> list[Case]:
    found = [case for case in DOCUMENT["cases"] if case["type"] == kind]
    assert found
    return found


def raw(case: Case, name: str) -> bytes:
    return bytes.fromhex(case[name])


def test_the_file_is_of_this_profile() -> None:
    assert (DOCUMENT["profile"], DOCUMENT["kind"]) == ("salam-e2ee v1", "sframe")
    known = "header header_refused key key_refused ratchet frame frame_refused codec_refused sender receiver"
    assert {case["type"] for case in DOCUMENT["cases"]} == set(known.split())


def test_headers() -> None:
    for case in cases("header"):
        header, encoded = Header(int(case["kid"]), int(case["counter"])), raw(case, "encoded")
        assert header.encode() == encoded
        assert Header.parse(encoded) == (header, len(encoded))
    for case in cases("header_refused"):
        with pytest.raises(MalformedMessage):
            Header.parse(raw(case, "encoded"))


def test_keys() -> None:
    for case in cases("key"):
        key = FrameKey(int(case["kid"]), raw(case, "base_key"))
        assert key.seal(int(case["counter"]), raw(case, "plain"), raw(case, "metadata")) == raw(case, "sealed")
        assert key.open(raw(case, "sealed"), raw(case, "metadata")) == raw(case, "plain")
    for case in cases("key_refused"):
        with pytest.raises(E2EEError) as caught:
            FrameKey(int(case["kid"]), raw(case, "base_key")).open(raw(case, "sealed"), raw(case, "metadata"))
        assert caught.value.code == case["error"]
    (chain,) = cases("ratchet")
    steps = [bytes.fromhex(step) for step in chain["steps"]]
    assert [ratchet(step) for step in steps[:-1]] == steps[1:]


def test_frames() -> None:
    for case in cases("frame"):
        codec = Codec.named(case["codec"])
        key = FrameKey(int(case["kid"]), raw(case, "base_key"))
        clear, secret = codec.split(raw(case, "frame"))
        authenticated = metadata(clear, codec.kind, case["stream"])
        assert clear == raw(case, "clear")
        assert codec.join(clear, key.seal(int(case["counter"]), secret, authenticated)) == raw(case, "sealed")
        received, sealed = codec.split_sealed(raw(case, "sealed"))
        assert received + key.open(sealed, metadata(received, codec.kind, case["stream"])) == raw(case, "opened")
    for case in cases("frame_refused"):
        with pytest.raises(MalformedMessage):
            Codec.named(case["codec"]).split(raw(case, "frame"))
    for case in cases("codec_refused"):
        with pytest.raises(CodecNotSupported):
            Codec.named(case["codec"])


def told(events: list[Any]) -> list[Case]:
    return [
        {"send_key": event.peer, "generation": event.key.generation, "step": event.key.step, "base_key": event.key.base_key.hex()}
        if isinstance(event, SendKey)
        else {"key_frame_needed": True}
        for event in events
    ]


def test_a_sender() -> None:
    (story,) = cases("sender")
    draws, position = raw(story, "random"), 0

    def random(size: int) -> bytes:
        nonlocal position
        position += size
        return draws[position - size : position]

    start, *steps = story["steps"]
    keys = SenderKeys(start["peers"], random=random)
    assert told(keys.events_at_start()) == start["events"]
    for step in steps:
        if step["do"] == "seal":
            assert keys.seal(Codec.named(step["codec"]), step["stream"], raw(step, "frame")) == raw(step, "sealed")
            continue
        arguments = [step[name] for name in ("peer", "generation", "now") if name in step]
        assert told(getattr(keys, step["do"])(*arguments)) == step["events"], step
        assert str(keys.kid) == step["kid"]


def test_a_receiver() -> None:
    (story,) = cases("receiver")
    ring = KeyRing[str]()
    outcomes = set()
    for step in story["steps"]:
        if step["do"] == "add":
            ring.add(step["sender"], MediaKey(step["generation"], step["step"], raw(step, "base_key")))
        elif step["do"] == "remove":
            ring.remove(step["sender"])
        else:
            outcome = open_or_code(ring, step)
            assert outcome == (step.get("opened"), step.get("error")), step
            outcomes.add(step.get("error", "opened"))
    assert outcomes == {"opened", "frame_replay", "unknown_frame_key", "decryption_failed"}


def open_or_code(ring: KeyRing[str], step: Case) -> tuple[str | None, str | None]:
    """What the frame opens to, or the code of its refusal."""
    try:
        opened = ring.open(step["sender"], Codec.named(step["codec"]), step["stream"], raw(step, "frame"), step["now"])
    except E2EEError as error:
        return None, error.code
    return opened.hex(), None
