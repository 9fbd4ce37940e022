from __future__ import annotations

import errno
from pathlib import Path

import pytest

from salam import ResourceError
from salam_server import Engine, Settings, checks
from salam_server.checks import require_codecs, run_checks, taken_port


def test_this_machine_has_every_codec() -> None:
    require_codecs()


def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_ENCODERS", ("libx264", "no_such_encoder"))
    with pytest.raises(ResourceError, match="encoder no_such_encoder") as caught:
        require_codecs()
    assert caught.value.code == "codec_missing"
    assert "--no-live" in str(caught.value)


async def test_a_missing_codec_stops_the_start_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "_DECODERS", ("no_such_decoder",))
    engine = Engine(Settings(dev=True, media_port=0, rtmp_port=0, data_dir=tmp_path))
    with pytest.raises(ResourceError, match="decoder no_such_decoder"):
        await engine.start()
    assert not engine.ready


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "is taken by another program"),
        (PermissionError(errno.EACCES, "denied"), "needs more rights"),
        (OSError(errno.EADDRNOTAVAIL, "no such address"), "cannot be opened: no such address"),
    ],
)
def test_a_port_that_cannot_be_had_says_why(error: OSError, words: str) -> None:
    message = str(taken_port("http_port", 80, "HTTP", error))
    assert words in message
    assert "SALAM_HTTP_PORT" in message


def test_the_doctor_looks_at_everything(tmp_path: Path) -> None:
    settings = Settings(dev=True, http_port=0, media_port=0, rtmp_port=0, data_dir=tmp_path / "data")
    found = {check.name: check for check in run_checks(settings, folder=tmp_path)}
    assert {"python", "ffmpeg codecs", "package names", "data_dir", "media plane", "hls.js", "secret"} <= set(found)
    assert [check for check in found.values() if check.state == "failed"] == []
    assert all(check.fix for check in found.values() if check.state == "warning")


def test_the_doctor_finds_what_cannot_be_read(tmp_path: Path) -> None:
    settings = Settings(dev=True, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    failed = {check.name for check in run_checks(settings, folder=tmp_path) if check.state == "failed"}
    assert {"tls_cert", "tls_key"} <= failed
