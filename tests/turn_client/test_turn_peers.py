"""Permissions, channels, queues and the isolation of peers from one another, against a strict server in simulated time."""

from dataclasses import replace

import pytest

from tests.support.turn_server import StrictTurnServer
from tests.support.turn_world import CLIENT, CREDENTIALS, PEER, TurnWorld, Weather
from turn_client.attributes import Icmp
from turn_client.channels import FIRST_CHANNEL, LAST_CHANNEL, ChannelNumbers
from turn_client.config import AllocationConfig
from turn_client.errors import PeerRefused, TooManyPeers, TransactionTimeout
from turn_client.events import IcmpReceived, PeerFailed, PeerReady, Received

CONFIG = AllocationConfig(CREDENTIALS)
OTHER = ("198.51.100.88", 6000)
SAME_HOST = (PEER[0], 7000)
PEER_V6 = ("2001:db8::77", 5000)


def is_channel_data(data: bytes) -> bool:
    return data[0] & 0xC0 == 0x40


class TestSending:
    def test_permission_then_indications_then_a_channel(self) -> None:
        world = TurnWorld().start()
        world.send(b"1")
        world.send(b"2")
        world.run(0.05)
        assert world.of(PeerReady) == [PeerReady(PEER, None)]
        world.send(b"3")
        world.run(0.03)
        assert [data for _, _, data in world.at_peer] == [b"1", b"2", b"3"]
        world.run(0.1)
        assert world.of(PeerReady) == [PeerReady(PEER, None), PeerReady(PEER, FIRST_CHANNEL)]
        world.send(b"4")
        world.run(1)
        assert is_channel_data(world.sent[-1])
        assert [data for _, _, data in world.at_peer] == [b"1", b"2", b"3", b"4"]
        assert (world.server.requests["CREATE_PERMISSION"], world.server.requests["CHANNEL_BIND"]) == (1, 1)

    def test_one_datagram_makes_no_channel(self) -> None:
        world = TurnWorld().start()
        world.send(b"check")
        world.run(100)
        assert world.server.requests["CHANNEL_BIND"] == 0

    def test_never_a_channel_by_itself(self) -> None:
        world = TurnWorld(replace(CONFIG, channel_after_packets=0)).start()
        for _ in range(10):
            world.send(b"x")
            world.run(1)
        assert world.server.requests["CHANNEL_BIND"] == 0
        assert len(world.at_peer) == 10

    def test_bind_takes_one_round_trip(self) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.send(b"early")
        world.run(0.05)
        assert world.of(PeerReady) == [PeerReady(PEER, None), PeerReady(PEER, FIRST_CHANNEL)]
        world.run(1)
        assert [data for _, _, data in world.at_peer] == [b"early"]
        assert (world.server.requests["CREATE_PERMISSION"], world.server.requests["CHANNEL_BIND"]) == (0, 1)

    def test_before_the_allocation(self) -> None:
        world = TurnWorld()
        world.send(b"very early")
        world.allocation.bind(OTHER, world.now)
        world.start()
        assert [data for _, _, data in world.at_peer] == [b"very early"]
        assert PeerReady(OTHER, FIRST_CHANNEL) in world.events

    def test_frame_is_for_bound_peers(self) -> None:
        world = TurnWorld().start()
        assert world.allocation.frame(PEER, b"x") is None
        world.allocation.bind(PEER, world.now)
        world.run(1)
        assert world.allocation.frame(PEER, b"abc") == b"\x40\x00\x00\x03abc"
        assert world.allocation.stats(world.now).channel_packets_sent == 1

    @pytest.mark.parametrize(("data", "padding"), [(b"", 0), (b"a", 3), (b"ab", 2), (b"abc", 1), (b"abcd", 0)])
    def test_streams_are_padded(self, data: bytes, padding: int) -> None:
        world = TurnWorld(replace(CONFIG, reliable=True)).start()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        expected = b"\x40\x00\x00" + bytes((len(data),)) + data + bytes(padding)
        assert world.allocation.frame(PEER, data) == expected
        world.send(data)
        assert world.sent[-1] == expected
        world.run(1)
        assert world.at_peer[-1][2] == data

    def test_addresses_have_one_form(self) -> None:
        world = TurnWorld(replace(CONFIG, family="both")).start()
        for peer in (PEER_V6, ("2001:0db8:0:0::0077", 5000), ("2001:DB8::77%eth0", 5000), ("::ffff:198.51.100.77", 5000), PEER):
            world.send(b"x", peer)
        world.run(1)
        assert world.allocation.stats(world.now).peers == 2
        assert {peer for _, peer, _ in world.at_peer} == {PEER, PEER_V6}

    def test_too_many_peers(self) -> None:
        world = TurnWorld(replace(CONFIG, max_peers=2)).start()
        world.send(b"x", PEER)
        world.send(b"x", OTHER)
        with pytest.raises(TooManyPeers):
            world.send(b"x", SAME_HOST)

    def test_at_most_ten_requests_at_once(self) -> None:
        world = TurnWorld().start()
        for host in range(1, 200):
            world.send(b"x", (f"198.51.100.{host}", 1))
        assert len(world.sent) == 2 + 10
        world.run(5)
        assert len(world.at_peer) == 199


