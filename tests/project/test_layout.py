"""The house rules that a machine can check: who imports whom, who may do I/O, how large things may grow."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

ALLOWED_IMPORTS: dict[str, set[str]] = {
    "salam": set(),
    "e2ee": {"salam"},
    "turn_client": {"salam"},
    "sfu": {"salam", "turn_client"},
    "ingest": {"salam"},
    "transcode": {"salam", "ingest"},
    "signaling": {"salam"},
    "bench": {"salam", "e2ee", "turn_client", "sfu", "ingest", "transcode", "signaling"},
    "web": set(),
    "salam_server": {"salam", "e2ee", "turn_client", "sfu", "ingest", "transcode", "signaling", "bench", "web"},
}
OURS = set(ALLOWED_IMPORTS)
PRESENT = sorted(name for name in OURS if (ROOT / name).is_dir())

# Only these files may open sockets or spawn tasks; `salam` holds the task helper itself, the server is the composition root.
IO_FILES = {"server.py", "client.py", "worker.py", "runner.py"}
IO_PACKAGES = {"salam_server"}
# The two files that other packages' I/O is built from.
IO_EXCEPTIONS = {"salam/tasks.py": "owns tasks for everybody", "salam/clock.py": "owns sleeping for everybody"}
IO_MODULES = {"socket", "selectors", "ssl", "aiohttp", "websockets", "uvloop"}
IO_CALLS = {
    "create_task",
    "ensure_future",
    "create_datagram_endpoint",
    "create_connection",
    "create_server",
    "open_connection",
    "start_server",
    "TaskGroup",
}

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
# Path, or path::function, to the reason why it may be longer.
SIZE_EXCEPTIONS: dict[str, str] = {}


def sources() -> Iterator[Path]:
    for package in PRESENT:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "node_modules" not in path.parts:
                yield path


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            yield node.lineno, node.module or ""
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def test_every_package_is_known() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    strangers = found - OURS - {"fuzz"}
    assert not strangers, f"packages that the import table does not know: {strangers}"
    assert "salam" in found


@pytest.mark.parametrize("package", PRESENT)
def test_imports_follow_the_table(package: str) -> None:
    allowed = ALLOWED_IMPORTS[package] | {package}
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        if "node_modules" in path.parts:
            continue
        for line, module in imported_modules(ast.parse(path.read_text())):
            top, *rest = module.split(".")
            if top not in OURS:
                continue
            if top not in allowed:
                wrong.append(f"{relative(path)}:{line} imports {module}")
            elif top != package and any(part.startswith("_") and part != "__version__" for part in rest):
                wrong.append(f"{relative(path)}:{line} imports the private {module}")
    assert not wrong, "\n".join(wrong)


def test_only_io_files_do_io() -> None:
    wrong = []
    for path in sources():
        name = relative(path)
        if path.name in IO_FILES or name.split("/")[0] in IO_PACKAGES or name in IO_EXCEPTIONS:
            continue
        tree = ast.parse(path.read_text())
        wrong += [
            f"{name}:{line} imports {module}" for line, module in imported_modules(tree) if module.split(".")[0] in IO_MODULES
        ]
        wrong += [
            f"{name}:{node.lineno} calls {node.func.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in IO_CALLS
        ]
    assert not wrong, "\n".join(wrong)


def test_nobody_touches_the_private_parts_of_another_object() -> None:
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
                continue
            owner = node.value
            if isinstance(owner, ast.Name) and owner.id in {"self", "cls", "other"}:
                continue
            wrong.append(f"{relative(path)}:{node.lineno} reaches for {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


def test_no_name_mangling() -> None:
    wrong = [
        f"{relative(path)}:{node.lineno} {node.attr}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("__") and not node.attr.endswith("__")
    ]
    assert not wrong, "\n".join(wrong)


def test_sizes_stay_readable() -> None:
    wrong = []
    for path in [*sources(), *sorted((ROOT / "tests").rglob("*.py"))]:
        name = relative(path)
        text = path.read_text()
        lines = text.count("\n")
        if lines > MAX_FILE_LINES and name not in SIZE_EXCEPTIONS:
            wrong.append(f"{name} has {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES and f"{name}::{node.name}" not in SIZE_EXCEPTIONS:
                    wrong.append(f"{name}::{node.name} has {length} lines")
    for path in sorted((ROOT / "web").rglob("*.js")):
        if {"node_modules", "vendor"} & set(path.parts):
            continue
        lines = path.read_text().count("\n")
        if lines > MAX_FILE_LINES:
            wrong.append(f"{relative(path)} has {lines} lines")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", [name for name in PRESENT if (ROOT / name / "__init__.py").exists()])
def test_exports_match(package: str) -> None:
    module = __import__(package)
    assert (ROOT / package / "py.typed").exists()
    exported = list(module.__all__)
    assert exported == sorted(set(exported)), "__all__ is not sorted, or names something twice"
    missing = [name for name in exported if not hasattr(module, name)]
    assert not missing, missing


def test_public_names_have_docstrings() -> None:
    wrong = []
    for path in sources():
        tree = ast.parse(path.read_text())
        if not path.name.startswith("_") and ast.get_docstring(tree) is None:
            wrong.append(f"{relative(path)} has no module docstring")
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None:
                wrong.append(f"{relative(path)}:{node.lineno} {node.name} has no docstring")
    assert not wrong, "\n".join(wrong)


def test_the_project_speaks_of_itself_alone() -> None:
    """No machine path and no registry host anywhere in what is committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    words = re.compile(rb"/work/|/root/|registry\.npmjs|pypi\.org/simple|files\.pythonhosted|static\.crates\.io")
    wrong = []
    for name in filter(None, listed.split(b"\0")):
        path = ROOT / name.decode()
        if path == Path(__file__) or not path.is_file():
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if words.search(line):
                wrong.append(f"{name.decode()}:{number}")
    assert not wrong, "\n".join(wrong)
