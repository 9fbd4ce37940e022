"""Long-term credentials: the vectors of the RFCs, preparation of strings, password algorithms, and bidding down."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salam import ConfigError
from tests.support.vectors import load_vectors, vector_file
from turn_client.credentials import (
    Authenticator,
    Challenge,
    LongTermCredentials,
    PasswordAlgorithm,
    SecurityFeature,
    nonce_features,
)
from turn_client.errors import BadCredentials, BidDown, TurnError
from turn_client.opaque_string import opaque_string, prepared_password, saslprep
from turn_client.stun import Attribute, MessageClass, Method, StunMessage, build_message, encode_error_code, parse_message

USER = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
# The password of RFC 5769 section 2.4, before and after its preparation.
RAW_PASSWORD, PASSWORD = "The\u00adM\u00aatr\u2168", "TheMatrIX"
MD5, SHA256 = b"\0\1\0\0", b"\0\2\0\0"
TRANSACTION = bytes(12)


@pytest.fixture
def corrected_b1() -> bytes:
    """RFC 8489 appendix B.1 with its verified erratum."""
    return bytes.fromhex(vector_file("stun/rfc8489-b1-corrected.hex").read_text().strip())


def challenge(
    *extra: tuple[int, bytes], code: int = 401, realm: str | None = "example.org", nonce: bytes | None = b"n1"
) -> StunMessage:
    attributes = [(Attribute.ERROR_CODE, encode_error_code(code, "no")), *extra]
    if realm is not None:
        attributes.append((Attribute.REALM, realm.encode()))
    if nonce is not None:
        attributes.append((Attribute.NONCE, nonce))
    return parse_message(build_message(Method.ALLOCATE, MessageClass.ERROR, TRANSACTION, attributes))


def cookie(*, algorithms: bool, anonymous: bool = False) -> bytes:
    return b"obMatJos2" + base64.b64encode(bytes((0, 0, algorithms | anonymous << 1))) + b"tail"


@pytest.mark.parametrize("password", [RAW_PASSWORD, PASSWORD])
def test_rfc5769_long_term(password: str) -> None:
    message = parse_message(bytes.fromhex(load_vectors("stun/rfc5769.json")["5769-2.4-longterm"]))
    credentials = LongTermCredentials(USER, password)
    assert message.username == USER
    assert message.check_integrity(credentials.key("example.org", PasswordAlgorithm.MD5))
    assert not message.check_integrity(credentials.key("example.com", PasswordAlgorithm.MD5))


@pytest.mark.parametrize("name", ["5769-2.1-request", "5769-2.2-ipv4", "5769-2.3-ipv6"])
def test_rfc5769_short_term(name: str) -> None:
    message = parse_message(bytes.fromhex(load_vectors("stun/rfc5769.json")[name]))
    assert message.check_integrity(b"VOkJxbRl1RmTxUk/WvJxBt")


@pytest.mark.parametrize("password", [RAW_PASSWORD, PASSWORD])
def test_rfc8489_sha256_and_userhash(password: str, corrected_b1: bytes) -> None:
    message = parse_message(corrected_b1)
    credentials = LongTermCredentials(USER, password)
    assert message.get(Attribute.USERHASH) == credentials.userhash("example.org")
    assert message.check_integrity_sha256(credentials.key("example.org", PasswordAlgorithm.SHA256))
    assert message.get(Attribute.PASSWORD_ALGORITHM) == SHA256


def test_our_request_is_the_vector(corrected_b1: bytes) -> None:
    """What we sign by the challenge of the vector is the vector, but for PASSWORD-ALGORITHMS, which its request lacks."""
    vector = parse_message(corrected_b1)
    nonce = vector.get(Attribute.NONCE)
    assert nonce is not None
    authenticator = Authenticator(LongTermCredentials(USER, PASSWORD))
    authenticator.learn(challenge((Attribute.PASSWORD_ALGORITHMS, SHA256), nonce=nonce))
    data, signature = authenticator.build(Method.BINDING, vector.transaction_id, [])
    ours = parse_message(data)
    assert signature is not None
    assert signature.verifies(ours)
    assert signature.verifies(vector)
    for kind in (Attribute.USERHASH, Attribute.NONCE, Attribute.REALM, Attribute.PASSWORD_ALGORITHM):
        assert ours.get(kind) == vector.get(kind)
    assert ours.username is None


def test_the_printed_form_of_b1_is_refused() -> None:
    printed = bytes.fromhex(load_vectors("stun/rfc5769.json")["8489-B.1-sha256-userhash"])
    with pytest.raises(Exception, match="does not match"):
        parse_message(printed)


def test_secrets_stay_out_of_reprs() -> None:
    credentials = LongTermCredentials("alice", "wonderland")
    authenticator = Authenticator(credentials)
    authenticator.learn(challenge())
    _, signature = authenticator.build(Method.ALLOCATE, TRANSACTION, [])
    assert "wonderland" not in repr(credentials)
    assert credentials.key("example.org", PasswordAlgorithm.MD5).hex() not in repr(signature)
    assert "key" not in repr(signature)


class TestPreparation:
    @pytest.mark.parametrize(
        ("text", "prepared"),
        [
            ("plain", "plain"),
            ("a\u00a0b\u3000c", "a b c"),
            ("A\u030a", "\u00c5"),
            ("\u212b", "\u00c5"),
            ("Case Stays", "Case Stays"),
        ],
    )
    def test_opaque_string(self, text: str, prepared: str) -> None:
        assert opaque_string(text, what="it") == prepared

    @pytest.mark.parametrize("text", ["", "a\x00", "tab\t", "soft\u00adhyphen", "\ue000", "\ufdd0", "\u1100", "x\u200d", "\u0378"])
    def test_opaque_string_disallows(self, text: str) -> None:
        with pytest.raises(ConfigError, match="it "):
            opaque_string(text, what="it")

    def test_a_joiner_after_a_virama(self) -> None:
        assert opaque_string("\u0915\u094d\u200d", what="it") == "\u0915\u094d\u200d"

    def test_saslprep(self) -> None:
        # The examples of RFC 4013 section 3.
        assert saslprep("I\u00adX", what="it") == "IX"
        assert saslprep("\u00aa", what="it") == "a"
        assert saslprep("\u2168", what="it") == "IX"
        with pytest.raises(ConfigError):
            saslprep("\u0007", what="it")

    @given(st.text())
    def test_any_text_is_prepared_or_refused(self, text: str) -> None:
        try:
            prepared = prepared_password(text)
        except ConfigError:
            return
        assert prepared
        try:
            assert opaque_string(opaque_string(text, what="it"), what="it") == opaque_string(text, what="it")
        except ConfigError:
            assert saslprep(text, what="it") == prepared

    def test_a_username_has_a_length(self) -> None:
        LongTermCredentials("n" * 508, "p")
        with pytest.raises(ConfigError, match="508"):
            LongTermCredentials("n" * 509, "p")

    @pytest.mark.parametrize(("name", "password"), [("", "p"), ("n", ""), ("n\n", "p"), ("n", "p\n")])
    def test_unusable_credentials(self, name: str, password: str) -> None:
        with pytest.raises(ConfigError):
            LongTermCredentials(name, password)


class TestNonceCookie:
    def test_features(self) -> None:
        both = SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY
        assert nonce_features(cookie(algorithms=True, anonymous=True)) == both
        assert nonce_features(cookie(algorithms=True)) == SecurityFeature.PASSWORD_ALGORITHMS
        assert nonce_features(cookie(algorithms=False)) == SecurityFeature(0)
        # Bits that no RFC has given a meaning yet.
        assert nonce_features(b"obMatJos2///8") == SecurityFeature(0)
        # The nonce of RFC 8489 appendix B.1, whose request hides the username.
        assert nonce_features(b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA") == SecurityFeature.USERNAME_ANONYMITY

    @pytest.mark.parametrize("nonce", [b"", b"obMatJos2", b"obMatJos2AA", b"obMatJos2*AAB", b"other1234AAAD", b"\xff" * 20])
    def test_no_cookie(self, nonce: bytes) -> None:
        assert nonce_features(nonce) == SecurityFeature(0)

    @given(st.binary(max_size=64))
    def test_any_nonce(self, tail: bytes) -> None:
        assert isinstance(nonce_features(b"obMatJos2" + tail), SecurityFeature)


class TestChallenge:
    def test_the_first_algorithm_that_we_know(self) -> None:
        unknown = b"\x12\x34\0\3abc\0"
        for order, chosen in (((unknown, SHA256, MD5), PasswordAlgorithm.SHA256), ((MD5, SHA256), PasswordAlgorithm.MD5)):
            parsed = Challenge.parse(challenge((Attribute.PASSWORD_ALGORITHMS, b"".join(order))), None)
            assert parsed.algorithm is chosen
            assert parsed.algorithms == b"".join(order)

    def test_none_that_we_know(self) -> None:
        with pytest.raises(BidDown, match="knows"):
            Challenge.parse(challenge((Attribute.PASSWORD_ALGORITHMS, b"\0\x09\0\0")), None)

    def test_the_list_was_removed(self) -> None:
        with pytest.raises(BidDown, match="missing"):
            Challenge.parse(challenge(nonce=cookie(algorithms=True)), None)

    def test_cookie_and_list_were_removed_later(self) -> None:
        first = Challenge.parse(challenge((Attribute.PASSWORD_ALGORITHMS, SHA256), nonce=cookie(algorithms=True)), None)
        with pytest.raises(BidDown, match="before"):
            Challenge.parse(challenge(code=438), first)

    def test_438_without_a_realm_keeps_the_old_one(self) -> None:
        first = Challenge.parse(challenge(), None)
        assert Challenge.parse(challenge(code=438, realm=None, nonce=b"n2"), first) == Challenge("example.org", b"n2")

    @pytest.mark.parametrize("what", [{"realm": None}, {"nonce": None}, {"realm": "bad\u0007realm"}])
    def test_nothing_to_sign_with(self, what: dict[str, Any]) -> None:
        with pytest.raises(TurnError) as caught:
            Challenge.parse(challenge(**what), None)
        assert caught.value.code == "turn_bad_challenge"


class TestAuthenticator:
    def test_unsigned_before_a_challenge(self) -> None:
        authenticator = Authenticator(LongTermCredentials("alice", "secret"))
        data, signature = authenticator.build(Method.ALLOCATE, TRANSACTION, [(Attribute.LIFETIME, bytes(4))])
        assert signature is None
        assert authenticator.key() is None
        assert parse_message(data).attributes == ((Attribute.LIFETIME, bytes(4)),)

    def test_md5_and_sha1_by_default(self) -> None:
        authenticator = Authenticator(LongTermCredentials("alice", "secret"))
        authenticator.learn(challenge())
        data, signature = authenticator.build(Method.ALLOCATE, TRANSACTION, [])
        message = parse_message(data)
        assert message.check_integrity(hashlib.md5(b"alice:example.org:secret").digest())
        assert message.get(Attribute.MESSAGE_INTEGRITY_SHA256) is None
        assert signature is not None
        assert signature.verifies(message)

    def test_a_truncated_sha256_does_not_verify(self) -> None:
        authenticator = Authenticator(LongTermCredentials("alice", "secret"))
        authenticator.learn(challenge((Attribute.PASSWORD_ALGORITHMS, SHA256)))
        data, signature = authenticator.build(Method.ALLOCATE, TRANSACTION, [])
        assert signature is not None
        # The same, cut to 16 bytes and signed anew by truncation, as RFC 8489 section 14.6 lets other usages do.
        head = data[:-36]
        length = (len(head) - 20 + 20).to_bytes(2, "big")
        full = hmac.new(signature.key, head[:2] + length + head[4:], "sha256").digest()
        short = head[:2] + length + head[4:] + b"\0\x1c\0\x10" + full[:16]
        assert parse_message(short).check_integrity_sha256(signature.key)
        assert not signature.verifies(parse_message(short))

    def test_another_realm(self) -> None:
        authenticator = Authenticator(LongTermCredentials("alice", "secret", realm="salam.test"))
        with pytest.raises(BadCredentials, match="realm"):
            authenticator.learn(challenge())

    def test_renewed_credentials_and_a_copy(self) -> None:
        authenticator = Authenticator(LongTermCredentials("alice", "secret"))
        authenticator.learn(challenge())
        twin = authenticator.copy()
        old = authenticator.key()
        authenticator.renew(LongTermCredentials("alice", "better"))
        assert authenticator.key() != old
        assert twin.key() == old
