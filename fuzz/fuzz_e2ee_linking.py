"""Fuzz target: every message of linking, read by the side that it is for; a refusal leaves that side where it was."""

from e2ee.certificates import issue_device_list
from e2ee.errors import E2EEError
from e2ee.linking import LinkState, NewDevice, PrimaryDevice
from e2ee.primitives import agreement_pair, signing_pair

_ACCOUNT = signing_pair(b"k" * 32)


def _new() -> NewDevice:
    return NewDevice(signing=signing_pair(b"s" * 32), agreement=agreement_pair(b"a" * 32), suites=(1, 2), random=_random)


def _primary() -> PrimaryDevice:
    return PrimaryDevice(_ACCOUNT, user_id="alice", device_id=2, random=_random)


def _random(length: int) -> bytes:
    return b"\x07" * length


def _messages() -> list[bytes]:
    new, primary = _new(), _primary()
    proposal = primary.propose(new.offer)
    accept = new.propose(proposal)
    primary.accept(accept)
    primary.confirm()
    certificate = primary.certificate(created=1)
    listed = issue_device_list(_ACCOUNT, user_id="alice", created=1, certificates=(certificate,))
    return [new.offer, proposal, accept, primary.complete(listed)]


SEEDS: list[bytes] = _messages()


def one_input(data: bytes) -> None:
    """Read ``data`` at each of the four steps."""
    new, primary, untouched = _new(), _primary(), _primary()
    primary.propose(new.offer)
    waiting = _new()
    waiting.propose(SEEDS[1])
    waiting.confirm()
    steps = (
        (untouched, untouched.propose, LinkState.STARTED),
        (new, new.propose, LinkState.STARTED),
        (primary, primary.accept, LinkState.PROPOSED),
        (waiting, waiting.complete, LinkState.CONFIRMED),
    )
    for side, read, state in steps:
        try:
            read(data)
        except E2EEError:
            assert side.state is state
