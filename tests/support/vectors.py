"""Where the published test vectors are: `SALAM_VECTORS`, or the folder `shared/vectors` beside the repository."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

__all__ = ["load_vectors", "vector_file"]

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "vectors"


def vector_file(name: str) -> Path:
    """The path of a file of the folder, for example ``"wycheproof/x25519_test.json"``; without it the test is skipped."""
    path = Path(os.environ.get("SALAM_VECTORS", _BESIDE)) / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; SALAM_VECTORS names the folder of the test vectors")
    return path


def load_vectors(name: str) -> Any:
    """The content of a JSON file of the folder; without it the test is skipped."""
    return json.loads(vector_file(name).read_text())
