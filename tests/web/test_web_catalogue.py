"""Every word that a person reads is in the catalogue, in both languages, with the same gaps to fill."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import signaling
import web

LANGUAGES = ("en", "ar")
# The CLDR categories that a whole number can fall into.
PLURALS = {"en": {"one", "other"}, "ar": {"zero", "one", "two", "few", "many", "other"}}


@pytest.fixture
def catalogues(node: str) -> dict[str, dict[str, Any]]:
    script = "const all = {};" + "".join(
        f"all.{language} = (await import({json.dumps((web.FILES / 'ui' / f'strings_{language}.js').as_uri())})).default;"
        for language in LANGUAGES
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", script + "console.log(JSON.stringify(all))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def forms(phrase: Any) -> list[str]:
    return [phrase] if isinstance(phrase, str) else list(phrase.values())


def gaps(phrase: Any) -> set[str]:
    return set().union(*(re.findall(r"\{(\w+)\}", form) for form in forms(phrase)))


def test_both_languages_say_everything(catalogues: dict[str, dict[str, Any]]) -> None:
    assert catalogues["en"].keys() == catalogues["ar"].keys()
    for language, phrases in catalogues.items():
        for key, phrase in phrases.items():
            assert all(form.strip() for form in forms(phrase)), f"{language} {key} is empty"


def test_the_gaps_are_the_same(catalogues: dict[str, dict[str, Any]]) -> None:
    differing = [key for key, phrase in catalogues["en"].items() if gaps(phrase) != gaps(catalogues["ar"][key])]
    assert differing == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_plurals_have_every_form_of_the_language(catalogues: dict[str, dict[str, Any]], language: str) -> None:
    plural = {key: set(phrase) for key, phrase in catalogues[language].items() if not isinstance(phrase, str)}
    assert plural
    assert {key for key, found in plural.items() if found != PLURALS[language]} == set()


def test_arabic_is_arabic(catalogues: dict[str, dict[str, Any]]) -> None:
    # The switch names the other language; a height is written the same everywhere.
    latin = {
        key for key, phrase in catalogues["ar"].items() if not any(re.search("[\u0600-\u06ff]", form) for form in forms(phrase))
    }
    assert latin == {"language.switch", "watch.quality.level"}


def test_every_phrase_is_used_and_every_used_phrase_exists(catalogues: dict[str, dict[str, Any]], sources: list[Path]) -> None:
    text = "\n".join(path.read_text() for path in sources if not path.name.startswith("strings_"))
    text += "\n".join(path.read_text() for path in (web.FILES / "pages").glob("*.html"))
    literal = set(re.findall(r"""["'`]([a-z]+(?:\.[a-z_]+)+)["'`]""", text))
    # `device.camera.${problem}.hint` stands for every key of that shape.
    shapes = [
        re.sub(r"\\\$\\\{[^}]*\\\}", "[a-z_]+", re.escape(found)) for found in re.findall(r"`([a-z]+\.[^`\s]*\$\{[^`\s]*)`", text)
    ]
    used = {key for key in catalogues["en"] if key in literal or any(re.fullmatch(shape, key) for shape in shapes)}
    assert sorted(set(catalogues["en"]) - used) == [], "nobody says these"
    prefixes = {key.split(".")[0] for key in catalogues["en"]}
    unknown = {name for name in literal if name.split(".")[0] in prefixes and name not in catalogues["en"]}
    assert unknown - {"app.js"} == set(), "these are said but not in the catalogue"


# What only a program that speaks the protocol wrongly is told, or what has a screen of its own.
_NOT_FOR_PEOPLE = {"already_welcome", "bad_tracks", "hello_first", "room_full", "unknown_type"}


def test_every_refusal_has_words(catalogues: dict[str, dict[str, Any]]) -> None:
    folder = Path(signaling.__file__).parent
    # Those of tokens have screens of their own; those of keys are told where keys are handled.
    modules = ("calls", "codec", "hub", "limits", "media", "seats", "stream_room", "worker")
    told = {code for name in modules for code in re.findall(r'code="([a-z_]+)"', (folder / f"{name}.py").read_text())}
    told |= set(re.findall(r'new SalamError\("([a-z_]+)"', (web.FILES / "sdk" / "signaling.js").read_text()))
    known = {key.removeprefix("error.") for key in catalogues["en"] if key.startswith("error.")}
    assert {"rate_limited", "unknown_participant", "timeout"} <= told
    assert told - _NOT_FOR_PEOPLE - known == set()
    assert known - told == {"codec_not_supported", "grant_missing"} - told


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        self.words += [value or "" for name, value in attrs if name in ("title", "alt", "aria-label", "placeholder", "value")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside[: len(self._inside) - self._inside[::-1].index(tag) - 1]

    def handle_data(self, data: str) -> None:
        if data.strip() and self._inside[-1] != "title":
            self.words.append(data.strip())


def test_pages_hold_no_words_of_their_own() -> None:
    for path in (web.FILES / "pages").glob("*.html"):
        parser = _Words()
        parser.feed(path.read_text())
        assert parser.words == [], path.name


def test_modules_hold_no_words_of_their_own(sources: list[Path]) -> None:
    sentence = r"""["'`][A-Z][a-z]+(?: [^"'`]*)?["'`]"""
    shown = re.compile(
        rf"""(?:textContent|innerText|title|placeholder|ariaLabel)\s*=\s*{sentence}"""
        rf"""|(?:aria-label|title|alt|placeholder)["']?\s*[:,]\s*{sentence}"""
        rf"""|\bh\("[a-z0-9]+",\s*\{{[^{{}}]*\}},\s*{sentence}"""
    )
    # `document.title` is a room's or stream's name; key caps are what is printed on keys.
    for path in sources:
        if path.parent.name == "ui" and path.name.startswith("strings_"):
            continue
        assert shown.search(path.read_text()) is None, path.name
