"""``python -m salam_server`` is the same as the command ``salam``."""

from salam_server.cli import main

main()
