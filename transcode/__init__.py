"""Livestreams to HLS: the rendition ladder, the CMAF segmenter, and the origin that serves them."""

from transcode.ladder import Rung as Rung
from transcode.ladder import plan_ladder as plan_ladder
from transcode.limits import LiveLimits as LiveLimits
from transcode.playlist_lint import lint_media as lint_media
from transcode.playlist_lint import lint_multivariant as lint_multivariant
from transcode.playlist_lint import lint_update as lint_update
from transcode.request import LiveRequest as LiveRequest
from transcode.request import LiveResource as LiveResource
from transcode.request import parse_live_request as parse_live_request
from transcode.server import LiveOrigin as LiveOrigin
from transcode.stream import LiveState as LiveState
from transcode.stream import LiveStream as LiveStream

__all__ = [
    "LiveLimits",
    "LiveOrigin",
    "LiveRequest",
    "LiveResource",
    "LiveState",
    "LiveStream",
    "Rung",
    "lint_media",
    "lint_multivariant",
    "lint_update",
    "parse_live_request",
    "plan_ladder",
]
