"""The client's modules are sound: TypeScript's strict checker agrees, and the units do what they say under node."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec

import web
from signaling import messages


def test_the_checker_agrees(node: str, node_modules: Path) -> None:
    compiler = node_modules / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [node, str(compiler), "--project", "tsconfig.json"], cwd=web.FILES, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout


def test_the_units_pass_under_node(node: str) -> None:
    files = [str(path) for path in sorted((Path(__file__).parent / "js").glob("*.test.mjs"))]
    assert files
    done = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_client_knows_every_event_of_the_server() -> None:
    info = msgspec.inspect.type_info(messages.Event)
    assert isinstance(info, msgspec.inspect.UnionType)
    tags = {part.tag for part in info.types if isinstance(part, msgspec.inspect.StructType)}
    assert tags
    known = set(re.findall(r"@property \{.*\} (\w+)$", (web.FILES / "sdk" / "messages.js").read_text(), re.MULTILINE))
    assert known == tags
