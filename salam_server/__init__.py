"""The composition root: settings, the command line, and the one engine that holds every part of Salam."""

from salam_server.shadow import check_imports

check_imports()

from salam_server.engine import Engine as Engine  # noqa: E402 (a shadowed package must be reported before it is imported)
from salam_server.run import Site as Site  # noqa: E402
from salam_server.run import serving as serving  # noqa: E402
from salam_server.settings import Settings as Settings  # noqa: E402
from salam_server.settings import load_settings as load_settings  # noqa: E402

__all__ = ["Engine", "Settings", "Site", "load_settings", "serving"]
