"""What `salam doctor` looks at, and what `salam serve` refuses to start without."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from salam import ResourceError
from salam_server.settings import Settings
from salam_server.shadow import find_shadows

__all__ = ["Check", "require_codecs", "run_checks", "taken_port"]

# What a live ladder needs: decoding what encoders send, encoding what every player takes.
_DECODERS = ("h264", "aac")
_ENCODERS = ("libx264", "aac")
# One window of a full ladder is about 250 MB at 10 Mb/s for three minutes.
_MIN_FREE_BYTES = 1_000_000_000
# One socket carries everybody's media; 200 kB, a common kernel default, is under 2 ms at 1 Gb/s.
_MIN_RECEIVE_BUFFER_BYTES = 1_000_000

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    state: State
    detail: str
    fix: str = ""


def taken_port(setting: str, port: int, kind: str, error: OSError) -> ResourceError:
    """Say in one line that a port cannot be had, and which setting moves it."""
    if isinstance(error, PermissionError):
        why = "needs more rights (ports under 1024 belong to root)"
    else:
        why = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be opened: {error.strerror}"
    return ResourceError(
        f"{kind} port {port} {why}; choose another with {setting} or SALAM_{setting.upper()}", code="port_unavailable"
    )


def missing_codecs() -> list[str]:
    """Return the codecs that livestreams need and this FFmpeg build lacks."""
    import av

    missing = []
    for mode, names in (("r", _DECODERS), ("w", _ENCODERS)):
        for name in names:
            try:
                av.Codec(name, "r" if mode == "r" else "w")
            except ValueError:
                missing.append(f"{'decoder' if mode == 'r' else 'encoder'} {name}")
    return missing


def require_codecs() -> None:
    """Raise ResourceError naming each codec that livestreams need and the FFmpeg build behind PyAV lacks."""
    missing = missing_codecs()
    if missing:
        raise ResourceError(
            f"the FFmpeg build of the package 'av' lacks: {', '.join(missing)}; install a full build of 'av', "
            "or serve calls alone with --no-live",
            code="codec_missing",
        )


def run_checks(settings: Settings, *, folder: Path) -> Iterator[Check]:
    """Run every check, one after the other; ``folder`` is where an embedder's own packages would be."""
    checks: list[Callable[[], Iterator[Check]]] = [
        _check_python,
        lambda: _check_ports(settings),
        _check_codecs,
        lambda: _check_shadows(folder),
        lambda: _check_data_dir(settings),
        _check_buffers,
        _check_plane,
        _check_player,
        lambda: _check_secret(settings),
        lambda: _check_certificate(settings),
    ]
    for check in checks:
        yield from check()


def _check_python() -> Iterator[Check]:
    yield Check("python", "ok", "Python " + ".".join(map(str, sys.version_info[:3])))


def _check_ports(settings: Settings) -> Iterator[Check]:
    wanted: list[tuple[str, int, tuple[str, ...]]] = [("http_port", settings.http_port, ("tcp",))]
    if settings.calls:
        wanted.append(("media_port", settings.media_port, ("udp", "tcp")))
    if settings.live:
        wanted.append(("rtmp_port", settings.rtmp_port, ("tcp",)))
        if settings.tls_cert is not None:
            wanted.append(("rtmps_port", settings.rtmps_port, ("tcp",)))
    for setting, port, kinds in wanted:
        for kind in kinds:
            name = f"{setting} {port}/{kind}"
            if port == 0:
                yield Check(name, "ok", "a free port is picked")
                continue
            with contextlib.closing(
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
            ) as probe:
                if kind == "tcp":
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((settings.listen_host if "." in settings.listen_host else "", port))
                except OSError as error:
                    yield Check(name, "failed", str(taken_port(setting, port, kind.upper(), error)))
                else:
                    yield Check(name, "ok", "free")


def _check_codecs() -> Iterator[Check]:
    missing = missing_codecs()
    if missing:
        yield Check("ffmpeg codecs", "failed", f"missing: {', '.join(missing)}", "install a full build of 'av'")
    else:
        yield Check("ffmpeg codecs", "ok", ", ".join((*_DECODERS, *_ENCODERS)))


def _check_shadows(folder: Path) -> Iterator[Check]:
    shadows = find_shadows([folder])
    for name, place in shadows:
        yield Check("package names", "failed", f"{place} shadows the package {name!r}", "rename that folder or module")
    if not shadows:
        yield Check("package names", "ok", f"nothing in {folder} shadows a package of Salam")


def _check_data_dir(settings: Settings) -> Iterator[Check]:
    path = settings.data_dir
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        yield Check("data_dir", "failed", f"{path} is not writable", "choose another with data_dir")
        return
    free_bytes = shutil.disk_usage(existing).free
    state: State = "ok" if free_bytes >= _MIN_FREE_BYTES else "warning"
    yield Check("data_dir", state, f"{path}: {free_bytes / 1e9:.1f} GB free", "" if state == "ok" else "1 GB or more is wise")


def _check_buffers() -> Iterator[Check]:
    try:
        limit_bytes = int(Path("/proc/sys/net/core/rmem_max").read_text())
    except (OSError, ValueError):
        return
    if limit_bytes < _MIN_RECEIVE_BUFFER_BYTES:
        yield Check(
            "receive buffer",
            "warning",
            f"the kernel allows {limit_bytes} bytes a socket; bursts may be lost in large rooms",
            "sysctl -w net.core.rmem_max=8388608",
        )
    else:
        yield Check("receive buffer", "ok", f"up to {limit_bytes} bytes")


def _check_plane() -> Iterator[Check]:
    yield Check("media plane", "ok", "pure Python")


def _check_player() -> Iterator[Check]:
    import web

    if (web.FILES / "vendor" / "hls.mjs").is_file():
        yield Check("hls.js", "ok", "present")
    else:
        yield Check("hls.js", "warning", "absent: the watch page uses the browser's own HLS", "make vendor (needs npm)")


def _check_secret(settings: Settings) -> Iterator[Check]:
    if settings.secret:
        yield Check("secret", "ok", "set")
    else:
        yield Check("secret", "warning", "not set: only serve --dev works", "set SALAM_SECRET")


def _check_certificate(settings: Settings) -> Iterator[Check]:
    for key in ("tls_cert", "tls_key"):
        path = getattr(settings, key)
        if path is not None and not os.access(path, os.R_OK):
            yield Check(key, "failed", f"{path} cannot be read", f"correct {key}")
