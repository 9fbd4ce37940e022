"""The command line: ``salam serve | demo | doctor | token | bench``."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from salam import ConfigError, SalamError
from salam_server.cli_bench import bench_app

if TYPE_CHECKING:
    from salam_server.run import Site
    from salam_server.settings import Settings

__all__ = ["GROUPS", "app", "main"]

# 2 is the shell's own code for wrong usage; a bad setting is wrong usage.
_EXIT_BAD_SETTING = 2
_EXIT_FAILED = 1

app = typer.Typer(
    name="salam",
    help="Realtime communications and media server: calls, livestreams and chat in one process.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="Settings file (TOML). Default: salam.toml if present.")]
HostOption = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
HttpOption = Annotated[str | None, typer.Option("--http-port", help="HTTP and WebSocket port [8080].")]
MediaOption = Annotated[str | None, typer.Option("--media-port", help="WebRTC media port, UDP and TCP [40000].")]
RtmpOption = Annotated[str | None, typer.Option("--rtmp-port", help="RTMP port [1935].")]
DataOption = Annotated[str | None, typer.Option("--data-dir", help="Folder for everything stored [.salam].")]
LogFormatOption = Annotated[str | None, typer.Option("--log-format", help="human or json.")]
LogLevelOption = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


app.add_typer(bench_app)
# By the word that stands before their commands.
GROUPS: dict[str, typer.Typer] = {"": app, "bench": bench_app}


def main() -> None:
    """Run the command line; every error of ours becomes one clear line on standard error and a non-zero exit."""
    try:
        app()
    except ConfigError as error:
        _fail(str(error), _EXIT_BAD_SETTING)
    except SalamError as error:
        _fail(str(error), _EXIT_FAILED)


@app.command()
def serve(
    config: ConfigOption = None,
    dev: Annotated[bool, typer.Option("--dev", help="No tokens needed; listens on 127.0.0.1 by default.")] = False,
    host: HostOption = None,
    http_port: HttpOption = None,
    media_port: MediaOption = None,
    rtmp_port: RtmpOption = None,
    announced: Annotated[
        str | None, typer.Option("--announced-addresses", help="Addresses browsers send media to, by commas.")
    ] = None,
    data_dir: DataOption = None,
    calls: Annotated[bool | None, typer.Option("--calls/--no-calls", help="Carry calls.")] = None,
    live: Annotated[bool | None, typer.Option("--live/--no-live", help="Carry livestreams.")] = None,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Run the server until Ctrl-C."""
    settings = _settings(
        config,
        dev=dev or None,
        host=host,
        http_port=http_port,
        media_port=media_port,
        rtmp_port=rtmp_port,
        announced_addresses=announced,
        data_dir=data_dir,
        calls=calls,
        live=live,
        log_format=log_format,
        log_level=log_level,
    )

    async def started(site: Site) -> None:
        for line in _describe(site):
            typer.echo(line)

    _run(settings, started)


@app.command()
def demo(
    config: ConfigOption = None,
    http_port: HttpOption = None,
    media_port: MediaOption = None,
    rtmp_port: RtmpOption = None,
    data_dir: DataOption = None,
    room: Annotated[str, typer.Option(help="Room of the two robots.")] = "demo",
    stream: Annotated[str, typer.Option(help="Name of the live stream.")] = "demo",
    log_level: LogLevelOption = None,
) -> None:
    """Run the server with a room of two robots and a live stream playing, to look at."""
    settings = _settings(
        config,
        dev=True,
        http_port=http_port,
        media_port=media_port,
        rtmp_port=rtmp_port,
        data_dir=data_dir,
        log_level=log_level or "warning",
    )
    from salam_server.demo import play_demo

    async def started(site: Site) -> None:
        await play_demo(site, room=room, stream=stream, say=typer.echo)

    _run(settings, started)


