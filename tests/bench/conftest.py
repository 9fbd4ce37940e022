"""What the tests of the bench share."""

from __future__ import annotations

import pytest

from bench.media import LoopLibrary


@pytest.fixture(scope="session")
def library() -> LoopLibrary:
    """Loops that are encoded once for all tests."""
    return LoopLibrary()
