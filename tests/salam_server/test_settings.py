from __future__ import annotations

from pathlib import Path

import pytest

from salam import ConfigError
from salam_server.settings import Settings, describe_settings, load_settings

SECRET = "0123456789abcdef0123456789abcdef"


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "salam.toml"
    file.write_text('http_port = 1000\nmedia_port = 2000\nrtmp_port = 3000\nannounced_addresses = ["192.0.2.1"]\n')
    settings = load_settings(
        file=file, environment={"SALAM_MEDIA_PORT": "2001", "SALAM_RTMP_PORT": "3001"}, flags={"rtmp_port": "3002", "host": None}
    )
    assert (settings.http_port, settings.media_port, settings.rtmp_port) == (1000, 2001, 3002)
    assert settings.announced_addresses == ("192.0.2.1",)


def test_the_usual_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "salam.toml").write_text("http_port = 1234\n")
    assert load_settings(directory=tmp_path).http_port == 1234
    assert load_settings(directory=tmp_path / "nowhere").http_port == 8080


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SALAM_HTTP_PORT", "eighty", ["SALAM_HTTP_PORT", "'eighty'", "0 to 65535"]),
        ("SALAM_HTTP_PORT", "70000", ["SALAM_HTTP_PORT", "'70000'", "0 to 65535"]),
        ("SALAM_DEV", "maybe", ["SALAM_DEV", "'maybe'", "true or false"]),
        ("SALAM_HOST", "localhost", ["SALAM_HOST", "'localhost'", "IP address"]),
        ("SALAM_LOG_FORMAT", "xml", ["SALAM_LOG_FORMAT", "'xml'", "human, json"]),
        ("SALAM_ANNOUNCED_ADDRESSES", "here", ["SALAM_ANNOUNCED_ADDRESSES", "IP addresses"]),
        ("SALAM_ICE_SERVERS", "http://x", ["SALAM_ICE_SERVERS", "stun:"]),
        ("SALAM_PORT", "1", ["SALAM_PORT", "SALAM_HTTP_PORT"]),
    ],
)
def test_bad_values_name_the_key_the_value_and_what_is_allowed(variable: str, value: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environment={variable: value}, directory=Path("/nonexistent"))
    for word in words:
        assert word in str(caught.value)


def test_unknown_keys_of_the_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("htp_port = 1\n")
    with pytest.raises(ConfigError, match=r"htp_port.*http_port"):
        load_settings(file=file)
    file.write_text("http_port = \n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings(file=file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(file=tmp_path / "missing.toml")


def test_secrets_are_never_shown() -> None:
    assert SECRET not in repr(Settings(secret=SECRET))
    with pytest.raises(ConfigError) as caught:
        load_settings(environment={"SALAM_SECRET": "short-secret"}, directory=Path("/nonexistent"))
    assert "short-secret" not in str(caught.value)
    assert "at least 32 bytes" in str(caught.value)


TURN = ["turn:turn.example:3478?transport=udp", "turns:turn.example"]
TURN_SECRET = "shared-with-coturn"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"turn_urls": TURN}, ["turn_urls is set", "turn_secret", "turn_username and turn_password"]),
        ({"turn_secret": TURN_SECRET}, ["turn_secret is set", "turn_urls is not"]),
        ({"turn_username": "ada"}, ["turn_username is set but turn_password is not"]),
        ({"turn_password": "long-enough"}, ["turn_password is set but turn_username is not"]),
        ({"turn_username": "ada", "turn_password": "long-enough"}, ["turn_username is set", "turn_urls is not"]),
        (
            {"turn_urls": TURN, "turn_secret": TURN_SECRET, "turn_username": "ada", "turn_password": "long-enough"},
            ["turn_secret and turn_username"],
        ),
        ({"turn_urls": ["stun:turn.example"]}, ["turn_urls", "'stun:turn.example'", "turn: or turns:"]),
        ({"turn_urls": ["turn:"]}, ["turn_urls", "'turn:'", "turn: or turns:"]),
        ({"turn_urls": [TURN[0], "turn:turn.example:0"]}, ["turn_urls", "'turn:turn.example:0'", "1 to 65535"]),
        ({"turn_urls": 7}, ["turn_urls", "7", "turn: or turns:"]),
        ({"ice_servers": ["turn:turn.example"]}, ["ice_servers", "'turn:turn.example'", "stun: or stuns:"]),
        ({"turn_ttl_s": 9}, ["turn_ttl_s", "9", "10 to 604800"]),
    ],
)
def test_relays_that_cannot_be_used_are_refused(given: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(dev=True, **given)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)


def test_secrets_of_relays_are_never_shown() -> None:
    with_secret = Settings(turn_urls=TURN, turn_secret=TURN_SECRET, secret=SECRET)  # type: ignore[arg-type]
    assert TURN_SECRET not in repr(with_secret)
    assert set(with_secret.secrets) == {SECRET, TURN_SECRET}
    with_password = Settings(turn_urls=TURN, turn_username="ada", turn_password="p4ssw0rd")  # type: ignore[arg-type]
    assert "p4ssw0rd" not in repr(with_password)
    assert with_password.secrets == ("p4ssw0rd",)
    for environment in (
        {"SALAM_TURN_SECRET": "too-short"},
        {"SALAM_TURN_PASSWORD": "tiny"},
        {"SALAM_TURN_URLS": "turn:ada:p4ssw0rd@turn.example"},
    ):
        with pytest.raises(ConfigError) as caught:
            load_settings(environment=environment, directory=Path("/nonexistent"))
        (variable, value), *_ = environment.items()
        assert variable in str(caught.value)
        assert value not in str(caught.value)
        assert "p4ssw0rd" not in str(caught.value)


def test_relays_come_from_the_environment_too() -> None:
    environment = {"SALAM_TURN_URLS": ", ".join(TURN), "SALAM_TURN_SECRET": TURN_SECRET, "SALAM_TURN_TTL_S": "600"}
    settings = load_settings(environment=environment, directory=Path("/nonexistent"))
    assert settings.turn_urls == tuple(TURN)
    assert (settings.turn_secret, settings.turn_ttl_s) == (TURN_SECRET, 600)


def test_without_dev_a_secret_is_needed() -> None:
    with pytest.raises(ConfigError, match="SALAM_SECRET"):
        Settings().require_secret()
    Settings(secret=SECRET).require_secret()
    Settings(dev=True).require_secret()


def test_dev_listens_on_loopback_alone() -> None:
    assert Settings(dev=True).listen_host == "127.0.0.1"
    assert Settings(secret=SECRET).listen_host == "0.0.0.0"
    assert Settings(dev=True, host="0.0.0.0").listen_host == "0.0.0.0"


def test_half_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tls_key is not"):
        Settings(dev=True, tls_cert=tmp_path / "cert.pem")


def test_every_setting_is_described() -> None:
    rows = describe_settings()
    assert all(text.endswith(".") for *_, text in rows)
    assert ("http_port", "SALAM_HTTP_PORT", "8080") == rows[1][:3]
