"""What the doctor says of real TURN servers, good and bad, step by step."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from salam import ConfigError
from salam_server.turn_doctor import TurnStep, examine_turn
from tests.support.coturn import StartCoturn, coturn
from tests.support.engine import free_port
from turn_client.resolution import DnsRecord, Query, RecordType
from turn_client.uri import parse_server_uri

__all__ = ["coturn"]

pytestmark = pytest.mark.timeout(120)

SECRET = "shared by salam and coturn"
ALL_STEPS = ["dns", "stun", "allocate", "permission", "echo", "throughput"]


async def examined(uri: str, credentials: tuple[str, str], **options: Any) -> list[TurnStep]:
    return [step async for step in examine_turn(parse_server_uri(uri), credentials, **options)]


def names(steps: list[TurnStep], transport: str) -> list[str]:
    return [step.step for step in steps if step.transport == transport]


class Names:
    """A name server that knows one name."""

    def __init__(self, name: str, address: str) -> None:
        self._known = {Query(RecordType.A, name): address}

    async def lookup(self, query: Query) -> Sequence[DnsRecord]:
        return [self._known[query]] if query in self._known else []


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_every_step_works_at_a_good_server(coturn: StartCoturn, transport: str) -> None:
    server = await coturn(tls=True)
    uri = server.uri(transport, host="localhost")
    steps = await examined(uri, (server.username, server.password), tls=server.trust())
    wanted = ALL_STEPS if transport == "udp" else ["dns", "connect", *ALL_STEPS[1:]]
    assert names(steps, transport) == wanted
    # A busy machine may not carry what a good picture takes; everything else does not depend on its load.
    assert {step.state for step in steps if step.step != "throughput"} == {"ok"}, steps
    found = {key: value for step in steps for key, value in step.values.items()}
    assert str(found["mapped"]).startswith("127.0.0.1:")
    assert str(found["relayed"]).startswith("127.0.0.1:")
    assert float(found["throughput_bps"]) > 0
    assert found["lost"] == 0
    # Both relays were given back.
    log = await server.log()
    assert log.count("incoming packet REFRESH processed, success") >= 2


async def test_without_a_transport_all_are_tried_and_tls_is_not_asked_for(coturn: StartCoturn) -> None:
    server = await coturn()
    uri = f"turn:turn.example:{server.port}"
    steps = await examined(uri, (server.username, server.password), resolver=Names("turn.example", "127.0.0.1"))
    assert names(steps, "udp") == ALL_STEPS
    assert names(steps, "tcp") == ["dns", "connect", *ALL_STEPS[1:]]
    assert names(steps, "tls") == ["dns", "connect"]
    assert not [step for step in steps if step.state == "failed"]
    assert (steps[-1].state, steps[-1].fix != "") == ("warning", True)
    assert steps[0].detail == f"turn.example: 127.0.0.1:{server.port}"


async def test_a_wrong_password_is_seen_at_the_allocation(coturn: StartCoturn) -> None:
    server = await coturn()
    steps = await examined(server.uri("udp"), (server.username, "wrong"))
    assert [(step.step, step.state) for step in steps] == [("dns", "ok"), ("stun", "ok"), ("allocate", "failed")]
    assert "401" in steps[-1].detail
    assert "password" in steps[-1].fix


async def test_a_server_that_relays_nothing_to_itself_is_no_failure(coturn: StartCoturn) -> None:
    server = await coturn(extra=("--denied-peer-ip=127.0.0.0-127.255.255.255",))
    steps = await examined(server.uri("udp"), (server.username, server.password))
    assert [step.step for step in steps] == ["dns", "stun", "allocate", "permission"]
    assert steps[-1].state == "warning"
    assert "403" in steps[-1].detail
    assert "denied-peer-ip" in steps[-1].fix


async def test_a_stranger_to_the_certificate_is_told_so(coturn: StartCoturn) -> None:
    server = await coturn(tls=True)
    steps = await examined(server.uri("tls", host="localhost"), (server.username, server.password))
    assert [(step.step, step.state) for step in steps] == [("dns", "ok"), ("connect", "failed")]
    assert "certificate is not good" in steps[-1].detail
    assert "localhost" in steps[-1].fix


@pytest.mark.parametrize(("transport", "last"), [("udp", "allocate"), ("tcp", "connect")])
async def test_a_port_where_nobody_listens(transport: str, last: str) -> None:
    steps = await examined(f"turn:127.0.0.1:{free_port()}?transport={transport}", ("a", "b"))
    assert (steps[-1].step, steps[-1].state) == (last, "failed")
    assert "port" in steps[-1].fix


async def test_a_server_that_says_nothing_is_not_waited_for_long() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        steps = await examined(f"turn:127.0.0.1:{mute.getsockname()[1]}?transport=udp", ("a", "b"))
    assert [(step.step, step.state) for step in steps] == [("dns", "ok"), ("stun", "failed"), ("allocate", "failed")]
    assert steps[1].detail == "the server did not answer a Binding request"
    assert "not done after" in steps[2].detail


async def test_a_name_that_is_unknown() -> None:
    steps = await examined("turn:nobody.example?transport=udp", ("a", "b"), resolver=Names("turn.example", "127.0.0.1"))
    assert [(step.step, step.state) for step in steps] == [("dns", "failed")]
    assert "name" in steps[0].fix


@pytest.mark.parametrize("uri", ["stun:turn.example", "turns:turn.example?transport=udp"])
async def test_what_browsers_get_no_relay_from_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="allowed: .*turns:HOST"):
        await examined(uri, ("a", "b"))


async def doctor(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SALAM_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "salam_server", "doctor", *arguments),
        cwd=folder,
        env={**kept, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_says_all_of_it_as_json(coturn: StartCoturn, tmp_path: Path) -> None:
    server = await coturn(secret=SECRET)
    code, out, err = await doctor(tmp_path, "--turn", server.uri("udp"), "--json", SALAM_TURN_SECRET=SECRET)
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["ok"], said["turn"]) == (True, server.uri("udp"))
    assert [step["step"] for step in said["steps"]] == ALL_STEPS
    assert SECRET not in out


async def test_the_command_says_it_to_people(coturn: StartCoturn, tmp_path: Path) -> None:
    server = await coturn()
    flags = ("--turn-username", server.username, "--turn-password", server.password)
    # A secret of the settings is for other servers then.
    code, out, _ = await doctor(tmp_path, "--turn", server.uri("tcp"), *flags, SALAM_TURN_SECRET=SECRET)
    assert code == 0, out
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("tcp")] == [
        ["tcp", step] for step in ("dns", "connect", *ALL_STEPS[1:])
    ]
    code, out, _ = await doctor(tmp_path, "--turn", server.uri("tcp"), "--turn-secret", SECRET)
    assert code == 1
    assert "401" in out
    assert "-> check username and password" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--turn", "turn:"), "it names no host"),
        (("--turn", "stun:turn.example"), "is a STUN server"),
        (("--turn", "turn:turn.example"), "set turn_secret, or turn_username and turn_password"),
        (("--turn", "turn:turn.example", "--turn-username", "ada"), "turn_password is not"),
        (("--turn-secret", SECRET), "name it with --turn"),
    ],
)
async def test_the_command_refuses_what_makes_no_sense(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = await doctor(tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert SECRET not in err


async def test_the_doctor_of_the_machine_asks_the_relays_of_the_settings(coturn: StartCoturn, tmp_path: Path) -> None:
    server = await coturn(secret=SECRET)
    closed = f"turn:127.0.0.1:{free_port()}?transport=tcp"
    ports = {"SALAM_HTTP_PORT": "0", "SALAM_MEDIA_PORT": "0", "SALAM_RTMP_PORT": "0"}
    variables = {"SALAM_TURN_URLS": f"{server.uri('udp')},{closed}", "SALAM_TURN_SECRET": SECRET, **ports}
    code, out, _ = await doctor(tmp_path, "--json", **variables)
    said = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 1
    assert said[server.uri("udp")]["state"] == "ok"
    assert "udp allocate: two relays" in said[server.uri("udp")]["detail"]
    assert said[closed]["state"] == "failed"
    assert "tcp connect" in said[closed]["detail"]
