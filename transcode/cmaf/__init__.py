"""A writer of CMAF tracks: headers, fragments, and the parsers that read them back."""

from transcode.cmaf.boxes import find_box as find_box
from transcode.cmaf.boxes import iter_boxes as iter_boxes
from transcode.cmaf.fragment import Fragment as Fragment
from transcode.cmaf.fragment import Sample as Sample
from transcode.cmaf.fragment import media_fragment as media_fragment
from transcode.cmaf.fragment import parse_fragments as parse_fragments
from transcode.cmaf.fragment import segment_type as segment_type
from transcode.cmaf.init_segment import AudioTrack as AudioTrack
from transcode.cmaf.init_segment import VideoTrack as VideoTrack
from transcode.cmaf.init_segment import init_segment as init_segment

__all__ = [
    "AudioTrack",
    "Fragment",
    "Sample",
    "VideoTrack",
    "find_box",
    "init_segment",
    "iter_boxes",
    "media_fragment",
    "parse_fragments",
    "segment_type",
]
