"""Looking servers up: the machine's own resolver for addresses, DNS for SRV and NAPTR records."""

from turn_client.dns.client import DnsResolver as DnsResolver
from turn_client.dns.client import resolve as resolve

__all__ = ["DnsResolver", "resolve"]
