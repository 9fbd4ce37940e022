"""The documentation says what the code does: generated parts are current, and whatever a page names is there."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web as http
from typer.models import OptionInfo

from salam_server import Engine, Settings
from salam_server.cli import GROUPS
from salam_server.settings import ENVIRONMENT_PREFIX

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Variables with our prefix that are no settings: the settings file itself, and where the picture test puts its pictures.
OTHER_VARIABLES = {"SALAM_CONFIG", "SALAM_SCREENSHOTS"}
# Every command answers these.
COMMON_FLAGS = {"--help"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Yield the code blocks of a page in one of the languages."""
    for language, text in FENCE.findall(page.read_text()):
        if language in languages:
            yield text


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(page: Path) -> set[str]:
    """Return what a link may name behind the ``#`` of a page, made as GitHub makes it, and the explicit ones."""
    text = FENCE.sub("", page.read_text())
    found = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in HEADING.findall(text):
        words = re.sub(r"<[^>]+>|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


def test_generated_parts_are_current() -> None:
    ran = subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in LINK.findall(without_code_blocks(page)):
            path = (page.parent / target.partition("#")[0]).resolve()
            if path.suffix == ".md" and path.is_file():
                waiting.append(path)
    assert sorted(map(name_of, reached)) == sorted(map(name_of, PAGES))


def without_code_blocks(page: Path) -> str:
    return FENCE.sub("", page.read_text())


@each_page
def test_links_and_pictures_resolve(page: Path) -> None:
    wrong = []
    for target in LINK.findall(without_code_blocks(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path_text, _, fragment = target.partition("#")
        path = (page.parent / path_text).resolve() if path_text else page
        if not path.is_relative_to(ROOT) or not path.exists():
            wrong.append(f"{target}: no such file")
        elif fragment and path.suffix == ".md" and fragment not in anchors(path):
            wrong.append(f"{target}: no such heading")
    assert not wrong, "\n".join(wrong)


@each_page
def test_python_blocks_compile(page: Path) -> None:
    for text in blocks(page, "python"):
        # A reader puts it into a file, where awaiting outside of a function is wrong too.
        compile(text, name_of(page), "exec")


@each_page
def test_imports_of_python_blocks_work(page: Path) -> None:
    for text in blocks(page, "python"):
        for line in text.splitlines():
            if re.match(r"(from|import) ", line):
                exec(line, {})


def known_flags() -> dict[str, set[str]]:
    """Return the flags of every command."""
    found: dict[str, set[str]] = {}
    for group, command in ((name, command) for name, made in GROUPS.items() for command in made.registered_commands):
        callback = command.callback
        assert callback is not None
        # A group's first word stands for all of its commands.
        name_of_command = group or callback.__name__
        flags = set(COMMON_FLAGS) | found.get(name_of_command, set())
        for name, annotation in callback.__annotations__.items():
            if name == "return":
                continue
            flags |= flags_of(name, annotation, vars(sys.modules[callback.__module__]))
        found[name_of_command] = flags
    return found


def flags_of(name: str, annotation: str, names: dict[str, object]) -> set[str]:
    metadata = getattr(eval(annotation, names), "__metadata__", ())
    options = [item for item in metadata if isinstance(item, OptionInfo)]
    assert options, f"{name} is no option"
    # Inside Annotated, typer takes the first flag for a default until it builds the command.
    declared = [text for text in (options[0].default, *(options[0].param_decls or ())) if isinstance(text, str)]
    found = {flag for text in declared for flag in text.split("/") if flag.startswith("-")}
    return found or {f"--{name.replace('_', '-')}"}


@each_page
def test_commands_and_flags_exist(page: Path) -> None:
    flags = known_flags()
    wrong = []
    # In shell blocks, and wherever a line of prose shows a command.
    lines = [line for text in blocks(page, "sh", "ini") for line in text.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", without_code_blocks(page))
    for line in lines:
        match = re.search(r"(?:^|[\s/=])salam ([a-z]+)\b([^#]*)", line)
        if match is None or line.startswith("git ") or "systemctl" in line:
            continue
        command, rest = match.groups()
        if command not in flags:
            wrong.append(f"salam {command}")
            continue
        wrong += [f"salam {command} {flag}" for flag in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", rest) if flag not in flags[command]]
    anywhere = set().union(*flags.values())
    known_to_others = {"--check"}
    wrong += [
        flag
        for flag in re.findall(r"`(--[a-z][a-z-]*)`", without_code_blocks(page))
        if flag not in anywhere and flag not in known_to_others
    ]
    assert not wrong, wrong


@each_page
def test_variables_exist(page: Path) -> None:
    settings = {f"{ENVIRONMENT_PREFIX}{item.name.upper()}" for item in dataclasses.fields(Settings)}
    named = set(re.findall(rf"\b{ENVIRONMENT_PREFIX}[A-Z_]*[A-Z]\b", page.read_text()))
    assert named <= settings | OTHER_VARIABLES, named - settings - OTHER_VARIABLES


@each_page
def test_settings_files_are_accepted(page: Path) -> None:
    for text in blocks(page, "toml"):
        # A wrong key or value raises, with the reason.
        Settings(**{**tomllib.loads(text), "dev": True})


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    named = set(re.findall(r"`make ([a-z]+)\b", text))
    named |= {name for block in blocks(page, "sh") for name in re.findall(r"^make ([a-z]+)\b", block, re.MULTILINE)}
    assert named <= targets, named - targets


@each_page
def test_no_page_names_a_folder_of_a_machine(page: Path) -> None:
    # Whole paths only: `/home/` is nobody's route here, and a page may of course show where an operator installs things.
    wrong = re.findall(r"/(?:work|root|home|tmp|Users)/\S*", page.read_text())
    assert not wrong, wrong


def shown_route(path: str) -> str:
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)


def test_the_http_page_lists_every_route(tmp_path: Path) -> None:
    app = http.Application()
    Engine(Settings(dev=True, data_dir=tmp_path)).mount(app)
    served = {(route.method, shown_route(route.resource.canonical)) for route in app.router.routes() if route.resource is not None}
    page = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    listed = set(re.findall(r"^\| (GET|POST) \| `([^`]+)` \|", page, re.MULTILINE))
    assert listed == {(method, path) for method, path in served if method in ("GET", "POST")}


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "topics" / "dependencies.md").read_text()
    run, _, test = page.partition("## To test")
    assert names_in_table(run) == names_of_packages(project["dependencies"])
    assert names_in_table(test) == names_of_packages(project["optional-dependencies"]["test"])


def names_in_table(text: str) -> set[str]:
    cells = re.findall(r"^\| ([\w, -]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in cell.split(", ")} - {"package", "---"}


def names_of_packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def test_the_debug_page_names_what_the_pages_have() -> None:
    """Every field in the tables is a word in our JavaScript, as a key or a shorthand."""
    page = (ROOT / "docs" / "reference" / "page-debug.md").read_text().partition("## Parameters")[0]
    sources = "\n".join(
        path.read_text() for folder in ("pages", "sdk", "ui") for path in sorted((ROOT / "web" / folder).glob("*.js"))
    )
    fields = {
        field for first in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE) for field in re.findall(r"`(\w+)`", first)
    }
    assert len(fields) > 40
    missing = {field for field in fields if not re.search(rf"\b{field}\s*[:,}}(]", sources)}
    assert not missing, missing
