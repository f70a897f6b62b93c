"""How long a run's pages take, as the runs before it grow.

    python -m benchmarks.reports [--repeats 5]

The default pipeline runs once, in a copy of this project; copies of that run are the history.
`taxi-nb report` writes all pages anew, a process for itself. At a run's end the pages of its steps
are there: what is left is measured in one process that has made them before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.pipelines import copy_project, environment, taxi_nb

HISTORY = (0, 9, 99)
AT_THE_END = """
import sys, time
from pathlib import Path
sys.modules["rfc3987_syntax"] = None  # As the command does: jsonschema would build a parser.
from taxi_nb.pipeline.report.site import write_site
run = Path("runs/latest").resolve()
write_site(run, anew=True)
began = time.perf_counter()
write_site(run, anew=True)
print(time.perf_counter() - began)
"""


def call(root: Path, *command: str) -> tuple[float, str]:
    """Return the wall time of a command, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=root, env=environment(root), capture_output=True, text=True, check=True
    )
    return time.perf_counter() - began, done.stdout


def add_history(runs: Path, run: Path, count: int) -> None:
    """Copy a run until there are so many before it, each a day older."""
    for days in range(1, count + 1):
        started = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(days=days)
        copy = runs / f"{started:%Y%m%d-%H%M%S}-default"
        if copy.exists():
            continue
        shutil.copytree(run, copy)
        record = json.loads((copy / "run.json").read_text())
        record |= {"id": copy.name, "started": started.isoformat()}
        (copy / "run.json").write_text(json.dumps(record))


def main() -> None:
    """Print seconds for each length of history."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        root = copy_project(Path(folder))
        call(root, *taxi_nb("run", "params/default.yaml", "-j", "2"))
        run = (root / "runs" / "latest").resolve()
        print(f"{'runs before it':>15}{'taxi-nb report':>16}{'at the end of a run':>21}")
        for count in HISTORY:
            add_history(root / "runs", run, count)
            anew = [call(root, *taxi_nb("report"))[0] for _ in range(repeats)]
            left = [float(call(root, sys.executable, "-c", AT_THE_END)[1]) for _ in range(repeats)]
            print(f"{count:15}{statistics.median(anew):14.2f} s{statistics.median(left):19.2f} s")


if __name__ == "__main__":
    main()
