"""What the tests of the browser client share: its files, node to run and check them, and a browser to look at them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import playwright
import pytest
from playwright.async_api import Browser, async_playwright

import web
from tests.support.browser import CHROMIUM_FLAGS

# Static imports only: what `import()` asks for comes after the first paint.
_IMPORT = re.compile(r"""^(?:import\s+|(?:import|export)\s[^;"'()=]*\sfrom\s+)["'](\.[^"']+)["']""", re.MULTILINE)
_LINKED = re.compile(r"""(?:src|href)="/web/([^"]+)\"""")


@pytest.fixture
def node() -> str:
    """The path of node: the one inside of Playwright, which is pinned, for what a distribution brings may be years old."""
    return str(Path(playwright.__file__).parent / "driver" / "node")


@pytest.fixture
def node_modules(need_program: Callable[..., str]) -> Path:
    """The client's npm packages, installed as the lock file says when they are not there yet."""
    folder = web.FILES / "node_modules"
    if not (folder / "typescript").is_dir():
        subprocess.run([need_program("npm"), "ci", "--ignore-scripts"], cwd=web.FILES, check=True, timeout=300)
    return folder


@pytest.fixture
async def browser(need_program: Callable[..., str]) -> AsyncIterator[Browser]:
    """A browser whose camera and microphone are made up and allowed."""
    executable = need_program("chromium", "chromium-browser", "google-chrome")
    async with async_playwright() as driver:
        running = await driver.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS, headless=True)
        try:
            yield running
        finally:
            await running.close()


@pytest.fixture
def sources() -> list[Path]:
    """Every module of the client."""
    return sorted(path for folder in ("sdk", "ui", "pages") for path in (web.FILES / folder).rglob("*.js"))


@pytest.fixture
def loaded_by() -> Callable[[Path], set[Path]]:
    """Return what a page or module loads before anything of it runs, itself included."""

    def collect(path: Path, found: set[Path] | None = None) -> set[Path]:
        found = set() if found is None else found
        path = path.resolve()
        if path in found:
            return found
        found.add(path)
        if path.suffix == ".js":
            for name in _IMPORT.findall(path.read_text()):
                collect(path.parent / name, found)
        elif path.suffix == ".html":
            for name in _LINKED.findall(path.read_text()):
                collect(web.FILES / name, found)
        return found

    return collect