class TestQueue:
    def test_drops_the_oldest(self) -> None:
        world = TurnWorld(replace(CONFIG, max_queued_packets=3)).start()
        for index in range(10):
            world.send(b"%d" % index)
        assert world.allocation.stats(world.now).queued_packets == 3
        world.run(1)
        assert [data for _, _, data in world.at_peer] == [b"7", b"8", b"9"]
        assert world.allocation.stats(world.now).dropped == {"queue_full": 7}

    def test_is_bounded_by_bytes_of_all_peers(self) -> None:
        world = TurnWorld(replace(CONFIG, max_queued_bytes=100))
        world.send(bytes(80), PEER)
        world.send(bytes(30), OTHER)
        world.send(bytes(20), OTHER)
        world.send(bytes(90), PEER)
        world.send(bytes(15), OTHER)
        world.start()
        assert sorted(len(data) for _, _, data in world.at_peer) == [15, 20]

    def test_is_dropped_with_its_peer(self) -> None:
        world = TurnWorld(setup=lambda server: server.refused_hosts.update({PEER[0]: 403})).start()
        world.send(b"x")
        world.run(1)
        stats = world.allocation.stats(world.now)
        assert (stats.queued_packets, stats.dropped) == (0, {"peer_refused": 1})


class TestRefresh:
    def test_a_hundred_sends_while_a_refresh_is_due(self) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        before = world.server.requests["CHANNEL_BIND"]
        sent_before = len(world.sent)
        world.now += 241
        for _ in range(100):
            world.allocation.send(PEER, b"media", world.now)
        world.allocation.tick(world.now)
        for _ in range(100):
            world.allocation.send(PEER, b"media", world.now)
            world.allocation.tick(world.now)
        world.run(0)
        requests = [data for data in world.sent[sent_before:] if not is_channel_data(data) and data[:2] != b"\0\x11"]
        assert len(requests) == 1
        world.run(1)
        assert world.server.requests["CHANNEL_BIND"] == before + 1
        assert len(world.at_peer) == 200

    @pytest.mark.parametrize("stale", [False, True])
    def test_and_with_a_stale_nonce_two(self, *, stale: bool) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        if stale:
            world.server.expire_nonces()
        before = world.server.requests["CHANNEL_BIND"]
        for _ in range(2410):
            world.allocation.send(PEER, b"media", world.now)
            world.run(0.1)
        assert world.server.requests["CHANNEL_BIND"] == before + 1 + stale

    def test_channel_and_permission_stay_alive_below_300_s(self) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        count = 0
        for _ in range(400):
            world.run(10)
            world.from_peer(b"%d" % count)
            count += 1
        world.run(1)
        assert [data for _, data in world.received()] == [b"%d" % index for index in range(400)]
        assert all(event.channel for event in world.events if isinstance(event, Received))
        # 4,000 s by 240 s and one for a nonce of an hour; no request for the permission beside those.
        assert world.server.requests["CHANNEL_BIND"] == 17 + world.server.errors[438] <= 18
        assert world.server.requests["CREATE_PERMISSION"] == 0

    def test_a_permission_alone_is_kept_for_who_is_active(self) -> None:
        world = TurnWorld(replace(CONFIG, channel_after_packets=0)).start()
        world.send(b"x")
        for _ in range(100):
            world.run(20)
            world.from_peer(b"y")
        world.run(1)
        assert len(world.received()) == 100
        assert world.server.requests["CREATE_PERMISSION"] == 9

    def test_idle_peers_are_forgotten(self) -> None:
        world = TurnWorld().start()
        for _ in range(3):
            world.send(b"x")
            world.run(1)
        assert world.allocation.stats(world.now).channels == 1
        world.run(2000)
        stats = world.allocation.stats(world.now)
        assert (stats.peers, stats.channels) == (0, 0)
        world.send(b"again")
        world.run(1)
        assert world.at_peer[-1][2] == b"again"
        assert world.server.violations == []

    def test_a_peer_that_wakes_up_in_time_keeps_its_channel(self) -> None:
        world = TurnWorld().start()
        for _ in range(3):
            world.send(b"x")
            world.run(1)
        world.run(730)
        for _ in range(100):
            world.from_peer(b"y")
            world.run(10)
        assert len(world.received()) == 100
        assert world.server.requests["CHANNEL_BIND"] == 8

    @pytest.mark.parametrize("pause_s", [598.0, 602.0, 620.0, 700.0, 2000.0])
    def test_a_peer_that_comes_back_has_its_number_again(self, pause_s: float) -> None:
        """The server's clocks start later than ours by the delay of the network: it may still hold what we think is over."""
        world = TurnWorld(replace(CONFIG, idle_peer_s=1.0), weather=Weather(delay_s=3.0)).start()
        world.run(30)
        for _ in range(2):
            world.send(b"x")
            world.run(20)
        world.run(pause_s)
        for _ in range(3):
            world.send(b"y")
            world.run(20)
        world.from_peer(b"z")
        world.run(10)
        assert world.received() == [(PEER, b"z")]
        assert world.allocation.stats(world.now).channels == 1
        assert world.server.violations == []

    def test_one_permission_serves_all_ports_of_a_host(self) -> None:
        world = TurnWorld().start()
        world.send(b"1", PEER)
        world.send(b"2", SAME_HOST)
        world.run(1)
        world.from_peer(b"3", (PEER[0], 9999))
        world.run(1)
        assert world.server.requests["CREATE_PERMISSION"] == 1
        assert world.received() == [((PEER[0], 9999), b"3")]
        assert len(world.at_peer) == 2

    def test_a_lost_refresh_is_repeated_in_time(self) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.run(238)
        world.weather.loss = 1.0
        world.run(42)
        world.weather.loss = 0.0
        world.run(19)
        world.from_peer(b"still")
        world.run(1)
        assert world.received() == [(PEER, b"still")]
        assert world.of(PeerFailed) == []

    def test_a_network_that_is_gone_for_minutes(self) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.run(100)
        world.weather.loss = 1.0
        world.run(400)
        world.weather.loss = 0.0
        world.run(100)
        world.send(b"back")
        world.run(10)
        world.from_peer(b"answer")
        world.run(1)
        assert world.at_peer[-1][2] == b"back"
        assert world.received() == [(PEER, b"answer")]
        assert world.server.violations == []


