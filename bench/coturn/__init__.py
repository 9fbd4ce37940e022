"""coturn as a peer of measurements and tests."""

from bench.coturn.runner import Coturn as Coturn
from bench.coturn.runner import CoturnOptions as CoturnOptions
from bench.coturn.runner import binding_answered as binding_answered
from bench.coturn.runner import write_certificate as write_certificate

__all__ = ["Coturn", "CoturnOptions", "binding_answered", "write_certificate"]
