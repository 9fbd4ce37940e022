"""The guards of every test do fire."""

from __future__ import annotations

from pathlib import Path

import pytest
from blockbuster import BlockingError

from salam_server.settings import load_settings


async def test_blocking_the_loop_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "salam.toml"
    file.write_text("http_port = 1\n")
    with pytest.raises(BlockingError):
        load_settings(file=file)


def test_blocking_outside_a_loop_is_not(tmp_path: Path) -> None:
    file = tmp_path / "salam.toml"
    file.write_text("http_port = 1\n")
    assert load_settings(file=file).http_port == 1
