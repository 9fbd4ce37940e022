"""What viewers see of a stream: the sliding window over its segments, across epochs, and the playlists made from it.

Sans-IO: takes the events of the worker threads in order, gives playlists and the names of files that are no longer needed. A
segment is listed once every rendition has it, so that all playlists always show the same window.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ingest.access_unit import TIMESCALE_HZ
from salam.errors import NotFoundError
from transcode.events import AUDIO, EpochEnded, EpochStarted, PipelineEvent, SegmentStored, TrackReady
from transcode.ladder import Rung
from transcode.playlist import MediaPlaylist, MediaSegment, Variant, render_media, render_multivariant
from transcode.rates import RateMeter
from transcode.store import init_name, segment_name

__all__ = ["Expired", "Presentation"]

# A removed segment stays for the longest playlist that named it and one segment more (RFC 8216 section 6.2.2).
_KEPT_BEYOND_WINDOW = 2


@dataclass(frozen=True, slots=True)
class Expired:
    """Files to remove: ``names`` of the epoch's folder, or with None the whole folder."""

    folder: str
    names: tuple[str, ...] | None


@dataclass(slots=True)
class _Epoch:
    """An epoch as far as its events have come."""

    started: EpochStarted
    codecs: dict[str, str] = field(default_factory=dict)
    waiting: dict[int, dict[str, SegmentStored]] = field(default_factory=dict)
    next_index: int = 0
    listed: int = 0
    """Rows that still need its folder."""
    ended: bool = False
    shift_s: float = 0.0
    """Added to its dates so that they follow those of the epoch before."""

    @property
    def renditions(self) -> set[str]:
        names = {rung.name for rung in self.started.rungs}
        return names | {AUDIO} if self.started.audio else names

    def stand_in(self, rendition: str) -> str | None:
        """Return the rendition that takes the place of one that this epoch does not have: the next smaller, else the smallest."""
        if rendition in self.renditions:
            return rendition
        if rendition == AUDIO or not self.started.rungs:
            return AUDIO if self.started.audio else None
        wanted = int(rendition.removesuffix("p"))
        smaller = [rung for rung in self.started.rungs if min(rung.width, rung.height) <= wanted]
        return (smaller[0] if smaller else self.started.rungs[-1]).name


@dataclass(frozen=True, slots=True)
class _Row:
    """One media sequence number in all renditions."""

    sequence: int
    epoch: _Epoch
    wall_s: float
    discontinuity: bool
    discontinuities_before: int
    segments: dict[str, SegmentStored]


