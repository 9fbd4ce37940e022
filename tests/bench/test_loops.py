"""Encoded loops: layers, keyframes, files, and encoding once for everybody."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import pytest

from bench.media import FileMedia, FrameDecoder, GeneratedMedia, LoopLibrary, LoopPlayer, VideoEncoder
from bench.media.portrait import generated_pictures
from bench.media.voice import generated_sound
from salam import ConfigError, ResourceError

_SMALL = GeneratedMedia(width=320, height=180, fps=10, loop_s=1)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_simulcast_layers_have_their_sizes_and_one_keyframe(library: LoopLibrary, codec: str) -> None:
    loop = library.get(GeneratedMedia(width=320, height=180, fps=10, loop_s=1, codec=codec)).video  # type: ignore[arg-type]
    assert loop is not None
    assert [(layer.rid, layer.width, layer.height) for layer in loop.layers] == [("q", 80, 44), ("h", 160, 90), ("f", 320, 180)]
    for layer in loop.layers:
        assert [frame.keyframe for frame in layer.frames] == [True] + [False] * 9
        decoder = FrameDecoder(loop.codec)
        pictures = [picture for frame in layer.frames for picture in decoder.decode(frame.data)]
        assert [(picture.width, picture.height) for picture in pictures] == [(layer.width, layer.height)] * 10


def test_a_forced_keyframe_is_one() -> None:
    encoder = VideoEncoder("VP8", 160, 90, 10, 100_000)
    pictures = generated_pictures(160, 90, 10, 6, "")
    assert [encoder.encode(picture, keyframe=index == 3).keyframe for index, picture in enumerate(pictures)] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]


def test_sound_is_played_by_the_clock_so_that_robots_keep_their_turns(library: LoopLibrary) -> None:
    loop = library.get(GeneratedMedia(video=False, loop_s=2)).audio
    assert loop is not None
    early, late, suspended = (LoopPlayer(loop, start_s) for start_s in (100.0, 100.74, 90.0))
    # Half a frame after the deadlines, which are sums of many fractions.
    for player in (early, late, suspended):
        player.due(101.19)
    for step in range(150):
        played = {id(frame.frame) for player in (early, late, suspended) for frame in player.due(101.21 + step / 50)}
        assert len(played) == 1


def test_many_askers_share_one_encoding() -> None:
    library = LoopLibrary()
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(library.get(_SMALL))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len({id(result) for result in results}) == 1


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of video and sound at other rates and sizes than a robot uses."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 200, 120, "yuv420p"
        audio = container.add_stream("aac", rate=44_100)
        for picture in generated_pictures(200, 120, 25, 25, "clip"):
            picture.pict_type = av.video.frame.PictureType.NONE
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        for sound in generated_sound(1, "clip"):
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


def test_a_file_becomes_a_loop(clip: Path) -> None:
    loops = LoopLibrary().get(FileMedia(path=clip, width=160, height=96, fps=10, simulcast=False))
    assert loops.video is not None
    assert loops.audio is not None
    (layer,) = loops.video.layers
    assert (layer.rid, layer.width, layer.height) == ("", 160, 96)
    assert 9 <= len(layer.frames) <= 11
    assert 48 <= len(loops.audio.layers[0].frames) <= 51


def test_a_longer_file_is_cut(clip: Path) -> None:
    loops = LoopLibrary().get(FileMedia(path=clip, width=160, height=96, fps=10, loop_s=0.5))
    assert loops.video is not None
    assert loops.audio is not None
    assert (len(loops.video.layers[0].frames), len(loops.audio.layers[0].frames)) == (5, 25)


def test_a_file_that_is_no_media_is_a_resource_error_every_time(tmp_path: Path) -> None:
    library = LoopLibrary()
    media = FileMedia(path=tmp_path / "nothing.mp4")
    for _ in range(2):
        with pytest.raises(ResourceError, match=r"nothing\.mp4"):
            library.get(media)
    media.path.write_bytes(b"not a video at all" * 100)
    with pytest.raises(ResourceError, match=r"nothing\.mp4"):
        library.get(media)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"width": 10}, "width"),
        ({"fps": 0}, "fps"),
        ({"loop_s": 1000}, "loop_s"),
        ({"codec": "VP9"}, "codec"),
        ({"video": False, "audio": False}, "video"),
    ],
)
def test_media_out_of_range_is_refused_by_name(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        GeneratedMedia(**wrong)  # type: ignore[arg-type]


def _player(library: LoopLibrary) -> LoopPlayer:
    loop = library.get(GeneratedMedia(width=320, height=180, fps=10, loop_s=1)).video
    assert loop is not None
    return LoopPlayer(loop, start_s=100.0)


def test_a_player_keeps_time_and_loops(library: LoopLibrary) -> None:
    player = _player(library)
    assert player.due(99.9) == []
    frames = player.due(100.0)
    assert [frame.layer for frame in frames] == [0, 1, 2]
    assert all(frame.frame.keyframe for frame in frames)
    assert player.next_deadline() == pytest.approx(100.1)
    later = [frame for step in range(1, 25) for frame in player.due(100 + step / 10 + 0.001) if frame.layer == 2]
    assert [frame.ticks for frame in later] == [9000 * step for step in range(1, 25)]
    assert [frame.frame.keyframe for frame in later] == [step % 10 == 0 for step in range(1, 25)]


def test_a_keyframe_request_goes_back_to_the_beginning_of_all_layers(library: LoopLibrary) -> None:
    player = _player(library)
    for step in range(5):
        player.due(100 + step / 10)
    player.request_keyframe()
    player.request_keyframe()
    frames = player.due(100.5)
    assert [frame.frame.keyframe for frame in frames] == [True] * 3
    assert frames[0].ticks == 5 * 9000
    assert not any(frame.frame.keyframe for frame in player.due(100.6))


def test_keyframe_requests_in_a_burst_are_spaced(library: LoopLibrary) -> None:
    player = _player(library)
    keyframes = 0
    for step in range(20):
        player.request_keyframe()
        keyframes += any(frame.frame.keyframe for frame in player.due(100 + step / 10 + 0.0001))
    assert 5 <= keyframes <= 7


def test_a_layer_that_resumes_begins_with_a_keyframe(library: LoopLibrary) -> None:
    player = _player(library)
    player.due(100.0)
    player.set_active(2, active=False)
    assert [frame.layer for frame in player.due(100.1)] == [0, 1]
    for step in range(2, 5):
        player.due(100 + step / 10)
    player.set_active(2, active=True)
    resumed = player.due(100.5)
    assert [frame.layer for frame in resumed] == [0, 1, 2]
    assert resumed[2].frame.keyframe


def test_a_player_that_was_suspended_goes_on_from_now(library: LoopLibrary) -> None:
    player = _player(library)
    player.due(100.0)
    # What was missed is left out, and since the decoder would miss it, the first frame is a keyframe.
    frames = player.due(200.05) + player.due(200.11)
    assert [frame.frame.keyframe for frame in frames] == [True] * 3
    assert frames[0].ticks == 1001 * 9000
