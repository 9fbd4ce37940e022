"""The published JSON schema of the ``salam.v1`` protocol, made from the message structs so that it cannot differ from them."""

from __future__ import annotations

from typing import Any

import msgspec

from signaling.messages import Request, ServerMessage

__all__ = ["protocol_schema"]


def protocol_schema() -> dict[str, Any]:
    """Return one JSON Schema (2020-12) document: ``$defs`` holds every message, ``properties`` says which side sends which."""
    (requests, server_messages), definitions = msgspec.json.schema_components(
        (Request, ServerMessage), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "salam.v1",
        "description": "Messages of the salam.v1.json and salam.v1.msgpack WebSocket subprotocols.",
        "type": "object",
        "properties": {"from_client": requests, "from_server": server_messages},
        "$defs": definitions,
    }
