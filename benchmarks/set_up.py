"""How long `make setup` takes in a fresh clone with empty caches: by uv, and by pip.

    python -m benchmarks.set_up [--turns 2]

uv comes from the package index into the environment, as on a machine that has none; pip does the
work where the lock names no uv. Most of the time is the network's.
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


def set_up(folder: Path, *, with_uv: bool) -> float:
    """Set a clone up; return the seconds."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), "clone"], cwd=folder, check=True)
    lock = folder / "clone" / "requirements-dev.lock"
    if not with_uv:
        lock.write_text(UV_IN_LOCK.sub("", lock.read_text()))
    caches = ("XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR")
    env = {**os.environ, **{name: str(folder / name) for name in caches}}
    began = time.perf_counter()
    done = subprocess.run(
        ["make", "setup"], cwd=folder / "clone", env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert ("pip installs" not in done.stdout) == with_uv, done.stdout
    return time.perf_counter() - began


def main() -> None:
    """Print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=2)
    assert shutil.which("uv") is None, "uv is on PATH: then pip is never asked"
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(parser.parse_args().turns):
        for with_uv, seconds in taken.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds.append(set_up(Path(folder), with_uv=with_uv))
    uv, pip = (statistics.median(seconds) for seconds in taken.values())
    print(f"make setup: uv {uv:.1f} s, pip {pip:.1f} s, {pip / uv:.1f}x")


if __name__ == "__main__":
    main()
