"""What every package of Salam stands on: errors, clocks, owned tasks, logging with redaction, metrics."""

from salam.clock import Clock as Clock
from salam.clock import RealClock as RealClock
from salam.clock import SimulatedClock as SimulatedClock
from salam.clock import ntp_seconds as ntp_seconds
from salam.errors import AuthError as AuthError
from salam.errors import ClosedError as ClosedError
from salam.errors import ConfigError as ConfigError
from salam.errors import ConflictError as ConflictError
from salam.errors import LimitError as LimitError
from salam.errors import NotFoundError as NotFoundError
from salam.errors import ProtocolError as ProtocolError
from salam.errors import RequestError as RequestError
from salam.errors import ResourceError as ResourceError
from salam.errors import SalamError as SalamError
from salam.log import Redactor as Redactor
from salam.log import configure_logging as configure_logging
from salam.log import get_logger as get_logger
from salam.metrics import Metrics as Metrics
from salam.tasks import TaskOwner as TaskOwner
from salam.tasks import live_owners as live_owners

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "Clock",
    "ClosedError",
    "ConfigError",
    "ConflictError",
    "LimitError",
    "Metrics",
    "NotFoundError",
    "ProtocolError",
    "RealClock",
    "Redactor",
    "RequestError",
    "ResourceError",
    "SalamError",
    "SimulatedClock",
    "TaskOwner",
    "configure_logging",
    "get_logger",
    "live_owners",
    "ntp_seconds",
]
