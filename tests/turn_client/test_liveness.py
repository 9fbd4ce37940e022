"""When a silent server is probed, and when it is suspected."""

from __future__ import annotations

from turn_client.liveness import Liveness, LivenessConfig
from turn_client.stun import MessageClass, Method, parse_message

CONFIG = LivenessConfig(interval_s=0.5, probes=3, idle_interval_s=10.0)

# Exact in binary, so that sums of it meet the deadlines.
STEP_S = 0.125


def make() -> Liveness:
    return Liveness(CONFIG, lambda size: bytes(size), 0.0)


def run(liveness: Liveness, start_s: float, seconds: float, *, sends: bool = False, hears: bool = False) -> list[float]:
    """Let time pass and return when probes were sent."""
    probes = []
    now = start_s
    while now < start_s + seconds:
        now += STEP_S
        liveness.sent = liveness.sent or sends
        liveness.heard = liveness.heard or hears
        if liveness.tick(now) is not None:
            probes.append(now)
    return probes


def test_who_answers_is_never_probed() -> None:
    liveness = make()
    assert run(liveness, 0.0, 60.0, sends=True, hears=True) == []
    assert not liveness.suspected


def test_who_stays_silent_to_data_is_suspected_within_two_seconds() -> None:
    liveness = make()
    assert len(run(liveness, 0.0, 1.875, sends=True)) == 3
    assert liveness.suspected


def test_one_sign_of_life_ends_the_suspicion() -> None:
    liveness = make()
    run(liveness, 0.0, 5.0, sends=True)
    before = liveness.suspected
    liveness.heard = True
    assert (before, liveness.suspected) == (True, False)
    run(liveness, 5.0, 0.625, sends=True)
    assert not liveness.suspected


def test_an_idle_client_probes_rarely_and_suspects_who_does_not_answer() -> None:
    liveness = make()
    assert run(liveness, 0.0, 9.5) == []
    assert len(run(liveness, 9.5, 0.75)) == 1
    run(liveness, 10.25, 1.25)
    assert liveness.suspected


def test_an_answered_probe_of_an_idle_client_is_enough_for_ten_seconds() -> None:
    liveness = make()
    assert len(run(liveness, 0.0, 10.25)) == 1
    liveness.heard = True
    assert run(liveness, 10.25, 9.75) == []


def test_probing_goes_on_when_sending_stops() -> None:
    liveness = make()
    assert len(run(liveness, 0.0, 0.625, sends=True)) == 1
    run(liveness, 0.625, 1.25)
    assert liveness.suspected


def test_a_probe_is_a_binding_request() -> None:
    liveness = make()
    liveness.sent = True
    probe = liveness.tick(1.0)
    assert probe is not None
    message = parse_message(probe)
    assert (message.method, message.message_class) == (Method.BINDING, MessageClass.REQUEST)
