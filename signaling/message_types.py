"""What all messages of the ``salam.v1`` protocol are made of: their base and the bounded types of their fields."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["ChatText", "DisplayName", "Message", "Name", "RequestId", "Sdp", "ShortId"]

# A name is used in URLs, file names and metric-free logs; 64 is what DNS labels and most chat systems settle on (63 to 64).
# The look-ahead is for Python, whose `$` also matches before a line end.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")]
DisplayName = Annotated[str, Meta(min_length=1, max_length=64)]
# Chromium's largest offers, with 30 m-lines, stay under 100 kB; the bound leaves room for other browsers.
Sdp = Annotated[str, Meta(min_length=1, max_length=262_144)]
ChatText = Annotated[str, Meta(min_length=1, max_length=2_000)]
# Whole numbers that JavaScript keeps exact (2**53 - 1); the reply has to carry the same one.
RequestId = Annotated[int, Meta(ge=0, le=9_007_199_254_740_991)]
ShortId = Annotated[str, Meta(min_length=1, max_length=64)]


class Message(Struct, tag_field="t", omit_defaults=True, kw_only=True):
    """One message, with its type in ``t``; fields that have their defaults are left out."""
