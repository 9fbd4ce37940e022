"""Resolve the dependencies of pyproject.toml into requirements/*.txt, with hashes, for every supported Python at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header"]
# The files must be the same wherever they are made, and name no place to download from.
SILENT = ["--no-emit-index-url", "--no-emit-find-links", "--quiet"]


def main() -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
    uv = Path(sys.executable).parent / "uv"
    project = ["requirements/build.in", "pyproject.toml"]
    for name, sources in (
        ("run", project),
        ("test", ["--extra", "test", *project]),
        # Comes on top of the test set, so it must agree with it.
        ("mutants", ["--constraint", "requirements/test.txt", "requirements/mutants.in"]),
    ):
        command = [str(uv), "pip", "compile", *OPTIONS, *SILENT, *sources, "-o", f"requirements/{name}.txt", "--upgrade"]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
