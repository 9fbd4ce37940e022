"""Change the code of e2ee/ that holds keys in small ways, test each change, and list what no test noticed: `make mutants`.

Works in a copy of the tree, build/mutants/, so that nothing else sees the changed code. Arguments pick mutants of the last copy by
name (``e2ee.ratchet*``); without any, the copy and all mutants are made anew. Ends with 1 while something survives that
docs/topics/e2ee-mutants.md does not explain.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "mutants"
PAGE = ROOT / "docs" / "topics" / "e2ee-mutants.md"
MUTMUT = [str(Path(sys.executable).parent / "mutmut")]
# Without cached bytecode each of the processes would compile the tests again.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
RESULT = re.compile(r"^\s*(\S+)\.(\S+__mutmut_\d+): (.+)$", re.MULTILINE)


def copy_tree() -> None:
    """Every file that is tracked or could be, as it is in the working tree now."""
    shutil.rmtree(COPY, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


def mutmut(*arguments: str) -> str:
    done = subprocess.run([*MUTMUT, *arguments], cwd=COPY, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def change_of(name: str) -> tuple[str, str]:
    """The line before and after."""
    lines = [line for line in mutmut("show", name).splitlines() if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]
    before, after = ([line[1:].strip() for line in lines if line[0] == sign] for sign in "-+")
    return " ".join(before), " ".join(after)


def main(names: list[str]) -> int:
    if not names:
        copy_tree()
    subprocess.run([*MUTMUT, "run", "--max-children", str(os.cpu_count() or 1), *names], cwd=COPY, env=ENVIRONMENT, check=True)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    left: list[tuple[str, str]] = []
    for module, mutant, status in RESULT.findall(mutmut("results", "--all", "true")):
        counts[module][status] += 1
        if status not in ("killed", "timeout", "not checked"):
            left.append((f"{module}.{mutant}", status))
    for module, count in sorted(counts.items()):
        sys.stdout.write(f"{module}: {', '.join(f'{number} {status}' for status, number in sorted(count.items()))}\n")
    page, unexplained = PAGE.read_text(), 0
    for name, status in left:
        before, after = change_of(name)
        explained = f"`{after or before}`" in page
        unexplained += not explained
        sys.stdout.write(f"{name}: {status}{', explained' if explained else ''}\n  - {before}\n  + {after}\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
