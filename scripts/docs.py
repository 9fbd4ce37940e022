"""Write the generated parts of the documentation: ``python scripts/docs.py`` rewrites them, ``--check`` fails if they are stale.

A generated part of a page stands between two comments, ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``; everything around
them is written by hand. The facts come from the code itself, so that a page cannot say what the code does not.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import dataclasses
import importlib
import inspect
import json
import re
import sys
import tempfile
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from typer.models import OptionInfo

import salam
from salam import ConfigError, Metrics, SalamError
from salam_server import Engine, Settings
from salam_server.cli import GROUPS
from salam_server.settings import describe_settings, load_settings
from signaling import messages, secure_messages
from signaling.limits import Rate
from signaling.schema import protocol_schema

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SCHEMA = DOCS / "reference" / "salam.v1.schema.json"
PACKAGES = ("salam", "turn_client", "sfu", "ingest", "transcode", "signaling", "bench", "salam_server")
# Every class of bounds, in the order of the page.
LIMITS = (
    ("Signaling", "signaling", "Limits"),
    ("RTMP ingest", "ingest", "RtmpLimits"),
    ("Livestreams", "transcode", "LiveLimits"),
)
# Bounds that are constants beside the code that they protect, by their names.
_LIMIT_NAME = re.compile(r"\w*(MAX|LIMIT|LONGEST|TIMEOUT|IDLE|STRANGER|STORED|HISTORY|WINDOW|EXPIRED)\w*")
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)

Generator = Callable[[], str]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table; pipes and line ends in cells are made harmless."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """Return ``text`` as inline code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def prose(docstring: str | None) -> str:
    """Return a docstring as one Markdown paragraph: double backquotes become single ones."""
    return re.sub(r"`{2}(.+?)`{2}", r"`\1`", " ".join((docstring or "").split()))


def field_notes(kind: type) -> dict[str, str]:
    """Return the text under each field of a class, by the field's name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef))
    notes = {}
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            notes[statement.target.id] = prose(str(following.value.value))
    return notes


# ------------------------------------------------------------------------------------------------- settings and commands


def allowed_values(key: str) -> str:
    """Return what a setting allows, in the words of its own refusal."""
    try:
        load_settings(flags={key: object()}, directory=Path("/nonexistent"))
    except ConfigError as error:
        return error.message.partition("allowed: ")[2]
    raise AssertionError(f"{key} allows anything")


def settings_table() -> str:
    """Every setting: key, variable, default, what is allowed, and what it is for."""
    rows = [
        (code(key), code(variable), code(default) or "(empty)", allowed_values(key), text)
        for key, variable, default, text in describe_settings()
    ]
    return table(("key", "variable", "default", "allowed", "what it is for"), rows)


def option_row(name: str, annotation: Any) -> tuple[str, str, str]:
    """Return the flags, the kind of value and the help of one option of a command."""
    kind, *metas = typing.get_args(annotation)
    option = next(meta for meta in metas if isinstance(meta, OptionInfo))
    # Inside Annotated, typer takes the first flag for a default until it builds the command.
    declared = [text for text in (option.default, *(option.param_decls or ())) if isinstance(text, str) and text.startswith("-")]
    flags = [flag for text in declared or [f"--{name.replace('_', '-')}"] for flag in text.split("/")]
    inner = [part for part in typing.get_args(kind) or (kind,) if part is not type(None)]
    takes = {bool: "", int: "a number", str: "a text", Path: "a path"}[inner[0]]
    return ", ".join(map(code, flags)), takes, prose(option.help)


def all_commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command by the words that call it; those of groups after the plain ones."""
    for prefix, group in GROUPS.items():
        for command in group.registered_commands:
            assert command.callback is not None
            yield f"{prefix} ".lstrip() + (command.name or command.callback.__name__), command.callback