@app.command()
def doctor(
    config: ConfigOption = None,
    path: Annotated[Path | None, typer.Option("--path", help="Your project's folder, to look for names that shadow ours.")] = None,
    turn: Annotated[
        str | None, typer.Option("--turn", help="Look at this TURN server instead, such as turn:turn.example, step by step.")
    ] = None,
    turn_username: Annotated[str | None, typer.Option("--turn-username", help="Username there. Default: of the settings.")] = None,
    turn_password: Annotated[str | None, typer.Option("--turn-password", help="Password to it.")] = None,
    turn_secret: Annotated[
        str | None, typer.Option("--turn-secret", help="Secret shared with it, in place of both. Better: SALAM_TURN_SECRET.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that this machine and the settings are fit to serve; exits 1 when something would fail."""
    from salam_server.cli_doctor import diagnose_machine, diagnose_turn, turn_flags

    if turn is not None:
        well = diagnose_turn(_settings(config, **turn_flags(turn, turn_username, turn_password, turn_secret)), as_json=as_json)
    elif turn_username or turn_password or turn_secret:
        raise ConfigError("credentials are given, and no TURN server to use them at; name it with --turn")
    else:
        well = diagnose_machine(_settings(config), path or Path.cwd(), as_json=as_json)
    if not well:
        raise typer.Exit(_EXIT_FAILED)


@app.command()
def token(
    config: ConfigOption = None,
    identity: Annotated[str, typer.Option(help="Who the token is for.")] = "user",
    room: Annotated[str, typer.Option(help="Room it opens; * for every room; empty for none.")] = "",
    stream: Annotated[str, typer.Option(help="Livestream it may publish; * for every one; empty for none.")] = "",
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="May publish in the room.")] = True,
    subscribe: Annotated[bool, typer.Option("--subscribe/--no-subscribe", help="May receive in the room.")] = True,
    moderate: Annotated[bool, typer.Option("--moderate", help="May mute and remove others.")] = False,
    ttl: Annotated[str, typer.Option(help="How long it is good for: 30m, 6h, 7d.")] = "6h",
    as_json: JsonOption = False,
) -> None:
    """Mint a token, signed with the secret of the settings."""
    import time

    from salam_server.api import dump_json
    from signaling import Grants, TokenIssuer

    settings = _settings(config)
    if not settings.secret:
        raise ConfigError("secret is not set; a token must be signed with the secret of the server: set SALAM_SECRET")
    if not room and not stream:
        raise ConfigError("the token would open nothing; name a --room or a --stream")
    ttl_s = _duration_s(ttl)
    grants = Grants(
        identity=identity,
        room=room or None,
        publish=publish,
        subscribe=subscribe,
        moderate=moderate,
        stream=stream or None,
    )
    now_wall = time.time()
    minted = TokenIssuer(settings.secret).mint(grants, ttl_s=ttl_s, now_wall=now_wall)
    typer.echo(dump_json({"token": minted, "expires_at": int(now_wall + ttl_s)}) if as_json else minted)


def _duration_s(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    # A token that outlives a year is a password; mint a new one instead.
    longest_s = 366 * 86_400
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in units or not 0 < int(number) * units[unit] <= longest_s:
        raise ConfigError(f"ttl is {text!r}; allowed: a whole number and s, m, h or d, at most 366d")
    return float(int(number) * units[unit])


def _settings(config: Path | None, **flags: Any) -> Settings:
    from salam_server.settings import load_settings

    return load_settings(file=config, environment=os.environ, flags=flags)


def _describe(site: Site) -> list[str]:
    engine, host = site.engine, "localhost"
    lines = [f"Salam is serving on {site.url}"]
    if engine.settings.calls:
        lines.append(f"  calls       {site.url}/room/NAME   (media on port {engine.media_port}, UDP and TCP)")
    if engine.settings.live:
        lines.append(f"  publish to  rtmp://{host}:{engine.rtmp_port}/live/STREAM" + ("" if engine.settings.dev else "?token=JWT"))
        lines.append(f"  watch       {site.url}/watch/STREAM")
    lines.append("Ctrl-C stops it.")
    return lines


def _run(settings: Settings, started: Callable[[Site], Awaitable[None]]) -> None:
    from salam import Redactor, configure_logging
    from salam_server.engine import Engine
    from salam_server.run import run_until_signal

    redactor = Redactor(show_addresses=settings.log_addresses, secrets=settings.secrets)
    configure_logging(style=settings.log_format, level=settings.log_level, redactor=redactor)

    async def serve_engine() -> None:
        await run_until_signal(Engine(settings), started)

    _run_loop(serve_engine())


def _run_loop(main_coro: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main_coro)


def _fail(message: str, code: int) -> None:
    print(f"salam: {message}", file=sys.stderr)  # noqa: T201 (the one line that a failing command prints)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
