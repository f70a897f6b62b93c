"""How long a fresh clone with empty caches takes: `make setup` by uv and by pip, and the first run.

    python -m benchmarks.set_up [--turns 2]

uv comes from the package index into the environment, as on a machine that has none; pip does the
work where the lock names no uv. pip compiles all that it installs; after uv the first run compiles
what it imports. So that run is timed, too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV_IN_LOCK = re.compile(r"^uv==.*?[^\\]\n", re.MULTILINE | re.DOTALL)


def set_up(folder: Path, *, with_uv: bool) -> tuple[float, float]:
    """Set a clone up and run its notebooks; return the seconds of each."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), "clone"], cwd=folder, check=True)
    lock = folder / "clone" / "requirements-dev.lock"
    if not with_uv:
        lock.write_text(UV_IN_LOCK.sub("", lock.read_text()))
    caches = ("XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR")
    env = {**os.environ, **{name: str(folder / name) for name in caches}}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # With it `make setup` compiles all, by uv as well.

    def made(target: str) -> tuple[float, str]:
        began = time.perf_counter()
        command, place = ["make", target], folder / "clone"
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return time.perf_counter() - began, done.stdout

    seconds, said = made("setup")
    assert ("pip installs" not in said) == with_uv, said
    return seconds, made("run-notebooks")[0]


def main() -> None:
    """Print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=2)
    assert shutil.which("uv") is None, "uv is on PATH: then pip is never asked"
    taken: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(parser.parse_args().turns):
        for with_uv, seconds in taken.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds.append(set_up(Path(folder), with_uv=with_uv))
    for with_uv, seconds in taken.items():
        both = "  ".join(f"{statistics.median(part):6.1f} s" for part in zip(*seconds, strict=True))
        print(f"{'uv' if with_uv else 'pip':4} make setup, make run-notebooks: {both}")


if __name__ == "__main__":
    main()
