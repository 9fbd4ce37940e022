"""One allocation on one socket."""

from turn_client.session.client import Session as Session
from turn_client.session.client import SessionOwner as SessionOwner

__all__ = ["Session", "SessionOwner"]
