"""The client keeps to its own rules: nothing inline, nothing from others, small, and every file that is asked for is there."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import web

PAGES = ("index.html", "room.html", "watch.html")
# As they travel, compressed: half of the 100 kB that a phone on a slow line gets in about a second.
FIRST_PAINT_BYTES = 50_000
# As the files are, for a proxy or browser that takes them only so.
FIRST_PAINT_PLAIN_BYTES = 125_000
# Names of formats, not places: nothing is fetched from them.
NAMESPACES = {"http://www.w3.org/2000/svg"}


def every_file() -> list[Path]:
    return [
        path
        for folder in ("pages", "sdk", "ui", "style", "assets")
        for path in sorted((web.FILES / folder).rglob("*"))
        if path.is_file()
    ]


@pytest.mark.parametrize("name", PAGES)
def test_pages_have_nothing_inline(name: str) -> None:
    text = (web.FILES / "pages" / name).read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert re.findall(r"<script[^>]*>\s*\S[^<]*</script>", text) == []
    assert re.findall(r"<style|\bstyle=|\bon[a-z]+=", text) == []


def test_nothing_comes_from_somebody_else() -> None:
    for path in every_file():
        addresses = set(re.findall(r"\b(?:https?|wss?)://[^\s\"'`)<>]+", path.read_text()))
        own = {address for address in addresses if address.startswith(("http://localhost", "https?"))}
        assert addresses - NAMESPACES - own == set(), path.name
        assert re.findall(r"[\"'(]//[a-z]", path.read_text()) == [], path.name


def test_no_module_is_overlooked(sources: list[Path]) -> None:
    assert set(sources) == {path for path in every_file() if path.suffix == ".js"}
    assert any(path.parent.name == "e2ee" for path in sources)


def test_nothing_makes_code_or_markup_from_strings(sources: list[Path]) -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setAttribute\(\"style\""
        r"|createContextualFragment|parseFromString|setHTMLUnsafe"
    )
    for path in sources:
        assert forbidden.search(path.read_text()) is None, path.name


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("language", ["en", "ar"])
def test_the_first_paint_is_small(name: str, language: str, loaded_by: Callable[[Path], set[Path]]) -> None:
    # Headers and the live answers are small beside it.
    files = loaded_by(web.FILES / "pages" / name) | {web.FILES / "ui" / f"strings_{language}.js"}
    assert len(files) > 8
    contents = [path.read_bytes() for path in files]
    assert sum(len(gzip.compress(content, 9)) for content in contents) < FIRST_PAINT_BYTES
    assert sum(map(len, contents)) < FIRST_PAINT_PLAIN_BYTES


def test_everything_that_is_asked_for_is_there(sources: list[Path], loaded_by: Callable[[Path], set[Path]]) -> None:
    for name in PAGES:
        assert all(path.is_file() for path in loaded_by(web.FILES / "pages" / name))
    for path in sources:
        for asked in re.findall(r"""import\(["'](\.[^"']+)["']\)""", path.read_text()):
            assert (path.parent / asked).is_file(), f"{path.name} asks for {asked}"
    for path in (web.FILES / "style").glob("*.css"):
        for asked in re.findall(r"url\(\"/web/([^\"]+)\"\)", path.read_text()):
            assert (web.FILES / asked).is_file(), f"{path.name} asks for {asked}"


def test_every_module_is_used(sources: list[Path], loaded_by: Callable[[Path], set[Path]]) -> None:
    """By a page, or by what an index gives to other products; that a test imports a module does not count."""
    indexes = [web.FILES / "sdk" / "index.js", web.FILES / "sdk" / "e2ee" / "index.js"]
    waiting = [web.FILES / "pages" / name for name in PAGES] + indexes
    used: set[Path] = set()
    while waiting:
        for path in loaded_by(waiting.pop()) - used:
            used.add(path)
            if path.suffix == ".js":
                # What comes later, and what runs in a worker.
                later = re.findall(r"""(?:import\(|new URL\()["'](\.[^"']+\.js)["']""", path.read_text())
                waiting += [path.parent / asked for asked in later]
    # What the messages look like is known to the checker only.
    assert {path.name for path in sources if path not in used} == {"messages.js"}


def test_the_sdk_draws_nothing(sources: list[Path]) -> None:
    for path in sources:
        text = path.read_text()
        if not path.is_relative_to(web.FILES / "sdk"):
            continue
        assert re.search(r"document\.|createElement|\.\./ui/|\.\./pages/", text) is None, path.name


def test_right_to_left_needs_no_second_stylesheet() -> None:
    sided = re.compile(
        r"^\s*(?:margin|padding|border)-(?:left|right)\b|^\s*(?:left|right|float):|text-align:\s*(?:left|right)", re.MULTILINE
    )
    found = {(path.name, line.strip()) for path in (web.FILES / "style").glob("*.css") for line in sided.findall(path.read_text())}
    # Tiles are placed by computed coordinates, which are physical.
    assert found == {("room.css", "left:")}


def test_packages_are_pinned_and_name_no_registry() -> None:
    package = json.loads((web.FILES / "package.json").read_text())
    for group in ("dependencies", "devDependencies"):
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package[group].values())
    lock = (web.FILES / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert "://" not in lock
    locked = json.loads(lock)["packages"]
    for name, version in {**package["dependencies"], **package["devDependencies"]}.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert locked[f"node_modules/{name}"]["integrity"].startswith("sha512-")


def test_the_player_module_is_put_where_the_page_looks(node: str, node_modules: Path) -> None:
    subprocess.run([node, str(web.FILES / "scripts" / "vendor.mjs")], check=True, capture_output=True, timeout=60)
    module = web.FILES / "vendor" / "hls.mjs"
    assert module.read_bytes() == (node_modules / "hls.js" / "dist" / "hls.min.mjs").read_bytes()
    script = (
        f"const {{ default: Hls }} = await import({json.dumps(module.as_uri())}); console.log(typeof Hls.isSupported, Hls.version)"
    )
    done = subprocess.run([node, "--input-type=module", "-e", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["function", json.loads((web.FILES / "package.json").read_text())["dependencies"]["hls.js"]]
