"""Logging: human or JSON lines on standard error, with secrets and peer addresses redacted.

Loggers are named ``salam.<package>``. INFO is for the lifecycle of rooms, streams and processes; nothing logs per packet. Peer
addresses are personal data: they are hidden unless the operator asks for them with ``show_addresses``.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, Literal, TextIO

from salam.errors import ConfigError

__all__ = ["LOG_FORMATS", "Redactor", "configure_logging", "get_logger"]

LOG_FORMATS = ("human", "json")
_LEVELS = ("debug", "info", "warning", "error")

_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
# At least two colons with hex groups around them: narrow enough to leave clock times ("12:30:05") alone, because those have no
# group of hex letters and no "::".
_IPV6 = re.compile(r"(?<![\w:])(?=[0-9a-fA-F:]*::|(?:[0-9a-fA-F]{1,4}:){7})[0-9a-fA-F:]+(?:%\w+)?(?![\w:])")
_JWT = re.compile(r"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*")
_NAMED_SECRET = re.compile(
    r"(?i)\b(token|secret|credential|password|passwd|pwd|authorization|api_key|access_key|ice-pwd|bearer)(['\"]?\s*[=:]\s*['\"]?|\s+)"
    r"(?!<)(?:bearer\s+)?[^\s'\"&,;)}\]]+"
)
# Addresses that name no person: any, loopback.
_HARMLESS = frozenset({"127.0.0.1", "0.0.0.0", "::1", "::"})


class Redactor:
    """Replaces tokens, named secrets and peer addresses in a text.

    ``show_addresses`` keeps addresses, for an operator who debugs a network. ``secrets`` are literal values (the signing secret)
    that must never appear, whatever the text around them.
    """

    def __init__(self, *, show_addresses: bool = False, secrets: tuple[str, ...] = ()) -> None:
        self._show_addresses = show_addresses
        # A short literal would redact ordinary words; secrets that short are refused by the settings.
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 8)

    def __call__(self, text: str) -> str:
        """Return ``text`` with everything secret replaced by a word in angle brackets."""
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        text = _JWT.sub("<token>", text)
        text = _NAMED_SECRET.sub(lambda match: f"{match.group(1)}{match.group(2)}<secret>", text)
        if not self._show_addresses:
            text = _IPV4.sub(self._hide, text)
            text = _IPV6.sub(self._hide, text)
        return text

    @staticmethod
    def _hide(match: re.Match[str]) -> str:
        address = match.group(0)
        return address if address in _HARMLESS else "<address>"


class _Formatter(logging.Formatter):
    def __init__(self, redactor: Redactor, style: Literal["human", "json"]) -> None:
        super().__init__()
        self._redactor = redactor
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        message = self._redactor(record.getMessage())
        trace = self._redactor(self.formatException(record.exc_info)) if record.exc_info else None
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        if not self._json:
            line = f"{stamp} {record.levelname.lower():<7} {record.name}: {message}"
            return line if trace is None else f"{line}\n{trace}"
        entry: dict[str, Any] = {
            "time": stamp,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        context = getattr(record, "context", None)
        if isinstance(context, dict):
            entry["context"] = {str(key): self._redactor(str(value)) for key, value in context.items()}
        if trace is not None:
            entry["traceback"] = trace
        return json.dumps(entry, ensure_ascii=False)


class _ContextAdapter(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        context = {**(self.extra or {}), **(kwargs.pop("context", None) or {})}
        kwargs["extra"] = {**kwargs.get("extra", {}), "context": context}
        prefix = " ".join(f"{key}={value}" for key, value in context.items())
        return (f"[{prefix}] {msg}" if prefix else msg), kwargs


def get_logger(package: str, **context: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger ``salam.<package>``; ``context`` (room, participant, stream) is put before every message."""
    escaped = {key: str(value).replace("%", "%%") for key, value in context.items()}
    return _ContextAdapter(logging.getLogger(f"salam.{package}"), escaped)


def configure_logging(
    *,
    style: str = "human",
    level: str = "info",
    redactor: Redactor | None = None,
    stream: TextIO | None = None,
) -> logging.Handler:
    """Send the ``salam`` loggers to ``stream`` (default standard error) and return the handler.

    Calling it again replaces the earlier handler. The root logger is left alone: an embedder's own set-up stays as it is.
    Raises ConfigError for an unknown ``style`` or ``level``.
    """
    if style not in LOG_FORMATS:
        raise ConfigError(f"log_format is {style!r}; allowed: {', '.join(LOG_FORMATS)}")
    if level not in _LEVELS:
        raise ConfigError(f"log_level is {level!r}; allowed: {', '.join(_LEVELS)}")
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(_Formatter(redactor or Redactor(), "json" if style == "json" else "human"))
    logger = logging.getLogger("salam")
    for old in [known for known in logger.handlers if isinstance(known.formatter, _Formatter)]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    return handler
