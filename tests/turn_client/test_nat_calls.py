"""Robots call each other across NATs of every kind, with full ICE on both sides, and say which way they got through."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.browser import until
from tests.support.lab_call import LabCall, LabRobot, calling
from tests.support.lab_servers import lab_servers, public_coturn
from tests.support.nat_lab import NatLab, NatMode, refuse_without_lab

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

# A call whose path is cut goes on within this.
TAKEN_OVER_WITHIN_S = 5.0

PlaceCall = Callable[..., AbstractAsyncContextManager[tuple[NatLab, LabCall]]]


@pytest.fixture
def place_call(need_program: Callable[..., str], tmp_path: Path) -> PlaceCall:
    """Return a function that builds a laboratory with two NATs and coturn, and two robots in it that call each other."""
    refuse_without_lab(need_program)
    turnserver = need_program("turnserver")

    @asynccontextmanager
    async def placed(a: NatMode, b: NatMode, *, at_home: bool = False) -> AsyncIterator[tuple[NatLab, LabCall]]:
        with NatLab(a, b) as lab:
            async with (
                public_coturn(lab, turnserver, tmp_path),
                calling(lab, lab_servers(lab), tmp_path, at_home=at_home) as call,
            ):
                yield lab, call

    return placed


async def test_two_in_one_home_talk_to_each_other_directly(place_call: PlaceCall) -> None:
    async with place_call(NatMode.SYMMETRIC, NatMode.SYMMETRIC, at_home=True) as (_, call):
        assert call.paths == ("host", "host")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (NatMode.FULL_CONE, NatMode.FULL_CONE),
        (NatMode.PORT_RESTRICTED, NatMode.PORT_RESTRICTED),
        (NatMode.FULL_CONE, NatMode.PORT_RESTRICTED),
    ],
)
async def test_nats_that_keep_the_port_are_passed_directly(place_call: PlaceCall, a: NatMode, b: NatMode) -> None:
    async with place_call(a, b) as (_, call):
        assert call.paths == ("srflx", "srflx")


async def test_between_symmetric_nats_a_relay_is_used(place_call: PlaceCall) -> None:
    async with place_call(NatMode.SYMMETRIC, NatMode.SYMMETRIC) as (_, call):
        assert "relay-udp" in call.paths
        assert_relayed(call)


async def test_without_udp_both_are_relayed_over_tcp(place_call: PlaceCall) -> None:
    async with place_call(NatMode.UDP_BLOCKED, NatMode.UDP_BLOCKED) as (_, call):
        assert call.paths == ("relay-tcp", "relay-tcp")


async def test_one_without_udp_reaches_one_with_it(place_call: PlaceCall) -> None:
    async with place_call(NatMode.UDP_BLOCKED, NatMode.SYMMETRIC) as (_, call):
        assert call.paths[0] == "relay-tcp"
        assert_relayed(call)


@pytest.mark.parametrize("mode", [NatMode.FULL_CONE, NatMode.PORT_RESTRICTED])
async def test_a_relay_takes_over_when_the_direct_path_is_cut(
    place_call: PlaceCall, mode: NatMode, record_property: Callable[[str, object], None]
) -> None:
    async with place_call(mode, mode) as (lab, call):
        assert call.paths == ("srflx", "srflx")
        cut_s = time.monotonic()
        lab.cut_direct_path()

        gaps = await heard_again(call, cut_s)
        assert_relayed(call)
        assert_one_call(call)
        for robot, gap in zip(call.robots, gaps, strict=True):
            record_property(f"taken_over_s_{robot.name}", round(gap - cut_s, 2))
            assert gap - cut_s < TAKEN_OVER_WITHIN_S


async def test_a_relay_over_tcp_takes_over_when_udp_is_blocked(
    place_call: PlaceCall, record_property: Callable[[str, object], None]
) -> None:
    async with place_call(NatMode.PORT_RESTRICTED, NatMode.PORT_RESTRICTED) as (lab, call):
        cut_s = time.monotonic()
        lab.block(lab.a, "meta l4proto udp")
        for robot, since in zip(call.robots, await heard_again(call, cut_s), strict=True):
            record_property(f"taken_over_s_{robot.name}", round(since - cut_s, 2))
        assert call.paths[0] == "relay-tcp"
        assert_relayed(call)
        assert_one_call(call)


async def heard_again(call: LabCall, cut_s: float) -> list[float]:
    """Wait until media flows again both ways after the cut, and return when it came to each again."""
    found: list[float] = []

    async def both() -> bool:
        found[:] = [heard for robot in call.robots if (heard := end_of_gap(robot, cut_s)) is not None]
        return len(found) == len(call.robots)

    await until(both, "media comes to both again")
    await call.flows()
    return found


def assert_relayed(call: LabCall) -> None:
    """Each end either uses its own relay or sends to the relay of the other one."""
    for robot in call.robots:
        assert "relay" in (robot.report["path"].partition("-")[0], robot.report["remote"]), robot.report


def assert_one_call(call: LabCall) -> None:
    """The same connections all the time, with the same streams in them: nothing was hung up and dialled again."""
    for robot in call.robots:
        assert [state for state in robot.states if state != "new"] in (["connecting", "connected"], ["connected"])
        assert robot.report["streams"] == 2
        assert robot.report["rounds"] >= 2


def end_of_gap(robot: LabRobot, cut_s: float) -> float | None:
    """Return when the pause in what a robot received ended that began with the cut; None while it lasts."""
    return next((heard for last, heard in robot.report["gaps"] if last <= cut_s + 1.0 and heard > cut_s), None)
