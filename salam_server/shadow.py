"""Finds folders of an embedder that shadow our packages.

Our packages have plain top-level names (``ingest``, ``signaling``), so a folder or module of the same name that comes earlier on
the import path wins and breaks us. This module uses nothing but the standard library, so that it works even then.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["OUR_PACKAGES", "check_imports", "find_shadows"]

OUR_PACKAGES = ("salam", "turn_client", "sfu", "ingest", "transcode", "signaling", "bench", "salam_server", "web")

HOME = Path(__file__).resolve().parent.parent
"""The folder that holds our packages."""


def find_shadows(folders: Iterable[Path | str]) -> list[tuple[str, Path]]:
    """Return (package, what shadows it) for each of our packages that ``folders`` also hold under the same name.

    ``folders`` are looked at in order, as the import system would if they came before us; the first hit for a name counts.
    """
    shadows = []
    entries = [str(Path(folder).resolve()) for folder in folders]
    for name in OUR_PACKAGES:
        for entry in entries:
            spec = importlib.machinery.PathFinder.find_spec(name, [entry])
            if spec is None:
                continue
            places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
            if not places or places[0] is None:
                continue
            place = Path(places[0]).resolve()
            place = place.parent if place.name == "__init__.py" else place
            # A namespace folder without any Python inside wins only when nothing else has the name.
            if spec.origin is None and not any(place.glob("*.py")):
                continue
            if place != HOME / name:
                shadows.append((name, place))
                break
    return shadows


def check_imports() -> None:
    """Raise ImportError, with the folder to rename, when another module sits where one of our packages should be."""
    for name in OUR_PACKAGES:
        module = sys.modules.get(name)
        origin = getattr(module, "__file__", None)
        if origin is not None and Path(origin).resolve().parent != HOME / name:
            raise ImportError(_explain(name, Path(origin).resolve().parent))
    before_us: list[str] = []
    for entry in sys.path:
        if Path(entry or ".").resolve() == HOME:
            break
        before_us.append(entry or ".")
    for name, place in find_shadows(before_us):
        raise ImportError(_explain(name, place))


def _explain(name: str, place: Path) -> str:
    return (
        f"the package {name!r} of Salam is shadowed by {place}, which comes earlier on the import path; "
        f"rename that folder or put Salam's folder first"
    )
