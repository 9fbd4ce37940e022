"""Fuzz target: the STUN parser raises its own exception type or nothing."""

from turn_client import Attribute, MessageClass, StunError, build_message, encode_error_code, encode_xor_address, parse_message

_TRANSACTION = b"0123456789ab"

SEEDS: list[bytes] = [
    build_message(
        1,
        MessageClass.REQUEST,
        _TRANSACTION,
        [
            (Attribute.USERNAME, b"local:remote"),
            (Attribute.PRIORITY, bytes(4)),
            (Attribute.ICE_CONTROLLING, bytes(8)),
            (Attribute.USE_CANDIDATE, b""),
        ],
        integrity_key=b"password",
        fingerprint=True,
    ),
    build_message(
        1,
        MessageClass.SUCCESS,
        _TRANSACTION,
        [(Attribute.XOR_MAPPED_ADDRESS, encode_xor_address("2001:db8::1", 40000, _TRANSACTION))],
        integrity_key=b"password",
        fingerprint=True,
    ),
    build_message(1, MessageClass.ERROR, _TRANSACTION, [(Attribute.ERROR_CODE, encode_error_code(420, "Unknown Attribute"))]),
]


def one_input(data: bytes) -> None:
    """Parse ``data`` and, when it is a message, read everything that it says."""
    try:
        message = parse_message(data)
    except StunError:
        return
    _ = (
        message.username,
        message.priority,
        message.use_candidate,
        message.error,
        message.mapped_address,
        message.unknown_required(),
    )
    message.check_integrity(b"key")
    message.check_integrity_sha256(b"key")
