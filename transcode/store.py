"""Segments on disk, under ``data_dir/live/STREAM/EPOCH/``: a bounded window, cleaned up after a crash.

All methods touch the disk and so belong in worker threads. Names hold the epoch, which is never used twice, so that no cache can
mix what a stream was with what it is now.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from salam.errors import ResourceError

__all__ = ["EpochFolder", "SegmentStore", "init_name", "segment_name"]


def init_name(rendition: str) -> str:
    """Return the file name of a rendition's header."""
    return f"{rendition}.mp4"


def segment_name(rendition: str, index: int) -> str:
    """Return the file name of a rendition's segment."""
    return f"{rendition}-{index}.m4s"


class EpochFolder:
    """Where the files of one epoch are written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=False)
        except OSError as error:
            raise ResourceError(f"cannot make a folder for segments: {error.strerror}") from error

    def write(self, name: str, data: bytes) -> None:
        """Store a file; it appears whole or not at all. Raises ResourceError when the disk refuses."""
        target = self._path / name
        part = target.with_suffix(".part")
        try:
            # No fsync: after a power cut the whole tree is thrown away anyway.
            part.write_bytes(data)
            part.rename(target)
        except OSError as error:
            raise ResourceError(f"cannot store a segment: {error.strerror}") from error


class SegmentStore:
    """The tree of all streams below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def reset(self) -> None:
        """Make the tree, empty: what a crash left behind belongs to no playlist. Raises ResourceError."""
        try:
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(f"cannot use {self.root} for segments: {error.strerror}") from error

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)

    def open_epoch(self, stream: str, folder: str) -> EpochFolder:
        """Make the folder of a new epoch; raises ResourceError."""
        return EpochFolder(self.root / stream / folder)

    def path(self, stream: str, folder: str, name: str) -> Path:
        """Return where a file lies; the parts must come from `transcode.request`, which lets no separator through."""
        return self.root / stream / folder / name

    def remove(self, stream: str, folder: str, names: tuple[str, ...] | None) -> None:
        """Remove files of an epoch, or with None all of it; what is gone already is no error."""
        directory = self.root / stream / folder
        if names is None:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            for name in names:
                (directory / name).unlink(missing_ok=True)
            return
        try:
            # Only succeeds when this was the stream's last epoch.
            directory.parent.rmdir()
        except OSError:
            return
