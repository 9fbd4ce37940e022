"""A broadcaster for demos and test rigs: publishes a moving test card and a tone over RTMP, as an encoder would."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from bench.broadcast.card import TONE_FRAME_SAMPLES, TONE_RATE_HZ, card_pictures, card_sound
from bench.broadcast.client import BlockingPublisher
from bench.broadcast.flv import FlvTap
from salam import ConfigError, ResourceError, SalamError

__all__ = ["Broadcaster"]

# One core encodes this much with room to spare; a load generator must not be what is slow.
_MAX_WIDTH, _MAX_HEIGHT, _MAX_FPS = 1280, 720, 30
_MIN_SIDE = 64
# Enough for a clean 44.1 or 48 kHz tone; what encoders call "music".
_AUDIO_BITRATE_BPS = 96_000
# Bits per pixel and picture that keep the card's edges clean with the fast preset.
_BITS_PER_PIXEL = 0.12

# How long `stop` waits for the server to take the goodbye before it cuts the connection.
_GOODBYE_S = 2.0


class Broadcaster:
    """Publishes to ``url`` from `start` until `stop`, in real time, from a thread of its own.

    ``width`` by ``height`` (even, up to 1280 by 720) at ``fps`` (up to 30) pictures a second; ``video_bitrate_bps`` follows
    from the size when it is None. A keyframe comes every ``keyframe_interval_s`` seconds. There are no B-frames and no
    lookahead: what is encoded is sent.

    Raises ConfigError for values outside these.
    """

    def __init__(
        self,
        url: str,
        width: int = 640,
        height: int = 360,
        fps: int = 15,
        video_bitrate_bps: int | None = None,
        keyframe_interval_s: float = 1.0,
    ) -> None:
        if width % 2 or height % 2 or not (_MIN_SIDE <= width <= _MAX_WIDTH and _MIN_SIDE <= height <= _MAX_HEIGHT):
            raise ConfigError(
                f"size is {width}x{height}; allowed: even sides, {_MIN_SIDE}x{_MIN_SIDE} to {_MAX_WIDTH}x{_MAX_HEIGHT}"
            )
        if not 1 <= fps <= _MAX_FPS:
            raise ConfigError(f"fps is {fps}; allowed: 1 to {_MAX_FPS}")
        if keyframe_interval_s <= 0:
            raise ConfigError(f"keyframe_interval_s is {keyframe_interval_s}; it must be positive")
        self._url = url
        self._width = width
        self._height = height
        self._fps = fps
        self._bitrate_bps = int(width * height * fps * _BITS_PER_PIXEL) if video_bitrate_bps is None else video_bitrate_bps
        self._keyframe_pictures = max(1, round(fps * keyframe_interval_s))
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: BlockingPublisher | None = None
        self._error: SalamError | None = None
        self._pictures_sent = 0

    @property
    def error(self) -> SalamError | None:
        """Why the publication ended by itself; None while it runs and after a clean stop."""
        return self._error

    @property
    def pictures_sent(self) -> int:
        """Pictures handed to the network so far."""
        return self._pictures_sent

    def start(self) -> None:
        """Begin publishing; returns at once. A failure to connect shows in `error`.

        Raises RuntimeError when it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a broadcaster is started once")
        # A daemon, so that a program that forgets to stop it can still exit.
        self._thread = threading.Thread(target=self._run, name="broadcaster", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the publication, saying goodbye to the server; safe to call twice and before `start`."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._join, self._thread)

    def _join(self, thread: threading.Thread) -> None:
        thread.join(_GOODBYE_S)
        if thread.is_alive() and self._connection is not None:
            self._connection.interrupt()
        thread.join()

    def _run(self) -> None:
        try:
            self._connection = BlockingPublisher(self._url)
            with self._connection as connection:
                self._publish(connection)
        except SalamError as error:
            # Whoever stops it does not wait for a publication any more.
            if not self._stopping.is_set():
                self._error = error
        except Exception:
            # Nobody sees a thread fail: whoever looks at `error` learns it too, and the traceback goes where threads'
            # tracebacks go.
            self._error = ResourceError("the broadcaster failed", code="publish_failed")
            raise

    def _publish(self, connection: BlockingPublisher) -> None:
        # FFmpeg's own RTMP output holds the interpreter lock while it connects: it could not publish to a server in this process.
        tap = FlvTap()
        options = {"flvflags": "no_duration_filesize", "flush_packets": "1"}
        with av.open(tap, "w", format="flv", options=options) as container:
            video, audio = self._add_video(container), self._add_audio(container)
            for packet in self._packets(video, audio):
                container.mux(packet)
                connection.send(tap.take())
        connection.send(tap.take())

    def _packets(self, video: VideoStream, audio: AudioStream) -> Iterator[av.Packet[Any]]:
        """Give what the encoders make, in real time, until `stop`."""
        sound = card_sound()
        sound_s = 0.0
        started_s = time.monotonic()
        for number, picture in enumerate(card_pictures(self._width, self._height, self._fps)):
            position_s = number / self._fps
            if self._stopping.wait(max(0.0, started_s + position_s - time.monotonic())):
                break
            yield from video.encode(picture)
            self._pictures_sent += 1
            while sound_s <= position_s:
                yield from audio.encode(next(sound))
                sound_s += TONE_FRAME_SAMPLES / TONE_RATE_HZ
        yield from video.encode(None)
        yield from audio.encode(None)

    def _add_video(self, container: OutputContainer) -> VideoStream:
        stream = container.add_stream(
            "libx264",
            rate=self._fps,
            options={
                "preset": "superfast",
                "tune": "zerolatency",
                # One thread bounds what a test rig pays for each broadcaster.
                "threads": "1",
                "g": str(self._keyframe_pictures),
                "keyint_min": str(self._keyframe_pictures),
                "sc_threshold": "0",
            },
        )
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        stream.bit_rate = self._bitrate_bps
        return stream

    @staticmethod
    def _add_audio(container: OutputContainer) -> AudioStream:
        stream = container.add_stream("aac", rate=TONE_RATE_HZ, layout="mono")
        stream.bit_rate = _AUDIO_BITRATE_BPS
        return stream
