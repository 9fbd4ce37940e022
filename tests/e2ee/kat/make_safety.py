"""Writes safety.json: ``python -m tests.e2ee.kat.make_safety``. All of it follows from names.

Types of cases: ``number`` (two users and their account keys give ``number``, in either order), ``code`` (``encoded`` is what the
user's screen shows; ``checked`` says what the peer's camera makes of it, given what the peer knows), ``code_refused``.
"""

from __future__ import annotations

from e2ee.errors import E2EEError
from e2ee.primitives import signing_pair
from e2ee.safety_number import SafetyCode, check_code, safety_number
from tests.support.e2ee import edited, flip, write_kat
from tests.support.kat import Case, append, cut, refusal, seeded

_PAIRS = [("alice", "bob"), ("a", "b" * 255), ("زيد", "ليلى"), ("same", "same"), ("～wide", "😀")]


def _key(name: str) -> bytes:
    return signing_pair(seeded(f"account {name}")).public


def _checks(code: SafetyCode) -> list[Case]:
    known = {"user": code.peer_id, "account": code.peer_account.hex(), "peer": code.user_id, "peer_account": code.account.hex()}
    others = {"peer": "mallory", "user": "mallory", "peer_account": _key("mallory").hex(), "account": _key("mallory").hex()}
    checked: list[Case] = []
    for case in [known, *(known | {name: value} for name, value in others.items())]:
        try:
            check_code(
                code.encode(),
                user_id=case["user"],
                account=bytes.fromhex(case["account"]),
                peer_id=case["peer"],
                peer_account=bytes.fromhex(case["peer_account"]),
            )
        except E2EEError as error:
            checked.append(case | refusal(error))
        else:
            checked.append(case | {"error": None})
    return checked


def cases() -> list[Case]:
    made: list[Case] = []
    for user, peer in _PAIRS:
        keys = _key(user), _key(f"{peer} again" if peer == user else peer)
        case = {"type": "number", "name": f"{user} and {peer[:9]}", "user": user, "account": keys[0].hex()}
        made.append(case | {"peer": peer, "peer_account": keys[1].hex(), "number": safety_number(user, keys[0], peer, keys[1])})
    for user, peer in _PAIRS[:3]:
        code = SafetyCode(user_id=user, account=_key(user), peer_id=peer, peer_account=_key(peer))
        case = {"type": "code", "name": f"code of {user} for {peer[:9]}", "user": user, "account": code.account.hex()}
        case |= {"peer": peer, "peer_account": code.peer_account.hex()}
        made.append(case | {"encoded": code.encode().hex(), "checked": _checks(code)})
    encoded = bytes.fromhex(made[-1]["encoded"])
    edits = [("magic", flip(encoded, 0)), ("end", cut(encoded, len(encoded) - 1)), ("more", append(encoded, b"\0"))]
    edits += [("nothing", cut(encoded, 0)), ("no user", {"at": 4, "delete": 2 + 6, "insert": "0000"})]
    edits += [("no UTF-8", {"at": 6, "delete": 1, "insert": "ff"})]
    for name, edit in edits:
        try:
            SafetyCode.parse(edited(encoded, [edit]))
        except E2EEError as error:
            made.append({"type": "code_refused", "name": name, "encoded": edited(encoded, [edit]).hex()} | refusal(error))
    return made


if __name__ == "__main__":
    write_kat("safety", "Types of cases as in make_safety.py.", cases())