class TestIsolation:
    @pytest.mark.parametrize("code", [400, 403, 500])
    def test_a_refused_peer_harms_no_other(self, code: int) -> None:
        world = TurnWorld(setup=lambda server: server.refused_hosts.update({PEER[0]: code})).start()
        for _ in range(5):
            for peer in (PEER, OTHER):
                world.send(b"x", peer)
            world.run(1)
        [failed] = world.of(PeerFailed)
        assert isinstance(failed, PeerFailed)
        assert isinstance(failed.error, PeerRefused)
        assert (failed.peer, failed.error.peer, failed.error.error_code) == (PEER, PEER, code)
        assert [peer for _, peer, _ in world.at_peer] == [OTHER] * 5
        assert world.server.errors[code] == 1

    def test_it_is_asked_again_later(self) -> None:
        world = TurnWorld(setup=lambda server: server.refused_hosts.update({PEER[0]: 403})).start()
        world.send(b"x")
        world.run(1)
        world.server.refused_hosts.clear()
        for _ in range(20):
            world.send(b"x")
            world.run(1)
        assert world.at_peer == []
        world.run(20)
        world.send(b"y")
        world.run(1)
        assert [data for _, _, data in world.at_peer] == [b"y"]

    @pytest.mark.parametrize("code", [486, 508])
    def test_a_full_server_is_asked_again_after_a_minute(self, code: int) -> None:
        world = TurnWorld(setup=lambda server: server.refused_hosts.update({PEER[0]: code})).start()
        for _ in range(59):
            world.send(b"x")
            world.run(1)
        assert world.server.errors[code] == 1
        world.server.refused_hosts.clear()
        world.run(2)
        world.send(b"y")
        world.run(1)
        assert [data for _, _, data in world.at_peer] == [b"y"]

    @pytest.mark.parametrize("code", [400, 403])
    def test_a_peer_that_was_bound_ahead(self, code: int) -> None:
        world = TurnWorld(setup=lambda server: server.refused_hosts.update({PEER[0]: code})).start()
        world.allocation.bind(PEER, world.now)
        world.allocation.bind(OTHER, world.now)
        world.run(1)
        assert [event.peer for event in world.events if isinstance(event, PeerFailed)] == [PEER]
        assert world.of(PeerReady)[-1] == PeerReady(OTHER, FIRST_CHANNEL + 1)

    def test_a_refused_channel_leaves_the_permission(self) -> None:
        world = TurnWorld(setup=lambda server: server.channel_refusals.add(PEER)).start()
        for _ in range(90):
            world.send(b"x")
            world.from_peer(b"y")
            world.run(1)
        assert len(world.at_peer) == 90
        assert len(world.received()) >= 88
        assert world.of(PeerFailed) == []
        # Tried again after a minute, and with a number that was not refused before.
        numbers = [data[24:26] for data in world.sent if data[:2] == b"\0\x09"]
        assert numbers == [b"\x40\x00", b"\x40\x01"]

    def test_a_channel_that_is_refused_later(self) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        world.server.channel_refusals.add(PEER)
        for _ in range(200):
            world.run(5)
            world.send(b"x")
            world.from_peer(b"y")
        world.run(1)
        assert len(world.at_peer) == 200
        assert len(world.received()) == 200
        assert world.server.violations == []

    def test_no_answer_for_one_request(self) -> None:
        world = TurnWorld().start()
        world.server.silent = True
        world.send(b"x")
        world.run(41)
        world.server.silent = False
        [failed] = world.of(PeerFailed)
        assert isinstance(failed, PeerFailed)
        assert isinstance(failed.error, TransactionTimeout)
        world.run(31)
        world.send(b"y")
        world.run(1)
        assert [data for _, _, data in world.at_peer] == [b"y"]

    def test_a_family_without_a_relay(self) -> None:
        world = TurnWorld().start()
        world.send(b"x", PEER_V6)
        world.send(b"x", PEER)
        world.run(1)
        [failed] = world.of(PeerFailed)
        assert isinstance(failed, PeerFailed)
        assert isinstance(failed.error, PeerRefused)
        assert (failed.peer, failed.error.error_code) == (PEER_V6, 443)
        assert world.server.errors[443] == 0
        assert len(world.at_peer) == 1


