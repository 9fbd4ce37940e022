"""What a publisher's URL says: application, stream name and token.

The URL is ``rtmp://HOST:PORT/APP/STREAM?token=JWT``. Encoders cut it in different places: the query may come with the stream
name (OBS's stream key, FFmpeg), with the application name, or with the whole URL that the connect command repeats (``tcUrl``).
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from salam import ProtocolError

__all__ = ["is_stream_name", "split_app", "split_stream", "token_in"]

# The name becomes a path segment of playlists and is typed into commands: no separators, no dot files, nothing that looks like an
# option, nothing to escape. The live origin and the signaling server name streams by the same rule.
_STREAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A signed token with a handful of claims has 300 to 1,000 characters; headers of HTTP servers end at 8 KiB too.
_MAX_ADDRESS_CHARS = 8192
_MAX_QUERY_FIELDS = 16


def is_stream_name(name: str) -> bool:
    """Say whether ``name`` can be a stream's name: 1 to 64 letters, digits, ``-``, ``_`` and ``.``, a letter or digit first."""
    return _STREAM_NAME.fullmatch(name) is not None


def split_app(app: str) -> str:
    """Return the application name in the connect command's ``app``, without query and slashes."""
    return app.partition("?")[0].strip("/")


def split_stream(stream: str) -> str:
    """Return the stream name in the publish command's name, without its query."""
    return stream.partition("?")[0]


def token_in(*addresses: str) -> str:
    """Return the first ``token`` query value found in ``addresses``, or an empty string.

    Raises ProtocolError for an address of more than 8192 characters or a query of more than 16 fields.
    """
    for address in addresses:
        if len(address) > _MAX_ADDRESS_CHARS:
            raise ProtocolError(f"an address of {len(address)} characters; {_MAX_ADDRESS_CHARS} are allowed")
        try:
            fields = parse_qsl(address.partition("?")[2], max_num_fields=_MAX_QUERY_FIELDS, errors="replace")
        except ValueError:
            raise ProtocolError(f"a query with more than {_MAX_QUERY_FIELDS} fields") from None
        for key, value in fields:
            if key == "token":
                return value
    return ""
