"""Settings of the server: one TOML file, then ``SALAM_*`` variables, then flags; each later source wins.

Every setting is one `_Field` in the table below, which gives its default, its reader, what is allowed and its help text. An unknown
key or a bad value is refused with the key, the value and what is allowed, from whichever source it came.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salam import ConfigError
from salam.log import LOG_FORMATS
from turn_client.uri import parse_server_uri

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "describe_settings", "load_settings"]

ENVIRONMENT_PREFIX = "SALAM_"
DEFAULT_FILE = "salam.toml"

# HMAC-SHA256 keys shorter than the digest weaken it (RFC 2104 section 3, RFC 7518 section 3.2).
MIN_SECRET_BYTES = 32

# Each client holds a username and its HMAC under this secret, and could try short secrets at its leisure.
_MIN_TURN_SECRET_BYTES = 16
# The redaction of logs leaves shorter texts alone, which would take ordinary words with them.
_MIN_PASSWORD_BYTES = 8
_USER_INFO = re.compile(r":[^@,'\"\s]*@")

# Variables that share the prefix but belong to the build, the native plane or the tests.
_NOT_SETTINGS = frozenset({"SALAM_BUILD_NATIVE", "SALAM_NATIVE", "SALAM_VECTORS", "SALAM_CONFIG"})

Reader = Callable[[Any], Any]


def _refuse(allowed: str) -> ValueError:
    return ValueError(allowed)


def _integer(low: int, high: int) -> Reader:
    allowed = f"a whole number from {low} to {high}"

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise _refuse(allowed)
        try:
            number = int(value)
        except ValueError:
            raise _refuse(allowed) from None
        if not low <= number <= high:
            raise _refuse(allowed)
        return number

    return read


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False, "": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise _refuse("true or false")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _refuse("a text")
    return value


def _choice(*words: str) -> Reader:
    def read(value: Any) -> str:
        if value not in words:
            raise _refuse("one of " + ", ".join(words))
        return str(value)

    return read


def _path(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise _refuse("a path")
    return Path(value).expanduser()


def _optional_path(value: Any) -> Path | None:
    return None if value in (None, "") else _path(value)


def _host(value: Any) -> str:
    try:
        return "" if value == "" else str(ipaddress.ip_address(value))
    except ValueError:
        raise _refuse('an IP address to listen on, such as 0.0.0.0 or 127.0.0.1, or "" for the default') from None


def _addresses(value: Any) -> tuple[str, ...]:
    items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
    try:
        return tuple(str(ipaddress.ip_address(item)) for item in items)
    except (TypeError, ValueError):
        raise _refuse("IP addresses, as a list or separated by commas") from None


def _origins(value: Any) -> tuple[str, ...]:
    items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and "://" in item for item in items):
        raise _refuse("origins such as https://app.example, as a list or separated by commas")
    return tuple(items)


def _secret(min_bytes: int) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or (value and len(value.encode()) < min_bytes):
            raise _refuse(f"a text of at least {min_bytes} bytes")
        return value

    return read


def _server_urls(*schemes: str) -> Reader:
    allowed = f"URLs that begin with {' or '.join(f'{scheme}:' for scheme in schemes)}, as a list or separated by commas"

    def read(value: Any) -> tuple[str, ...]:
        items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise _refuse(allowed)
        for item in items:
            if "@" in item:
                raise _refuse(f"{allowed}; credentials are no part of them, see turn_username and turn_password")
            try:
                scheme = parse_server_uri(item).scheme.value
            except ConfigError as error:
                raise _refuse(f"{allowed}; {error.message}") from None
            if scheme not in schemes:
                raise _refuse(allowed)
        return tuple(items)

    return read


def _setting(default: Any, reader: Reader, help_text: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"reader": reader, "help": help_text, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Building one by hand checks the same as reading a file; raises ConfigError."""

    host: str = _setting("", _host, "Address to listen on. Default: 127.0.0.1 with dev, 0.0.0.0 without.")
    http_port: int = _setting(8080, _integer(0, 65535), "HTTP and WebSocket port; 0 picks a free one.")
    media_port: int = _setting(40000, _integer(0, 65535), "UDP and TCP port of all WebRTC media; 0 picks a free one.")
    rtmp_port: int = _setting(1935, _integer(0, 65535), "RTMP port; 0 picks a free one.")
    rtmps_port: int = _setting(1936, _integer(0, 65535), "RTMPS port, used when a certificate is set.")
    announced_addresses: tuple[str, ...] = _setting(
        (), _addresses, "Addresses that browsers are told to send media to; empty: the machine's own."
    )
    announced_media_port: int = _setting(
        0, _integer(0, 65535), "Media port that browsers are told, when a NAT maps it to another; 0: the same."
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), _origins, "Web origins, besides this server's own, whose pages may open the WebSocket."
    )
    data_dir: Path = _setting(Path(".salam"), _path, "Folder for everything the server stores.")
    secret: str = _setting("", _secret(MIN_SECRET_BYTES), "Signs and checks tokens; required without dev.", secret=True)
    dev: bool = _setting(False, _boolean, "Development: no tokens needed, POST /dev/token offered. Never on the internet.")
    tls_cert: Path | None = _setting(None, _optional_path, "Certificate chain (PEM) for HTTPS and RTMPS.")
    tls_key: Path | None = _setting(None, _optional_path, "Private key (PEM) of the certificate.")
    server_name: str = _setting("salam", _text, "Name that clients see.")
    calls: bool = _setting(True, _boolean, "Carry calls: WebSocket rooms with media.")
    live: bool = _setting(True, _boolean, "Carry livestreams: RTMP in, HLS out.")
    pages: bool = _setting(True, _boolean, "Serve the web client.")
    max_participants: int = _setting(50, _integer(1, 1000), "Participants in one room.")
    max_rooms: int = _setting(200, _integer(1, 10_000), "Rooms open at once.")
    max_streams: int = _setting(4, _integer(1, 100), "Livestreams at once; each transcodes on about one core.")
    ice_servers: tuple[str, ...] = _setting(
        (), _server_urls("stun", "stuns"), "STUN servers that clients are told, such as stun:stun.example:3478."
    )
    turn_urls: tuple[str, ...] = _setting(
        (),
        _server_urls("turn", "turns"),
        "TURN servers that clients in rooms are told, such as turn:turn.example:3478?transport=udp.",
    )
    turn_secret: str = _setting(
        "",
        _secret(_MIN_TURN_SECRET_BYTES),
        "Secret shared with the TURN servers (coturn: static-auth-secret), from which each client's credentials are made.",
        secret=True,
    )
    turn_ttl_s: int = _setting(
        3600, _integer(10, 604_800), "How long such credentials are good for, in seconds; calls get new ones before."
    )
    turn_username: str = _setting("", _text, "Username at TURN servers that share no secret; everybody is told the same.")
    turn_password: str = _setting("", _secret(_MIN_PASSWORD_BYTES), "Password to turn_username.", secret=True)
    log_format: str = _setting("human", _choice(*LOG_FORMATS), "Form of the log lines.")
    log_level: str = _setting("info", _choice("debug", "info", "warning", "error"), "Least important level that is logged.")
    log_addresses: bool = _setting(False, _boolean, "Show peer addresses in logs; they are personal data.")

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            object.__setattr__(self, item.name, _read(item, value, item.name))
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key") if self.tls_key is None else ("tls_key", "tls_cert")
            raise ConfigError(f"{given} is set but {missing} is not; set both or neither")
        self._check_turn()

    def _check_turn(self) -> None:
        if bool(self.turn_username) != bool(self.turn_password):
            given, missing = ("turn_username", "turn_password") if self.turn_username else ("turn_password", "turn_username")
            raise ConfigError(f"{given} is set but {missing} is not; set both or neither")
        if self.turn_secret and self.turn_username:
            raise ConfigError("turn_secret and turn_username are both set; set the one that the TURN servers know")
        credentials = "turn_secret" if self.turn_secret else "turn_username" if self.turn_username else ""
        if credentials and not self.turn_urls:
            raise ConfigError(f"{credentials} is set but turn_urls is not; name the servers, or set neither")
        if self.turn_urls and not credentials:
            raise ConfigError("turn_urls is set but no credentials are; set turn_secret, or turn_username and turn_password")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that is set: what must never appear in a log, whatever the text around it."""
        names = [item.name for item in dataclasses.fields(self) if item.metadata["secret"]]
        return tuple(value for name in names if (value := getattr(self, name)))

    @property
    def listen_host(self) -> str:
        """The address to listen on once the default is resolved."""
        return self.host or ("127.0.0.1" if self.dev else "0.0.0.0")

    def require_secret(self) -> None:
        """Raise ConfigError unless tokens can be checked: a secret is set, or dev makes them unnecessary."""
        if not self.dev and not self.secret:
            raise ConfigError(
                f"secret is not set; set {ENVIRONMENT_PREFIX}SECRET to at least {MIN_SECRET_BYTES} random bytes "
                "(python3 -c 'import secrets; print(secrets.token_urlsafe(48))'), or use --dev to try it without tokens"
            )


def _read(item: dataclasses.Field[Any], value: Any, shown_key: str) -> Any:
    try:
        return item.metadata["reader"](value)
    except ValueError as allowed:
        # Who writes a URL as "turn:name:password@host" has given away a password by mistake.
        shown = "<secret>" if item.metadata["secret"] else _USER_INFO.sub(":<secret>@", repr(value))
        raise ConfigError(f"{shown_key} is {shown}; allowed: {allowed}") from None


def load_settings(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Read the settings file, the environment and the flags into one `Settings`.

    ``file`` must exist when given; otherwise ``SALAM_CONFIG`` names it, else ``salam.toml`` in ``directory`` (default: the current
    one) is read when it is there. Flags that are None were not given. Raises ConfigError naming the key, the value and what is
    allowed.
    """
    environment = {} if environment is None else environment
    known = {item.name: item for item in dataclasses.fields(Settings)}
    values: dict[str, Any] = {}
    path = file or (Path(environment["SALAM_CONFIG"]) if environment.get("SALAM_CONFIG") else None)
    if path is None:
        candidate = (directory or Path.cwd()) / DEFAULT_FILE
        path = candidate if candidate.is_file() else None
    if path is not None:
        for key, value in _read_file(path).items():
            if key not in known:
                raise ConfigError(f"{path}: unknown setting {key!r}; allowed: {', '.join(sorted(known))}")
            values[key] = _read(known[key], value, f"{path}: {key}")
    for variable, value in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key not in known:
            raise ConfigError(f"unknown variable {variable}; allowed: {', '.join(_variables(known))}")
        values[key] = _read(known[key], value, variable)
    for key, value in (flags or {}).items():
        if value is not None:
            values[key] = _read(known[key], value, f"--{key.replace('_', '-')}")
    return Settings(**values)


def describe_settings() -> list[tuple[str, str, str, str]]:
    """Return (key, variable, default, help) of every setting, in order: the reference page and ``--help`` are made from it."""
    return [
        (item.name, f"{ENVIRONMENT_PREFIX}{item.name.upper()}", _shown(item.default), item.metadata["help"])
        for item in dataclasses.fields(Settings)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in (None, ()) else str(value)


def _variables(known: Mapping[str, object]) -> list[str]:
    return sorted(f"{ENVIRONMENT_PREFIX}{key.upper()}" for key in known)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"settings file {path} cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"settings file {path} is not valid TOML: {error}") from None
