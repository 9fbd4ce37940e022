"""The browser's end-to-end encryption gives the known answers, in headless Chromium under the server's own content policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.support.e2ee_page import MODULES, e2ee_page, run_module
from tests.support.vectors import load_vectors

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = sorted(path.stem.removeprefix("kat_") for path in MODULES.glob("kat_*.js"))
WYCHEPROOF = ("aes_gcm", "ed25519", "hkdf_sha256", "hmac_sha256", "mlkem_768", "mlkem_768_encaps", "x25519")
# The points of order 1, 2, 4 and 8, and every other encoding of their y: with the other sign, and with p added.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]

Outcomes = list[dict[str, str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with e2ee_page() as opened:
        yield opened


def check(outcomes: Outcomes, wanted: int) -> None:
    """Every case was run, and none failed."""
    failed = {outcome["name"]: outcome["failure"] for outcome in outcomes if outcome["failure"]}
    assert not failed
    assert len(outcomes) == wanted > 0


@pytest.mark.parametrize("kind", KINDS)
async def test_known_answers(page: Page, kind: str) -> None:
    document: dict[str, Any] = await page.evaluate("async (url) => (await fetch(url)).json()", f"/kat/{kind}.json")
    assert (document["profile"], document["kind"]) == ("salam-e2ee v1", kind)
    check(await run_module(page, f"kat_{kind}.js", "run", document), len(document["cases"]))


async def test_every_known_answer_file_is_run() -> None:
    assert {path.stem for path in (MODULES.parents[2] / "e2ee" / "kat").glob("*.json")} == set(KINDS)


@pytest.mark.parametrize("name", WYCHEPROOF)
async def test_wycheproof(page: Page, name: str) -> None:
    document = load_vectors(f"wycheproof/{name}_test.json")
    check(await run_module(page, "wycheproof.js", "run", document, name), document["numberOfTests"])


async def test_nothing_is_signed_by_a_key_of_small_order(page: Page) -> None:
    outcomes = await run_module(page, "wycheproof.js", "runSmallOrder", {"points": SMALL_ORDER})
    check(outcomes, len(SMALL_ORDER))


async def test_only_the_worker_for_passphrases_may_run_webassembly(page: Page) -> None:
    policies = """async () => Promise.all(["/blank", "/web/sdk/e2ee/argon2.js", "/web/sdk/e2ee/argon2_worker.js"]
      .map(async (path) => (await fetch(path)).headers.get("Content-Security-Policy")))"""
    pages, module, worker = await page.evaluate(policies)
    assert pages == module
    assert "wasm" not in pages
    assert worker == "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"
    compiles = """async () => WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))
      .then(() => "compiled", () => "refused")"""
    assert await page.evaluate(compiles) == "refused"


async def test_a_browser_without_mlkem_takes_the_module(page: Page) -> None:
    assert page.context.browser is not None
    context = await page.context.browser.new_context()
    try:
        older = await context.new_page()
        await older.add_init_script(
            "for (const name of ['encapsulateBits', 'decapsulateBits']) delete SubtleCrypto.prototype[name]"
        )
        await older.goto(page.url)
        assert await older.evaluate("typeof crypto.subtle.encapsulateBits") == "undefined"
        for name in ("mlkem_768", "mlkem_768_encaps"):
            document = load_vectors(f"wycheproof/{name}_test.json")
            check(await run_module(older, "wycheproof.js", "run", document, name), document["numberOfTests"])
        document = await older.evaluate("async () => (await fetch('/kat/handshake.json')).json()")
        check(await run_module(older, "kat_handshake.js", "run", document), len(document["cases"]))
        fetched = await older.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert any("/web/vendor/@noble/post-quantum/ml-kem.js" in name for name in fetched)
    finally:
        await context.close()
