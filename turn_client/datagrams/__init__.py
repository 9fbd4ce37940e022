"""One connected UDP socket that takes many datagrams at a time."""

from turn_client.datagrams.client import DatagramSocket as DatagramSocket

__all__ = ["DatagramSocket"]
