"""The credentials of a client, and where new ones come from."""

from turn_client.keeper.client import CredentialKeeper as CredentialKeeper
from turn_client.keeper.client import Credentials as Credentials
from turn_client.keeper.client import FetchCredentials as FetchCredentials
from turn_client.keeper.client import FixedCredentials as FixedCredentials

__all__ = ["CredentialKeeper", "Credentials", "FetchCredentials", "FixedCredentials"]
