"""Policy: who receives which layer, who speaks, how good a connection is. Pure decisions on summaries, without I/O."""

from sfu.policy.congestion import DownlinkController as DownlinkController
from sfu.policy.layers import LayerChooser as LayerChooser
from sfu.policy.layers import Wish as Wish
from sfu.policy.quality import QualityGrade as QualityGrade
from sfu.policy.quality import QualityMeter as QualityMeter
from sfu.policy.speakers import SpeakerDetector as SpeakerDetector

__all__ = ["DownlinkController", "LayerChooser", "QualityGrade", "QualityMeter", "SpeakerDetector", "Wish"]
