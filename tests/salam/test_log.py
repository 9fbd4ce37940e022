from __future__ import annotations

import io
import ipaddress
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salam import ConfigError, Redactor, configure_logging, get_logger
from salam.log import LOG_FORMATS

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from 192.0.2.7:5000", "from <address>:5000"),
        ("from [2001:db8::1]:5000", "from [<address>]:5000"),
        ("listening on 127.0.0.1:80 and ::1", "listening on 127.0.0.1:80 and ::1"),
        ("at 12:30:05 version 1.2.3", "at 12:30:05 version 1.2.3"),
        (f"GET /x?token={TOKEN}", "GET /x?token=<token>"),
        (f"got {TOKEN} in the hello", "got <token> in the hello"),
        ("Authorization: Bearer abcdef123", "Authorization: <secret>"),
        ("a=ice-pwd:Zm9vYmFyYmF6", "a=ice-pwd:<secret>"),
        ("password='hunter2x', next", "password='<secret>', next"),
        ('{"username":"1:a","credential":"c2VjcmV0"}', '{"username":"1:a","credential":"<secret>"}'),
    ],
)
def test_redaction(text: str, expected: str) -> None:
    assert Redactor()(text) == expected


def test_literal_secrets_never_appear() -> None:
    secret = "x9-very-secret-key-of-the-server!"
    assert secret not in Redactor(secrets=(secret,))(f"odd place {secret}.")


def test_addresses_stay_for_an_operator_who_asks() -> None:
    redactor = Redactor(show_addresses=True)
    assert redactor("from 192.0.2.7") == "from 192.0.2.7"
    assert TOKEN not in redactor(TOKEN)


@given(st.ip_addresses())
def test_no_address_gets_through(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    shown = Redactor()(f"peer {address} sent rubbish")
    if address.is_loopback or address.is_unspecified:
        return
    assert str(address) not in shown


@pytest.mark.parametrize("style", LOG_FORMATS)
def test_lines_are_redacted_in_both_forms(style: str) -> None:
    stream = io.StringIO()
    handler = configure_logging(style=style, stream=stream)
    try:
        get_logger("test", room="blue").info("peer %s joined with token=%s", "192.0.2.7", TOKEN)
        try:
            raise RuntimeError("lost 198.51.100.9")
        except RuntimeError:
            get_logger("test").exception("failed")
    finally:
        logging.getLogger("salam").removeHandler(handler)
        logging.getLogger("salam").propagate = True
    text = stream.getvalue()
    assert "192.0.2.7" not in text
    assert "198.51.100.9" not in text
    assert TOKEN not in text
    assert "blue" in text
    if style == "json":
        first = json.loads(text.splitlines()[0])
        assert first["logger"] == "salam.test"
        assert first["context"] == {"room": "blue"}
        assert first["level"] == "info"


def test_a_context_with_a_percent_sign_is_no_format() -> None:
    stream = io.StringIO()
    handler = configure_logging(stream=stream)
    try:
        get_logger("test", name="100%s").info("joined %s", "now")
    finally:
        logging.getLogger("salam").removeHandler(handler)
        logging.getLogger("salam").propagate = True
    assert "joined now" in stream.getvalue()


@pytest.mark.parametrize("choice", [{"style": "xml"}, {"level": "loud"}])
def test_unknown_choices_are_refused(choice: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        configure_logging(**choice)  # type: ignore[arg-type]
