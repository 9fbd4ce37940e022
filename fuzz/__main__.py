"""``python -m fuzz [TARGET ...] --seconds N``: run each target for N seconds, or find the input that breaks it."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import random
import sys
import time
from pathlib import Path

from fuzz.mutate import cases


def targets() -> list[str]:
    """Return the names of all fuzz targets."""
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name.startswith("fuzz_"))


def main() -> int:
    """Run the targets; returns 1 when one of them breaks, after writing the input to a file."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("targets", nargs="*", default=targets())
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    for name in options.targets:
        target = importlib.import_module(f"fuzz.{name}")
        count, end_s = 0, time.monotonic() + options.seconds
        for data in cases(target.SEEDS, seed=seed):
            try:
                target.one_input(data)
            except Exception as error:
                path = Path(f"{name}-{seed}-{count}.bin")
                path.write_bytes(data)
                sys.stderr.write(f"{name}: input {count} of seed {seed} raised {error!r}; written to {path}\n")
                return 1
            count += 1
            if time.monotonic() > end_s:
                break
        sys.stdout.write(f"{name}: {count} inputs, nothing escaped\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
