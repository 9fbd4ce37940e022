"""Robots that join rooms as browsers do."""

from bench.robot.client import PictureListener as PictureListener
from bench.robot.client import Robot as Robot
from bench.robot.stats import ReceivedTrack as ReceivedTrack
from bench.robot.stats import RobotStats as RobotStats
from bench.robot.stats import SentTrack as SentTrack

__all__ = ["PictureListener", "ReceivedTrack", "Robot", "RobotStats", "SentTrack"]