def commands() -> str:
    """Every command with its options."""
    parts = []
    for name_of_command, callback in all_commands():
        rows = []
        for name, parameter in inspect.signature(callback, eval_str=True).parameters.items():
            flags, takes, text = option_row(name, parameter.annotation)
            default = "" if parameter.default in (None, True, False, "") else code(str(parameter.default))
            rows.append((flags, takes, default, text))
        head = ("option", "takes", "default", "what it does")
        parts.append(f"## salam {name_of_command}\n\n{prose(callback.__doc__)}\n\n" + table(head, rows))
    return "\n".join(parts)


# ------------------------------------------------------------------------------------------------- the protocol


def shown_type(annotation: Any) -> tuple[str, str]:
    """Return a field's type and its bounds, both for a reader."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        name, bounds = shown_type(arguments[0])
        metas = [meta for meta in arguments[1:] if isinstance(meta, msgspec.Meta)]
        return name, "; ".join(filter(None, [bounds, *(shown_bounds(meta) for meta in metas)]))
    if origin is typing.Literal:
        return "empty" if arguments == ("",) else "one of " + ", ".join(code(str(word)) for word in arguments), ""
    if origin is list:
        name, bounds = shown_type(arguments[0])
        return f"list of {name}", bounds
    if origin is dict:
        return f"object of {shown_type(arguments[1])[0]}", ""
    if arguments:
        shown = [shown_type(part) for part in arguments]
        return " or ".join(name for name, _ in shown), "; ".join(filter(None, (bounds for _, bounds in shown)))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})", ""
    words = {"str": "text", "bytes": "bytes (base64 in JSON)", "int": "whole number", "float": "number", "bool": "true or false"}
    return words[annotation.__name__], ""


def shown_bounds(meta: msgspec.Meta) -> str:
    """Return the bounds of a field in words."""
    words = {
        "ge": "at least {}",
        "le": "at most {}",
        "min_length": "{} or longer",
        "max_length": "up to {} long",
        "pattern": "`{}`",
    }
    return ", ".join(text.format(getattr(meta, name)) for name, text in words.items() if getattr(meta, name) is not None)


def shown_default(item: msgspec.structs.FieldInfo) -> str:
    """Return what a missing field means, or that it must be there."""
    if item.required:
        return "required"
    if item.default is msgspec.NODEFAULT:
        return "empty"
    value = item.default
    if value == b"":
        return "empty"
    return code(str(value).lower() if isinstance(value, bool) else json.dumps(value))


def linked(text: str) -> str:
    """Return ``text`` with the names of messages, and of their parts, as links to their sections."""

    def link(match: re.Match[str]) -> str:
        named = getattr(messages, match.group(1), None) or getattr(secure_messages, match.group(1), None)
        is_struct = isinstance(named, type) and issubclass(named, msgspec.Struct)
        return f"[`{match.group(1)}`](#{match.group(1).lower()})" if is_struct else match.group(0)

    return re.sub(r"`(\w+)`", link, text)


def struct_section(kind: type[msgspec.Struct]) -> str:
    """Return the heading, the text and the field table of one message or part of one."""
    tag = kind.__struct_config__.tag
    title = kind.__name__ if tag is None else f"{kind.__name__}: `{tag}`"
    notes = field_notes(kind)
    rows = []
    for item in msgspec.structs.fields(kind):
        name, bounds = shown_type(item.type)
        rows.append(
            (code(item.encode_name), name, shown_default(item), ". ".join(filter(None, [notes.get(item.name, ""), bounds])))
        )
    # An explicit anchor: the heading of a message holds its tag too.
    return f'### <a id="{kind.__name__.lower()}"></a>{title}\n\n{linked(prose(kind.__doc__))}\n\n' + table(
        ("field", "type", "when missing", "meaning and bounds"), rows
    )


def structs(union: Any) -> str:
    """Return the sections of every message in a union."""
    return "\n".join(struct_section(kind) for kind in typing.get_args(union))


def message_parts() -> str:
    """Return the sections of the structs that messages are made of."""
    tagged = {*typing.get_args(messages.Request), *typing.get_args(messages.ServerMessage)}
    named = [*vars(messages).values(), *vars(secure_messages).values()]
    kinds = dict.fromkeys(kind for kind in named if isinstance(kind, type) and issubclass(kind, msgspec.Struct))
    # The bases have no fields of their own.
    return "\n".join(struct_section(kind) for kind in kinds if kind not in tagged and kind.__struct_fields__)


# ------------------------------------------------------------------------------------------------- errors


def package_trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield (package, syntax tree) of every module."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield package, ast.parse(path.read_text())


def error_tree() -> str:
    """The tree as the module draws it."""
    drawing = inspect.cleandoc(salam.errors.__doc__ or "").partition("::\n\n")[2].partition("\n\nEvery class")[0]
    return f"```text\n{textwrap.dedent(drawing).rstrip()}\n```\n"


def error_classes() -> str:
    """Every exception class of Salam with its code and whether a retry makes sense."""
    for package in PACKAGES:
        importlib.import_module(package)
    found: list[type[SalamError]] = []

    def walk(kind: type[SalamError]) -> None:
        found.append(kind)
        for child in sorted(kind.__subclasses__(), key=lambda each: each.__name__):
            walk(child)

    walk(SalamError)
    rows = [
        (
            code(kind.__name__),
            code(kind.__module__.split(".")[0]),
            code(kind.default_code),
            "yes" if kind.default_retryable else "no",
            prose((kind.__doc__ or "").partition("\n\n")[0]),
        )
        for kind in dict.fromkeys(found)
    ]
    return table(("class", "package", "code", "retryable", "when"), rows)


def literal_text(node: ast.expr | None) -> str:
    """Return a message in the source as a reader sees it; what is filled in at run time becomes an ellipsis."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(literal_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def error_codes() -> str:
    """Every narrower code that is written out, with the class and the package that raise it and the sentences that go with it."""
    sentences: dict[tuple[str, str, str], set[str]] = {}
    for package, tree in package_trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            for keyword in node.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str):
                    message = literal_text(node.args[0]) if node.args else ""
                    sentences.setdefault((keyword.value.value, node.func.id, package), set()).add(message)
    rows = [(*map(code, key), "; ".join(sorted(filter(None, texts)))) for key, texts in sorted(sentences.items())]
    return table(("code", "class", "package", "message"), rows)


