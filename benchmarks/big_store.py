"""Whether commands slow down with MLflow's store: 20,000 foreign runs against none.

    python -m benchmarks.big_store [--runs 20000] [--repeats 5]

A small pipeline has run in both projects; then runs are copied into the store of one, in the
pipeline's experiment, with parameters, metrics and tags. Both take turns; medians are printed.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import nbformat

COMMANDS = {
    "plan": ("plan", "params/small.yaml"),
    "nothing changed": ("run", "params/small.yaml"),
    "run": ("run", "params/small.yaml", "--force"),
    "champion look-up": ("registry", "history"),
}
CODE = "import mlflow\nmlflow.log_params({'model': 'none'})\nmlflow.log_metric('valid_rmse', 1)"


def command(root: Path, *arguments: str, check: bool = True) -> float:
    """Run a command in a project; return its seconds."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "taxi_nb", *arguments],
        cwd=root,
        env={**os.environ, "TAXI_NB_ROOT": str(root)},
        check=check,
        capture_output=True,
    )
    return time.perf_counter() - started


def make_project(root: Path) -> None:
    """Make a project of one notebook that logs to MLflow, and run it."""
    for folder in ("notebooks", "params"):
        (root / folder).mkdir(parents=True)
    parameters = nbformat.v4.new_code_cell("x: int = 1", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(CODE)])
    nbformat.write(notebook, root / "notebooks" / "small.ipynb")
    (root / "params" / "small.yaml").write_text("steps: [{notebook: small}]\n")
    command(root, "run", "params/small.yaml")


def fill(database: Path, runs: int) -> None:
    """Copy the step's run so often, each copy a finished run of another name."""
    with closing(sqlite3.connect(database)) as store, store:
        (run_id,) = store.execute("SELECT run_uuid FROM params LIMIT 1").fetchone()
        for table in ("runs", "params", "latest_metrics", "metrics", "tags"):
            rows = store.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (run_id,))
            names = [column[0] for column in rows.description]
            at, found = names.index("run_uuid"), rows.fetchall()
            marks = ", ".join("?" * len(names))
            store.executemany(
                f"INSERT INTO {table} VALUES ({marks})",
                (
                    (*row[:at], f"{number:032x}", *row[at + 1 :])
                    for number in range(runs)
                    for row in found
                ),
            )


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        empty, full = (Path(folder).resolve() / name for name in ("empty", "full"))
        for root in (empty, full):  # A copy's store would first be brought home.
            make_project(root)
        fill(full / "mlflow.db", given.runs)
        print(f"{'seconds':<20}{'empty':>9}{given.runs:>9,}    ratio", flush=True)
        for name, arguments in COMMANDS.items():
            # `registry history` ends with 1 where there is no champion: it has looked.
            taken = [
                [
                    command(root, *arguments, check=name != "champion look-up")
                    for root in (empty, full)
                ]
                for _ in range(given.repeats)
            ]
            one, other = map(statistics.median, zip(*taken, strict=True))
            print(f"{name:<20}{one:9.2f}{other:9.2f}{other / one:9.2f}", flush=True)


if __name__ == "__main__":
    main()
