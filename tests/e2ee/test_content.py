"""The kinds of content."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.content import (
    ApplicationContent,
    CallKey,
    CallKeyAck,
    Content,
    ContentKind,
    GroupOperations,
    Reset,
    SenderKeyDistribution,
    encode,
    parse,
)
from e2ee.errors import MalformedMessage

U32 = st.integers(0, 2**32 - 1)


def exactly(length: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=length, max_size=length)


CONTENTS: st.SearchStrategy[Content] = st.one_of(
    st.builds(ApplicationContent, st.binary(max_size=200)),
    st.builds(
        SenderKeyDistribution,
        group_id=exactly(16),
        epoch=U32,
        key_id=exactly(8),
        iteration=U32,
        chain_key=exactly(32),
        signing_public=exactly(32),
    ),
    st.builds(GroupOperations, group_id=exactly(16), operations=st.lists(st.binary(max_size=50), max_size=5).map(tuple)),
    st.builds(CallKey, call_id=exactly(16), generation=U32, step=st.just(0), base_key=exactly(32)),
    st.builds(CallKey, call_id=exactly(16), generation=U32, step=st.integers(1, 15), base_key=exactly(64)),
    st.builds(Reset),
    st.builds(CallKeyAck, call_id=exactly(16), generation=U32),
)


@given(CONTENTS)
@settings(max_examples=200, deadline=None)
def test_content_comes_back(content: Content) -> None:
    data = encode(content)
    assert data[0] == content.kind
    assert parse(data) == content
    if content.kind is not ContentKind.APPLICATION:
        with pytest.raises(MalformedMessage):
            parse(data + b"\x00")
        with pytest.raises(MalformedMessage):
            parse(data[:-1])


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_content_or_malformed(data: bytes) -> None:
    try:
        content = parse(data)
    except MalformedMessage:
        return
    assert encode(content) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x06",
        b"\xff" * 40,
        b"\x04\x00",
        b"\x03" + bytes(16 + 4) + b"\x10\x00\x40" + bytes(64),
        b"\x03" + bytes(16 + 4) + b"\x00\x00\x40" + bytes(64),
        b"\x03" + bytes(16 + 4) + b"\x01\x00\x20" + bytes(32),
        b"\x02" + bytes(16) + b"\xff\xff",
    ],
    ids=range(8),
)
def test_what_is_no_content(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse(data)


def test_fields_of_the_wrong_length_are_not_written() -> None:
    key = {"epoch": 0, "key_id": bytes(8), "iteration": 0, "chain_key": bytes(32), "signing_public": bytes(32)}
    wrong: list[Content] = [
        SenderKeyDistribution(group_id=bytes(15), **key),  # type: ignore[arg-type]
        SenderKeyDistribution(group_id=bytes(16), **{**key, "chain_key": bytes(31)}),  # type: ignore[arg-type]
        GroupOperations(group_id=b"", operations=()),
        CallKey(call_id=bytes(16), generation=0, step=1, base_key=bytes(32)),
        CallKey(call_id=bytes(16), generation=0, step=16, base_key=bytes(64)),
        CallKeyAck(call_id=bytes(17), generation=0),
    ]
    for content in wrong:
        with pytest.raises(MalformedMessage):
            encode(content)


def test_secrets_are_not_shown() -> None:
    secret = b"\x77" * 32
    key = SenderKeyDistribution(
        group_id=bytes(16), epoch=0, key_id=bytes(8), iteration=0, chain_key=secret, signing_public=bytes(32)
    )
    shown = repr((key, CallKey(call_id=bytes(16), generation=0, step=0, base_key=secret), ApplicationContent(secret)))
    assert "w" * 4 not in shown
