"""Everything that a server in this process reads and writes on WebSockets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from signaling import Codec

__all__ = ["Tap"]


class Tap:
    """Notes every message from when it is made until the end of the test, in both directions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Any] = []
        decode, encode = Codec.decode_request, Codec.encode

        def decoding(codec: Codec, frame: bytes | str) -> Any:
            self.seen.append(request := decode(codec, frame))
            return request

        def encoding(codec: Codec, message: Any) -> bytes:
            self.seen.append(message)
            return encode(codec, message)

        monkeypatch.setattr(Codec, "decode_request", decoding)
        monkeypatch.setattr(Codec, "encode", encoding)

    def holds(self, text: str) -> bool:
        """Whether the text is in any field of any message, those with bytes included."""
        return any(text.encode() in msgspec.msgpack.encode(message) for message in self.seen)
