"""Sessions from end to end."""

from e2ee.certificates import device_key_signature, issue_certificate
from e2ee.handshake import LocalDevice, PreKeyMessage, PreKeySecrets, initiate, respond
from e2ee.limits import Policy
from e2ee.prekeys import Bundle, make_kem_prekey, make_one_time_prekey, make_signed_prekey
from e2ee.primitives import agreement_pair, signing_pair
from e2ee.primitives import system_random as R
from e2ee.session import Session


def device(user, account):
    s, a = signing_pair(R(32)), agreement_pair(R(32))
    c = issue_certificate(
        account,
        user_id=user,
        device_id=1,
        signing_public=s.public,
        agreement_public=a.public,
        device_signature=device_key_signature(s, user, 1, a.public),
        created=1,
        suites=(1, 2),
    )
    return LocalDevice(c, s, a)


def test_talk() -> None:
    alice, bob = device("alice", signing_pair(R(32))), device("bob", signing_pair(R(32)))
    spk, spk_pair = make_signed_prekey(bob.signing, 1, 1, R)
    opk, opk_pair = make_one_time_prekey(2, R)
    kem, kem_pair = make_kem_prekey(bob.signing, 3, 1, R, once=True)
    bundle = Bundle.parse(Bundle(bob.certificate, spk, opk, kem, True).encode())
    a = initiate(alice, bundle, Policy(), now=1.0)
    first = a.encrypt(b"hello", now=1.0)
    pre = PreKeyMessage.parse(first)
    b = respond(bob, alice.certificate, pre, PreKeySecrets(spk_pair, opk_pair, kem_pair), Policy(), now=2.0)
    assert b.decrypt(first, now=2.0) == b"hello"
    for i in range(5):
        late = b.encrypt(b"late%d" % i, now=3.0)
        b = Session.from_record(b.to_record())
        m = b.encrypt(b"x" * i, now=3.0)
        assert a.decrypt(m, now=3.0) == b"x" * i
        a = Session.from_record(a.to_record(), a.drain_changes().added)
        assert a.decrypt(late, now=3.0) == b"late%d" % i
        m = a.encrypt(b"y" * i, now=3.0)
        assert m[1] == 1
        assert b.decrypt(m, now=3.0) == b"y" * i
    print(len(a.to_record()), len(m))
