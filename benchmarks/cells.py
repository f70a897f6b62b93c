"""How long a step of many cells takes, against `jupyter nbconvert --execute` of the same notebook.

    python -m benchmarks.cells [--repeats 3]

The cells print a line each. Both sides run in turns; a step's time is that of its record, from
the start of its kernel to its executed notebook; nbconvert's is that of its whole command.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from benchmarks.planning import make_store

SIZES = (200, 800)


def make_project(root: Path, cells: int) -> None:
    """Write a notebook of so many cells, and a pipeline of it."""
    for folder in ("notebooks", "params"):
        (root / folder).mkdir(parents=True)
    parameters = nbformat.v4.new_code_cell("x: int = 1", metadata={"tags": ["parameters"]})
    lines = [nbformat.v4.new_code_cell(f"print({number}, x)") for number in range(cells - 1)]
    notebook = nbformat.v4.new_notebook(cells=[parameters, *lines])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, root / "notebooks" / "many.ipynb")
    (root / "params" / "many.yaml").write_text("steps: [{notebook: many}]\n")


def command(root: Path, *arguments: str) -> float:
    """Run a command of this environment in a project; return its seconds."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=root,
        env={**os.environ, "TAXI_NB_ROOT": str(root)},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "empty.db"
        make_store(store)
        for size in SIZES:
            root = Path(folder).resolve() / str(size)
            make_project(root, size)
            shutil.copy(store, root / "mlflow.db")
            steps, others = [], []
            for _ in range(repeats):
                command(root, "taxi_nb", "run", "params/many.yaml", "--force")
                record = json.loads((root / "runs" / "latest" / "run.json").read_text())
                steps.append(record["steps"][0]["seconds"])
                given = ("--to", "notebook", "--execute", "notebooks/many.ipynb")
                others.append(command(root, "nbconvert", *given, "--output", "executed"))
            step, other = map(statistics.median, (steps, others))
            print(
                f"{size:>5} cells  step {step:5.1f} s  nbconvert {other:5.1f} s  {step / other:.2f}"
            )


if __name__ == "__main__":
    main()
