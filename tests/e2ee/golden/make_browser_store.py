"""Write the golden database of the browser's present release, which every later release must open and go on with.

Run it once for a new version of the records, never again for a released one: ``python -m tests.e2ee.golden.make_browser_store``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.e2ee_page import e2ee_page, run_module

FOLDER = Path(__file__).parent


async def main() -> None:
    async with e2ee_page() as page:
        described = await run_module(page, "golden.js", "make")
    target = FOLDER / f"browser_store_v{described['version']}.json"
    target.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