class Presentation:
    """The window of one stream, from its first segment to its end.

    ``window`` is the number of segments in a playlist.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._rows: deque[_Row] = deque()
        self._kept: deque[_Row] = deque()
        self._epochs: dict[int, _Epoch] = {}
        self._latest: _Epoch | None = None
        self._first_sequence: dict[str, int] = {}
        self._meters: dict[str, RateMeter] = {}
        self._next_sequence = 0
        self._discontinuities = 0
        self._expired: list[Expired] = []
        self._wall_end_s = 0.0
        self.target_s: int | None = None
        self.ended = False

    @property
    def playable(self) -> bool:
        """Whether there is a segment to play."""
        return bool(self._rows)

    @property
    def segments_listed(self) -> int:
        """How many segments were ever listed."""
        return self._next_sequence

    @property
    def has_audio(self) -> bool:
        """Whether there ever was an audio rendition."""
        return AUDIO in self._first_sequence

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The video renditions of the newest listed epoch, largest first."""
        return self._latest.started.rungs if self._latest is not None else ()

    def apply(self, event: PipelineEvent) -> int:
        """Take the next event; return how many segments became listed by it."""
        if isinstance(event, EpochStarted):
            self._epochs[event.epoch] = _Epoch(event)
            return 0
        if isinstance(event, TrackReady):
            self._epochs[event.epoch].codecs[event.rendition] = event.codecs
            return 0
        if isinstance(event, SegmentStored):
            epoch = self._epochs[event.epoch]
            epoch.waiting.setdefault(event.index, {})[event.rendition] = event
            return self._list_complete(epoch)
        if isinstance(event, EpochEnded):
            epoch = self._epochs[event.epoch]
            epoch.ended = True
            # What some rendition never delivered is not listed; its files go with the folder.
            epoch.waiting.clear()
            self._forget_if_unused(epoch)
        return 0

    def end(self) -> None:
        """No segment will ever follow: playlists say so from now on."""
        self.ended = True
        for epoch in list(self._epochs.values()):
            epoch.ended = True
            self._forget_if_unused(epoch)

    def take_expired(self) -> list[Expired]:
        """Return the files that nobody may ask for any more; each is returned once."""
        expired, self._expired = self._expired, []
        return expired

    def drop_all(self) -> list[Expired]:
        """Forget everything and return all folders that may still exist."""
        folders = [Expired(epoch.started.folder, None) for epoch in self._epochs.values()]
        self._rows.clear()
        self._kept.clear()
        self._epochs.clear()
        self._expired = []
        return folders

    def has_file(self, folder: str, name: str) -> bool:
        """Whether a playlist of now or of a while ago names this file."""
        for rows in (self._rows, self._kept):
            for row in rows:
                if row.epoch.started.folder != folder:
                    continue
                for rendition, segment in row.segments.items():
                    if name in (init_name(rendition), segment_name(rendition, segment.index)):
                        return True
        return False

    # ------------------------------------------------------------------------------------------- playlists

    def multivariant(self) -> str:
        """Return the multivariant playlist; raises NotFoundError while there is nothing to play."""
        epoch = self._latest
        if epoch is None or not self._rows:
            raise NotFoundError("the stream has no segments yet", code="stream_not_ready")
        audio = f"{AUDIO}.m3u8" if epoch.started.audio else None
        audio_meter = self._meters.get(AUDIO)
        extra = audio_meter if audio is not None else None
        variants = []
        above_bps = 0
        for rung in epoch.started.rungs:
            meter = self._meters[rung.name]
            peak_bps = above_bps = self._peak_bps(rung, meter, above_bps)
            codecs = [epoch.codecs[rung.name], *([epoch.codecs[AUDIO]] if audio else [])]
            variants.append(
                Variant(
                    f"{rung.name}.m3u8",
                    peak_bps + (extra.peak_bps if extra else 0),
                    meter.average_bps + (extra.average_bps if extra else 0),
                    tuple(codecs),
                    (rung.width, rung.height),
                    self._frame_rate(epoch, rung, meter),
                )
            )
        if not variants and audio is not None and audio_meter is not None:
            # Audio alone is a variant, not a rendition of one.
            only = Variant(audio, audio_meter.peak_bps, audio_meter.average_bps, (epoch.codecs[AUDIO],))
            return render_multivariant([only], None)
        return render_multivariant(variants, audio)

    def media(self, rendition: str) -> str:
        """Return the media playlist of ``rendition``; raises NotFoundError when the stream never had it."""
        first = self._first_sequence.get(rendition)
        if first is None or not self._rows:
            raise NotFoundError(f"the stream has no rendition {rendition}", code="unknown_rendition")
        rows = [row for row in self._rows if row.sequence >= first]
        segments = []
        for row in rows:
            name = row.epoch.stand_in(rendition)
            if name is None:
                # Cannot come about: an epoch without video has audio, and one after audio has silence.
                continue
            folder = row.epoch.started.folder
            stored = row.segments[name]
            segments.append(
                MediaSegment(
                    f"{folder}/{segment_name(name, stored.index)}",
                    stored.duration_s,
                    f"{folder}/{init_name(name)}",
                    row.wall_s,
                    row.discontinuity,
                )
            )
        target = self.target_s or 1
        return render_media(MediaPlaylist(target, rows[0].sequence, rows[0].discontinuities_before, segments, self.ended))

    def _peak_bps(self, rung: Rung, meter: RateMeter, above_bps: int) -> int:
        """Return what BANDWIDTH has to promise of ``rung``, below one that has ``above_bps`` (0: there is none).

        While segments are still to come, the measured peak may be surpassed by as much as the encoder is allowed to spend (RFC 8216
        section 4.3.4.2). The encoder spends less on a small picture than the source did on a large one, so a plain source bounds
        it too; otherwise players would take the small one for the better.
        """
        if self.ended or rung.passthrough:
            return meter.peak_bps
        return max(meter.peak_bps, min(rung.bit_rate_bps, above_bps or rung.bit_rate_bps))

    @staticmethod
    def _frame_rate(epoch: _Epoch, rung: Rung, meter: RateMeter) -> float:
        if epoch.started.frame_rate:
            return epoch.started.frame_rate / 2 if rung.halve_frame_rate else epoch.started.frame_rate
        return meter.frame_rate

    # ------------------------------------------------------------------------------------------- the window

    def _list_complete(self, epoch: _Epoch) -> int:
        listed = 0
        while (row := epoch.waiting.get(epoch.next_index)) is not None and row.keys() >= epoch.renditions:
            del epoch.waiting[epoch.next_index]
            epoch.next_index += 1
            self._list(epoch, row)
            listed += 1
        return listed

    def _list(self, epoch: _Epoch, segments: dict[str, SegmentStored]) -> None:
        leading = segments[epoch.started.rungs[0].name if epoch.started.rungs else AUDIO]
        if self.target_s is None:
            self.target_s = leading.target_s
        discontinuity = epoch is not self._latest and self._latest is not None
        self._latest = epoch
        wall_s = epoch.started.wall_s + (leading.start_pts - epoch.started.start_pts) / TIMESCALE_HZ
        # A publisher that feeds faster than real time must not make the dates of its return overlap.
        if discontinuity:
            epoch.shift_s = max(self._wall_end_s - wall_s, 0.0)
        wall_s += epoch.shift_s
        self._wall_end_s = wall_s + leading.duration_s
        for name, segment in segments.items():
            self._first_sequence.setdefault(name, self._next_sequence)
            meter = self._meters.setdefault(name, RateMeter(self.target_s))
            meter.add(segment.size_bytes, segment.duration_s, segment.samples)
        self._rows.append(_Row(self._next_sequence, epoch, wall_s, discontinuity, self._discontinuities, segments))
        self._discontinuities += discontinuity
        self._next_sequence += 1
        epoch.listed += 1
        self._slide()

    def _slide(self) -> None:
        while len(self._rows) > self._window:
            self._kept.append(self._rows.popleft())
        while len(self._kept) > self._window + _KEPT_BEYOND_WINDOW:
            row = self._kept.popleft()
            names = tuple(segment_name(name, segment.index) for name, segment in row.segments.items())
            self._expired.append(Expired(row.epoch.started.folder, names))
            row.epoch.listed -= 1
            self._forget_if_unused(row.epoch)

    def _forget_if_unused(self, epoch: _Epoch) -> None:
        if epoch.ended and epoch.listed == 0 and self._epochs.pop(epoch.started.epoch, None) is not None:
            self._expired.append(Expired(epoch.started.folder, None))
