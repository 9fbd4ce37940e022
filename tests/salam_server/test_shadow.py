from __future__ import annotations

from pathlib import Path

from salam_server.shadow import HOME, find_shadows


def test_folders_and_modules_that_shadow_are_found(tmp_path: Path) -> None:
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest" / "__init__.py").write_text("")
    (tmp_path / "bench.py").write_text("")
    (tmp_path / "transcode").mkdir()
    (tmp_path / "transcode" / "job.py").write_text("")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("")
    found = dict(find_shadows([tmp_path]))
    assert found == {
        "ingest": tmp_path / "ingest",
        "bench": tmp_path / "bench.py",
        "transcode": tmp_path / "transcode",
    }


def test_our_own_folder_shadows_nothing() -> None:
    assert find_shadows([HOME]) == []
