"""Keys and encrypted messages at the server: opaque, bounded, each handed out or delivered as often as it may be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salam import RequestError
from signaling import Codec, Encoding, Limits, MessageError, Rate
from signaling.key_shelf import KeyShelf
from signaling.mailbox import Mailbox
from signaling.messages import Error, ParticipantUpdated, RoomState
from signaling.secure_messages import (
    Devices,
    FetchBundles,
    FetchDevices,
    KeyBundle,
    KeyBundles,
    KeysLow,
    KeysPublished,
    PublishKeys,
    SecureEnvelope,
    SecureMessage,
    SecureSent,
    SendSecure,
    TakeSecure,
)
from tests.signaling.world import Client, World


def keys(client: Client, device_id: int = 1, *, one_time: int = 100, kem_one_time: int = 20, mark: bytes = b"") -> PublishKeys:
    return PublishKeys(
        id=client.id,
        device_id=device_id,
        certificate=b"certificate" + mark,
        device_list=b"list" + mark,
        signed_prekey=b"signed" + mark,
        kem_prekey=b"last resort" + mark,
        one_time_prekeys=[b"one-time %d" % number for number in range(one_time)],
        kem_one_time_prekeys=[b"kem one-time %d" % number for number in range(kem_one_time)],
    )


def publish(client: Client, device_id: int = 1, **more: object) -> KeysPublished:
    reply = client.ask(keys(client, device_id, **more))  # type: ignore[arg-type]
    assert isinstance(reply, KeysPublished), reply
    return reply


def bundle(client: Client, of: Client) -> KeyBundle:
    reply = client.ask(FetchBundles(id=client.id, participant_ids=[of.participant_id]))
    assert isinstance(reply, KeyBundles), reply
    (only,) = reply.bundles
    return only


def send(client: Client, *to: tuple[Client, bytes], device_id: int = 1) -> SecureSent:
    envelopes = [SecureEnvelope(participant_id=peer.participant_id, device_id=device_id, message=data) for peer, data in to]
    reply = client.ask(SendSecure(id=client.id, messages=envelopes))
    assert isinstance(reply, SecureSent), reply
    return reply


def letters(client: Client) -> list[SecureMessage]:
    return [message for message in client.inbox if isinstance(message, SecureMessage)]


def two(limits: Limits | None = None) -> tuple[World, Client, Client]:
    world = World(limits)
    ada, ben = world.joined("Ada"), world.joined("Ben")
    publish(ada)
    publish(ben)
    return world, ada, ben


# ------------------------------------------------------------------------------------------------- keys


def test_published_keys_are_announced_and_told() -> None:
    world = World()
    ada, ben = world.joined("Ada"), world.joined("Ben")
    reply = publish(ada, 7)
    assert (reply.revision, reply.one_time_left, reply.kem_one_time_left) == (1, 100, 20)
    (update,) = [message for message in ben.inbox if isinstance(message, ParticipantUpdated)]
    assert update.participant.keys_revision == 1
    told = ben.ask(FetchDevices(id=ben.id, participant_ids=[ada.participant_id, ben.participant_id, "nobody"]))
    assert isinstance(told, Devices)
    (device,) = told.devices
    assert (device.participant_id, device.device_id, device.revision) == (ada.participant_id, 7, 1)
    assert (device.device_list, device.certificates) == (b"list", [b"certificate"])
    assert device.user_id == ada.welcome.user_id
    assert ada.welcome.guest


def test_a_token_says_who_its_bearer_is() -> None:
    world = World(dev=False)
    ada = world.joined("Ada", token=world.token("ada@example.org"))
    assert (ada.welcome.user_id, ada.welcome.guest) == ("ada@example.org", False)


def test_more_one_time_keys_are_no_news_to_others() -> None:
    _, ada, ben = two()
    ben.inbox.clear()
    bundle(ben, ada)
    reply = ada.ask(PublishKeys(id=ada.id, device_id=1, one_time_prekeys=[b"a", b"b"]))
    assert isinstance(reply, KeysPublished)
    assert (reply.revision, reply.one_time_left) == (1, 100)
    assert not [message for message in ben.inbox if isinstance(message, ParticipantUpdated)]


def test_a_longer_device_list_is_news_and_keeps_the_prekeys() -> None:
    _, ada, ben = two()
    request = PublishKeys(id=ada.id, device_id=1, device_list=b"longer", other_certificates=[b"second"])
    reply = ada.ask(request)
    assert isinstance(reply, KeysPublished)
    assert (reply.revision, reply.one_time_left) == (2, 100)
    told = ben.ask(FetchDevices(id=ben.id, participant_ids=[ada.participant_id]))
    assert isinstance(told, Devices)
    assert told.devices[0].certificates == [b"certificate", b"second"]


@pytest.mark.parametrize(
    "fields",
    [
        {"device_id": 1},
        {"device_id": 1, "certificate": b"c", "device_list": b"l"},
        {"device_id": 1, "certificate": b"c", "signed_prekey": b"s"},
        {"device_id": 1, "device_list": b"l", "signed_prekey": b"s"},
    ],
)
def test_a_device_needs_all_of_its_keys(fields: dict[str, object]) -> None:
    ada = World().joined("Ada")
    assert ada.refused(PublishKeys(id=ada.id, **fields)) == "incomplete_keys"  # type: ignore[arg-type]


def test_certificates_come_with_their_list() -> None:
    _, ada, _ = two()
    assert ada.refused(PublishKeys(id=ada.id, device_id=1, other_certificates=[b"second"])) == "incomplete_keys"


def test_nothing_secure_outside_of_a_room() -> None:
    world = World()
    ada = world.client()
    for request in (
        keys(ada),
        FetchDevices(id=ada.id, participant_ids=["x"]),
        FetchBundles(id=ada.id, participant_ids=["x"]),
        SendSecure(id=ada.id, messages=[SecureEnvelope(participant_id="x", device_id=1, message=b"m")]),
        TakeSecure(id=ada.id, number=1),
    ):
        assert ada.refused(request) == "not_joined"


def test_a_requester_gets_one_time_keys_once_an_hour() -> None:
    world, ada, ben = two()
    first = bundle(ben, ada)
    assert (first.one_time_prekey, first.kem_prekey, first.kem_once) == (b"one-time 0", b"kem one-time 0", True)
    again = bundle(ben, ada)
    assert (again.one_time_prekey, again.kem_prekey, again.kem_once) == (b"", b"last resort", False)
    assert again.signed_prekey == b"signed"
    other = bundle(world.joined("Cem"), ada)
    assert (other.one_time_prekey, other.kem_prekey) == (b"one-time 1", b"kem one-time 1")
    for client in (ada, ben):
        world.hub.heard(client.connection_id, world.now + 3_600.0)
    world.now += 3_600.0
    assert bundle(ben, ada).one_time_prekey == b"one-time 2"


def test_one_identity_with_many_sessions_is_one_requester() -> None:
    world = World()
    ada = world.joined("Ada", token=world.token("ada"))
    publish(ada)
    token = world.token("ben")
    assert bundle(world.joined("Ben", token=token), ada).one_time_prekey == b"one-time 0"
    assert bundle(world.joined("Ben", token=token), ada).one_time_prekey == b""


def test_when_too_many_ask_nobody_gets_one_time_keys() -> None:
    world = World(Limits(bundle_requesters=2))
    ada = world.joined("Ada")
    publish(ada)
    given = [bundle(world.joined(f"Guest {number}"), ada).one_time_prekey for number in range(3)]
    assert given == [b"one-time 0", b"one-time 1", b""]


def test_whoever_runs_low_is_told() -> None:
    world = World()
    ada = world.joined("Ada")
    publish(ada, one_time=26, kem_one_time=20)
    bundle(world.joined("Ben"), ada)
    assert not [message for message in ada.inbox if isinstance(message, KeysLow)]
    bundle(world.joined("Cem"), ada)
    assert KeysLow(one_time_left=24, kem_one_time_left=18) in ada.inbox


def test_a_bundle_without_any_one_time_keys_still_works() -> None:
    world = World()
    ada = world.joined("Ada")
    publish(ada, one_time=0, kem_one_time=0)
    only = bundle(world.joined("Ben"), ada)
    assert (only.one_time_prekey, only.kem_prekey, only.kem_once) == (b"", b"last resort", False)


def test_keys_go_with_their_participant() -> None:
    world, ada, ben = two()
    world.hub.disconnected(ada.connection_id, now=world.now, on_purpose=False)
    world.settle()
    assert bundle(ben, ada).signed_prekey == b"signed"
    world.hub.heard(ben.connection_id, world.now + 30.0)
    world.advance(31.0)
    reply = ben.ask(FetchBundles(id=ben.id, participant_ids=[ada.participant_id]))
    assert isinstance(reply, KeyBundles)
    assert reply.bundles == []
    assert world.hub.stats().secure_participants == 1


# ------------------------------------------------------------------------------------------------- messages


def test_a_message_reaches_its_device_alone() -> None:
    world, ada, ben = two()
    cem = world.joined("Cem")
    publish(cem)
    assert send(ada, (ben, b"for ben")).refused == []
    (letter,) = letters(ben)
    assert (letter.number, letter.participant_id, letter.device_id, letter.message) == (1, ada.participant_id, 1, b"for ben")
    assert letter.user_id == ada.welcome.user_id
    assert letter.purpose == "chat"
    assert letters(ada) == letters(cem) == []


def test_what_was_not_acknowledged_comes_again_on_resume() -> None:
    world, ada, ben = two()
    for number in range(3):
        send(ada, (ben, b"%d" % number))
    ben.done(TakeSecure(id=ben.id, number=1))
    world.hub.disconnected(ben.connection_id, now=world.now, on_purpose=False)
    world.settle()
    send(ada, (ben, b"while away"))
    back = world.client(resume=ben.welcome.resume)
    assert back.welcome.resumed
    assert [(letter.number, letter.message) for letter in letters(back)] == [(2, b"1"), (3, b"2"), (4, b"while away")]
    kinds = [type(message) for message in back.inbox]
    assert kinds.index(RoomState) < kinds.index(SecureMessage), "the room comes first, so that the senders are known"


def test_a_page_that_was_loaded_again_asks_by_publishing() -> None:
    world, ada, ben = two()
    send(ada, (ben, b"seen by nobody"))
    ben.inbox.clear()
    publish(ben)
    assert [letter.message for letter in letters(ben)] == [b"seen by nobody"]
    assert world.hub.stats().secure_waiting == 1


def test_another_device_gets_nothing_that_was_for_the_one_before() -> None:
    _, ada, ben = two()
    send(ada, (ben, b"for the first device"))
    ben.inbox.clear()
    publish(ben, 2, mark=b" of the second")
    assert letters(ben) == []
    (refused,) = send(ada, (ben, b"late")).refused
    assert (refused.participant_id, refused.device_id, refused.reason) == (ben.participant_id, 1, "device")
    assert send(ada, (ben, b"hello"), device_id=2).refused == []
    assert [letter.number for letter in letters(ben)] == [2], "numbers never come twice"


def test_refusals_name_each_message() -> None:
    world, ada, ben = two()
    stranger = world.joined("Cem", room="elsewhere")
    publish(stranger)
    without = world.joined("Robot")
    refused = send(ada, (stranger, b"a"), (without, b"b"), (ben, b"c")).refused
    assert [(each.participant_id, each.reason) for each in refused] == [
        (stranger.participant_id, "gone"),
        (without.participant_id, "device"),
    ]
    assert len(letters(ben)) == 1


def test_a_full_mailbox_refuses_and_the_others_get_theirs() -> None:
    world, ada, ben = two(Limits(secure_waiting=2))
    cem = world.joined("Cem")
    publish(cem)
    send(ada, (ben, b"1"), (ben, b"2"))
    (refused,) = send(ada, (ben, b"3"), (cem, b"3")).refused
    assert (refused.participant_id, refused.reason) == (ben.participant_id, "full")
    assert [letter.message for letter in letters(cem)] == [b"3"]
    assert world.drops == ["secure_full"]
    ben.done(TakeSecure(id=ben.id, number=2))
    assert send(ada, (ben, b"4")).refused == []


def test_too_many_messages_are_refused_whole() -> None:
    world, ada, ben = two(Limits(secure=Rate(1.0, 3)))
    assert send(ada, (ben, b"1"), (ben, b"2")).refused == []
    envelopes = [SecureEnvelope(participant_id=ben.participant_id, device_id=1, message=b"x")] * 2
    assert ada.refused(SendSecure(id=ada.id, messages=envelopes)) == "rate_limited"
    assert len(letters(ben)) == 2
    assert world.drops == ["rate_limited"]


def test_lines_of_chat_have_the_rate_of_chat() -> None:
    world, ada, ben = two(Limits(chat=Rate(1.0, 2)))
    cem = world.joined("Cem")
    publish(cem)
    assert send(ada, (ben, b"1"), (cem, b"1")).refused == [], "one line, however many read it"
    envelope = SecureEnvelope(participant_id=ben.participant_id, device_id=1, message=b"x")
    assert ada.refused(SendSecure(id=ada.id, messages=[envelope] * 2)) == "rate_limited"
    assert send(ada, (ben, b"2")).refused == []
    assert ada.refused(SendSecure(id=ada.id, messages=[envelope])) == "rate_limited"
    reply = ada.ask(SendSecure(id=ada.id, messages=[envelope] * 9, purpose="keys"))
    assert isinstance(reply, SecureSent), "keys of a call are no lines"
    assert world.drops == ["rate_limited"] * 2


def test_whoever_sends_has_keys_and_the_right_to_chat() -> None:
    world = World()
    ada = world.joined("Ada")
    envelope = SecureEnvelope(participant_id="x", device_id=1, message=b"m")
    assert ada.refused(SendSecure(id=ada.id, messages=[envelope])) == "no_keys"
    silent = world.client(world.token("silent", chat=False))
    silent.join("lobby", "Silent")
    publish(silent)
    assert silent.refused(SendSecure(id=silent.id, messages=[envelope])) == "grant_missing"
    reply = silent.ask(SendSecure(id=silent.id, messages=[envelope], purpose="keys"))
    assert isinstance(reply, SecureSent), "keys of a call are no chat"


def test_only_a_window_is_on_its_way() -> None:
    _, ada, ben = two(Limits(secure_window=2))
    for number in range(5):
        send(ada, (ben, b"%d" % number))
    assert [letter.number for letter in letters(ben)] == [1, 2]
    ben.done(TakeSecure(id=ben.id, number=1))
    assert [letter.number for letter in letters(ben)] == [1, 2, 3]
    ben.done(TakeSecure(id=ben.id, number=3))
    assert [letter.number for letter in letters(ben)] == [1, 2, 3, 4, 5]


# ------------------------------------------------------------------------------------------------- properties


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 60), st.sampled_from(["take one", "take sent", "lost", "nothing"])), max_size=60))
def test_a_mailbox_gives_everything_in_order_and_keeps_its_bounds(steps: list[int | str]) -> None:
    limits = Limits(secure_waiting=8, secure_waiting_bytes=200, secure_window=3, secure_window_bytes=80)
    box = Mailbox(limits)
    accepted: list[int] = []
    received: list[int] = []
    taken = 0
    for step in steps:
        if isinstance(step, int):
            if box.put("p", "u", 1, "chat", b"x" * step):
                accepted.append(step)
        elif step == "take one" and received:
            taken = max(taken, received[0])
            box.take(taken)
        elif step == "take sent" and received:
            taken = max(taken, max(received))
            box.take(taken)
        elif step == "lost":
            received = []
            box.rewind()
        received = [number for number in received if number > taken]
        for message in box.to_send():
            assert message.number == (received[-1] if received else taken) + 1, "in order, nothing left out"
            assert len(message.message) == accepted[message.number - 1]
            received.append(message.number)
        waiting = accepted[taken:]
        assert len(box) == len(waiting) <= limits.secure_waiting
        assert sum(waiting) <= limits.secure_waiting_bytes
        assert len(received) <= limits.secure_window
        assert len(received) <= 1 or sum(accepted[number - 1] for number in received) <= limits.secure_window_bytes
        assert not waiting or received, "whoever takes everything gets everything"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "more", "replace"]), st.integers(0, 5), st.floats(0, 2_000)),
        max_size=60,
    )
)
def test_no_one_time_key_is_handed_out_twice(steps: list[tuple[str, int, float]]) -> None:
    shelf = KeyShelf(Limits(one_time_prekeys=5, kem_one_time_prekeys=2, bundle_requesters=3))
    shelf.publish(PublishKeys(id=1, device_id=1, certificate=b"c", device_list=b"l", signed_prekey=b"s", kem_prekey=b"k"))
    now, made = 0.0, 0
    given_keys: list[bytes] = []
    served: dict[str, float] = {}
    for step, number, delta_s in steps:
        now += delta_s
        if step == "ask":
            only = shelf.bundle("p", f"requester {number}", now)
            if only.one_time_prekey or only.kem_once:
                assert now - served.get(f"requester {number}", -3_600.0) >= 3_600.0
                served[f"requester {number}"] = now
            given_keys += [key for key in (only.one_time_prekey, only.kem_prekey if only.kem_once else b"") if key]
            continue
        fresh = [b"%d" % (made + index) for index in range(number)]
        made += number
        replacing = {"certificate": b"c%d" % made, "device_list": b"l", "signed_prekey": b"s"} if step == "replace" else {}
        shelf.publish(PublishKeys(id=1, device_id=1, one_time_prekeys=fresh, **replacing))  # type: ignore[arg-type]
        assert shelf.one_time_left <= 5
    assert len(set(given_keys)) == len(given_keys)


def test_a_refused_publication_changes_nothing() -> None:
    shelf = KeyShelf(Limits())
    with pytest.raises(RequestError):
        shelf.publish(PublishKeys(id=1, device_id=3, certificate=b"c", one_time_prekeys=[b"x"]))
    assert (shelf.revision, shelf.device_id, shelf.one_time_left) == (0, 0, 0)


# ------------------------------------------------------------------------------------------------- wire


def test_bytes_are_base64_in_json_and_bytes_in_msgpack() -> None:
    request = SendSecure(id=1, messages=[SecureEnvelope(participant_id="p", device_id=1, message=b"\x00\xff")])
    in_json = Codec(Encoding.JSON)
    assert json.loads(in_json.encode(request))["messages"][0]["message"] == "AP8="
    assert in_json.decode_request(in_json.encode(request).decode()) == request
    packed = Codec(Encoding.MSGPACK)
    assert b"\x00\xff" in packed.encode(request)
    assert packed.decode_request(packed.encode(request)) == request


@pytest.mark.parametrize(
    "frame",
    [
        {"t": "send_secure", "messages": []},
        {"t": "send_secure", "messages": [{"participant_id": "p", "device_id": 0, "message": "AA=="}]},
        {"t": "send_secure", "messages": [{"participant_id": "p", "device_id": 1, "message": ""}]},
        {"t": "send_secure", "messages": [{"participant_id": "p", "device_id": 1, "message": "no base64!"}]},
        {"t": "send_secure", "messages": [{"participant_id": "p", "device_id": 1, "message": "A" * 109_232}]},
        {"t": "send_secure", "messages": [{"participant_id": "p", "device_id": 1, "message": "AA=="}] * 257},
        {"t": "send_secure", "purpose": "other", "messages": [{"participant_id": "p", "device_id": 1, "message": "AA=="}]},
        {"t": "publish_keys", "device_id": 1, "one_time_prekeys": ["AA=="] * 101},
        {"t": "publish_keys", "device_id": 1, "kem_one_time_prekeys": ["AA=="] * 21},
        {"t": "publish_keys", "device_id": 1, "one_time_prekeys": ["A" * 88 + "=="]},
        {"t": "publish_keys", "device_id": 2**32},
        {"t": "fetch_bundles", "participant_ids": ["p"] * 17},
        {"t": "fetch_devices", "participant_ids": []},
    ],
    ids=lambda frame: f"{frame['t']}-{len(json.dumps(frame))}",
)
def test_what_is_out_of_shape_is_refused_with_its_reason(frame: dict[str, object]) -> None:
    with pytest.raises(MessageError) as refused:
        Codec(Encoding.JSON).decode_request(json.dumps({"id": 5, **frame}))
    assert (refused.value.code, refused.value.request_id) == ("invalid_message", 5)


def test_a_malformed_envelope_is_answered_and_the_session_goes_on() -> None:
    world, ada, _ = two()
    with pytest.raises(MessageError) as refused:
        Codec(Encoding.JSON).decode_request('{"t":"take_secure","id":9,"number":-1}')
    world.hub.malformed(ada.connection_id, refused.value, world.now)
    world.settle()
    assert [message.re for message in ada.inbox if isinstance(message, Error)] == [9]
    ada.done(TakeSecure(id=ada.id, number=0))