class TestReceiving:
    def test_icmp_becomes_an_event_of_the_peer(self) -> None:
        world = TurnWorld().start()
        world.send(b"x")
        world.run(1)
        world.server.icmp(CLIENT, PEER, Icmp(3, 4, 1400))
        world.run(1)
        [icmp] = world.of(IcmpReceived)
        assert icmp == IcmpReceived(PEER, 3, 4, 1400)
        assert isinstance(icmp, IcmpReceived)
        assert (icmp.error.peer, icmp.error.icmp_type, icmp.error.icmp_code) == (PEER, 3, 4)
        assert PEER[0] not in str(icmp.error)
        world.send(b"y")
        world.run(1)
        assert len(world.at_peer) == 2
        assert world.allocation.stats(world.now).icmp_errors == 1

    def test_strangers_are_dropped(self) -> None:
        world = TurnWorld().start()
        world.server.icmp(CLIENT, PEER, Icmp(3, 1, 0))
        world.run(1)
        assert world.of(IcmpReceived) == []
        assert world.allocation.stats(world.now).dropped == {"no_permission": 1}

    def test_the_hook_replaces_the_events(self) -> None:
        world = TurnWorld().start()
        heard: list[tuple[bytes, tuple[str, int]]] = []
        world.allocation.on_data = lambda data, peer: heard.append((data, peer))
        world.send(b"1")
        world.run(1)
        world.from_peer(b"indication")
        world.send(b"2")
        world.run(1)
        world.from_peer(b"channel")
        world.run(1)
        assert heard == [(b"indication", PEER), (b"channel", PEER)]
        assert world.received() == []

    def test_events_are_bounded(self) -> None:
        world = TurnWorld(replace(CONFIG, max_events=5)).start()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        for _ in range(9):
            world.allocation.receive(b"\x40\x00\x00\x01x", world.now)
        assert len(world.allocation.take_events()) == 5
        assert world.allocation.stats(world.now).dropped == {"events_full": 4}

    def test_channel_data_before_the_answer(self) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.allocation.receive(b"\x40\x00\x00\x01x", world.now)
        world.run(1)
        assert world.events[1] == Received(PEER, b"x", channel=True)

    def test_channel_data_without_an_answer(self) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.run(0)
        # Requests arrive, answers do not.
        for data in world.sent:
            world.server.receive(data, CLIENT, world.now)
        world.server.take()
        world.weather.loss = 1.0
        world.run(35)
        world.weather.loss = 0.0
        world.from_peer(b"x")
        world.run(0.1)
        assert world.received() == [(PEER, b"x")]

    @pytest.mark.parametrize("data", [b"\x40\x00\x00\x05abcd", b"\x40\x00\x00\x01abcde", b"\x40\x01\x00\x01a"])
    def test_bad_channel_data(self, data: bytes) -> None:
        world = TurnWorld().start()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        world.allocation.receive(data, world.now)
        assert world.allocation.take_events() == []
        assert sum(world.allocation.stats(world.now).dropped.values()) == 1


