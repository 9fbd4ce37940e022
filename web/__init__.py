"""The browser client as files: plain ES modules that are served as they are.

``FILES`` is the folder whose ``pages``, ``sdk``, ``ui``, ``style``, ``assets`` and ``vendor`` are served under ``/web``.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FILES"]

FILES: Path = Path(__file__).resolve().parent