# ------------------------------------------------------------------------------------------------- metrics and limits


class _Recorder(Metrics):
    """Notes every metric that the engine asks for."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[str, str, str, str]] = {}
        super().__init__(CollectorRegistry())

    def _note(self, name: str, kind: str, labels: tuple[str, ...], help_text: str) -> None:
        self.asked[name] = (code(name), kind, ", ".join(map(code, labels)), help_text)

    def counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        self._note(name, "counter", labels, help_text)
        return super().counter(name, help_text, labels)

    def gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        self._note(name, "gauge", labels, help_text)
        return super().gauge(name, help_text, labels)

    def histogram(self, name: str, help_text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
        self._note(name, "histogram", labels, help_text)
        return super().histogram(name, help_text, buckets, labels)


def metrics_table() -> str:
    """Every metric of an engine that was started on free ports of the loopback."""
    recorder = _Recorder()

    async def start_and_stop() -> None:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(dev=True, http_port=0, media_port=0, rtmp_port=0, data_dir=Path(folder), log_level="error")
            engine = Engine(settings, metrics=recorder)
            await engine.start()
            await engine.close()

    asyncio.run(start_and_stop())
    return table(("name", "type", "labels", "what it counts"), sorted(recorder.asked.values()))


def drop_reasons() -> str:
    """The reasons that are written out where inputs are dropped."""
    rows = set()
    for package, tree in package_trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "drop":
                continue
            words = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if len(words) == 2:
                rows.add((code(words[0]), code(words[1]), code(package)))
    return table(("port", "reason", "package"), sorted(rows))


def shown_bound(value: object) -> str:
    """Return a bound with its thousands apart; a rate in words."""
    if isinstance(value, Rate):
        return f"{value.burst:,} at once, then {value.per_s:g} per second"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def limit_classes() -> str:
    """Every field of the classes of bounds, with its default and its reason."""
    parts = []
    for title, package, name in LIMITS:
        kind = getattr(importlib.import_module(package), name)
        notes = field_notes(kind)
        rows = [(code(item.name), shown_bound(item.default), notes.get(item.name, "")) for item in dataclasses.fields(kind)]
        parts.append(f"### {title}: `{package}.{name}`\n\n{prose(kind.__doc__)}\n\n" + table(("bound", "default", "reason"), rows))
    return "\n".join(parts)


def comment_above(lines: list[str], line: int) -> str:
    """Return the comment above source line ``line`` (from 1); constants without a blank line between them share one."""
    at = line - 2
    while at >= 0 and re.match(r"_?[A-Z]\w* = ", lines[at]):
        at -= 1
    words: list[str] = []
    while at >= 0 and lines[at].startswith("#") and not lines[at].startswith("# ---"):
        words.insert(0, lines[at].lstrip("# "))
        at -= 1
    return prose(" ".join(words))


def limit_constants() -> str:
    """Bounds that are constants beside the code that they protect, with the comment that gives their reason."""
    rows = []
    for package in PACKAGES:
        if package == "bench":
            continue
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            lines = text.splitlines()
            body = ast.parse(text).body
            for node, following in zip(body, [*body[1:], None], strict=True):
                target = (
                    node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
                )
                value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
                if not isinstance(target, ast.Name) or value is None or not _LIMIT_NAME.fullmatch(target.id):
                    continue
                below = (
                    following.value.value if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant) else ""
                )
                reason = prose(str(below)) or comment_above(lines, node.lineno)
                # Without a reason it is a field width of some format, such as the largest run length; no bound of ours.
                if reason:
                    name = path.relative_to(ROOT).as_posix()
                    rows.append((code(name), code(target.id), code(ast.unparse(value)), reason))
    return table(("where", "constant", "value", "reason"), rows)


# ------------------------------------------------------------------------------------------------- pages

GENERATORS: dict[str, Generator] = {
    "settings": settings_table,
    "commands": commands,
    "requests": lambda: structs(messages.Request),
    "replies": lambda: structs(messages.Reply),
    "events": lambda: structs(messages.Event),
    "parts": message_parts,
    "error-tree": error_tree,
    "error-classes": error_classes,
    "error-codes": error_codes,
    "metrics": metrics_table,
    "drop-reasons": drop_reasons,
    "limit-classes": limit_classes,
    "limit-constants": limit_constants,
}


def schema_text() -> str:
    """The published schema, as it is stored."""
    return json.dumps(protocol_schema(), indent=2, sort_keys=True) + "\n"


def rendered() -> dict[Path, str]:
    """Return every generated file with the text that it should have."""
    made: dict[str, str] = {}

    def fill(match: re.Match[str]) -> str:
        name = match.group(2)
        if name not in made:
            made[name] = GENERATORS[name]()
        return f"{match.group(1)}{made[name].rstrip()}\n{match.group(3)}"

    pages = {path: _BLOCK.sub(fill, path.read_text()) for path in sorted(DOCS.rglob("*.md"))}
    unused = set(GENERATORS) - set(made)
    if unused:
        raise SystemExit(f"docs: no page has the generated parts {', '.join(sorted(unused))}")
    return {**pages, SCHEMA: schema_text()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page is stale")
    check = parser.parse_args().check
    current = rendered()
    stale = [path for path, text in current.items() if not path.exists() or path.read_text() != text]
    if check and stale:
        names = ", ".join(path.relative_to(ROOT).as_posix() for path in stale)
        raise SystemExit(f"docs: not current: {names}; run python scripts/docs.py")
    for path in stale:
        path.write_text(current[path])
        sys.stdout.write(f"docs: wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
