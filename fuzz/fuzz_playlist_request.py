"""Fuzz target: a request's path below /live is refused with our exception, or names nothing outside its stream."""

from salam import ProtocolError
from transcode import parse_live_request

SEEDS: list[bytes] = [
    b"show\nindex.m3u8",
    b"show\n720p.m3u8",
    b"show\naudio.m3u8",
    b"show\n19a7c3e42f1x1-0/720p.mp4",
    b"show\n19a7c3e42f1x1-0/audio-17.m4s",
    b"../show\n../../etc/passwd",
    b"show\n19a7c3e42f1x1-0/..%2f..",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as stream name and path, one line each."""
    stream, _, path = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        wanted = parse_live_request(stream, path)
    except ProtocolError:
        return
    for part in (wanted.stream, wanted.folder, wanted.name, wanted.rendition):
        assert part.isascii()
        assert "/" not in part
        assert not part.startswith(".")