class TestChannelNumbers:
    def test_all_of_them_once(self) -> None:
        numbers = ChannelNumbers()
        taken = [numbers.take(("192.0.2.1", port), 0.0) for port in range(4096)]
        assert taken == list(range(FIRST_CHANNEL, LAST_CHANNEL + 1))
        assert numbers.take(PEER, 0.0) is None

    def test_they_rest_for_five_minutes(self) -> None:
        numbers = ChannelNumbers()
        while numbers.take(PEER, 0.0) is not None:
            pass
        numbers.release(FIRST_CHANNEL, 1000.0, PEER)
        numbers.release(LAST_CHANNEL, 500.0, OTHER)
        assert numbers.take(SAME_HOST, 799.9) is None
        assert numbers.take(SAME_HOST, 800.0) == LAST_CHANNEL
        assert numbers.take(OTHER, 1299.9) is None
        assert numbers.take(OTHER, 1300.0) == FIRST_CHANNEL

    def test_their_former_peer_has_them_again_at_once(self) -> None:
        numbers = ChannelNumbers()
        numbers.take(OTHER, 0.0)
        number = numbers.take(PEER, 0.0)
        assert number is not None
        numbers.release(number, 600.0, PEER)
        assert numbers.take(OTHER, 1.0) == number + 1
        assert numbers.take(PEER, 1.0) == number
        assert numbers.take(SAME_HOST, 5000.0) == number + 2

    def test_a_refused_number_rests_for_everybody(self) -> None:
        numbers = ChannelNumbers()
        number = numbers.take(PEER, 0.0)
        assert number is not None
        numbers.release(number, 0.0, None)
        assert numbers.take(PEER, 299.0) == number + 1

    def test_a_late_request_for_a_lost_allocation(self) -> None:
        """It binds in the allocation that took its place, on which the peer must have the same number."""
        world = TurnWorld().start()
        for peer in (PEER, OTHER):
            world.allocation.bind(peer, world.now)
        world.run(0)
        late = world.sent[-2:]
        world.run(1)
        world.server.forget_allocations()
        world.run(600, until=lambda: world.server.relays != {})
        for data in late:
            world.server.receive(data, CLIENT, world.now)
        world.run(5)
        numbers = {event.peer: event.channel for event in world.events if isinstance(event, PeerReady) and event.channel}
        assert numbers == {PEER: FIRST_CHANNEL, OTHER: FIRST_CHANNEL + 1}
        for peer in (PEER, OTHER):
            world.from_peer(b"x", peer)
        world.run(1)
        assert world.received() == [(PEER, b"x"), (OTHER, b"x")]
        assert world.server.violations == []

    def test_without_a_number_indications_go_on(self) -> None:
        world = TurnWorld(replace(CONFIG, max_peers=5000)).start()
        peers = [(f"198.51.{index >> 8}.{index & 255}", 1) for index in range(1, 4099)]
        for peer in peers:
            world.allocation.bind(peer, world.now)
        world.run(100, until=lambda: len(world.server.relays[CLIENT].permissions) == len(peers))
        world.run(1)
        assert world.allocation.stats(world.now).channels == 4096
        for peer in peers[-2:]:
            world.send(b"x", peer)
        world.run(1)
        assert [peer for _, peer, _ in world.at_peer] == peers[-2:]
        assert world.server.violations == []


def test_a_network_that_duplicates_everything() -> None:
    def setup(server: StrictTurnServer) -> None:
        server.nonce_lifetime_s = 20.0

    world = TurnWorld(weather=Weather(duplicate=1.0, jitter_s=0.1), setup=setup).start()
    for _ in range(100):
        world.send(b"x")
        world.run(1)
    assert {data for _, _, data in world.at_peer} == {b"x"}
    assert world.server.violations == []
