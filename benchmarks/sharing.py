"""How long a plan takes in a fresh checkout whose results others have shared.

    python -m benchmarks.sharing [--results 100000] [--steps 13]

The results of the steps are shared by one checkout, among as many results of other steps as are
asked for. Another checkout, which has run nothing, is planned by the command line: the time is
that of the whole command. The place is a folder on this machine; a bucket adds its answers' time,
of which the number of results changes nothing: a plan asks for its own keys.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.planning import RUN, make_project, make_results, make_store, plan_seconds
from taxi_nb.pipeline.memory import RESULTS_VARIABLE, Memory
from taxi_nb.pipeline.shared_results import RESULTS

REPEATS = 5


def share_all(root: Path, steps: int, store: Path) -> None:
    """Run nothing, but leave and share a result for each step, as a run does."""
    pipeline = make_project(root, steps)
    os.environ["TAXI_NB_ROOT"] = str(root)
    make_results(pipeline, store)
    memory = Memory(pipeline)
    for step in pipeline.steps:
        (result,) = memory.candidates[step.name]
        notebook = root / "runs" / RUN / f"{step.name}.ipynb"
        memory.share(result, {"executed_notebook": notebook})
    assert not memory.not_shared, memory.not_shared


def fill(place: Path, count: int) -> None:
    """Add results of other steps until there are as many as that."""
    entry = next((place / RESULTS).rglob("*.json")).read_bytes()
    for _ in range(count - sum(1 for _ in (place / RESULTS).rglob("*.json"))):
        folder = place / RESULTS / secrets.token_hex(32)
        folder.mkdir()
        (folder / f"{RUN}-{secrets.token_hex(3)}.json").write_bytes(entry)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=13)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{base / 'mlflow.db'}"
        os.environ[RESULTS_VARIABLE] = str(base / "results")
        make_store(base / "mlflow.db")
        share_all(base / "one", given.steps, base / "mlflow.db")
        for count in (given.steps, given.results):
            fill(base / "results", count)
            taken = []
            for _ in range(REPEATS):
                shutil.rmtree(base / "two", ignore_errors=True)
                make_project(base / "two", given.steps)
                taken.append(plan_seconds(base / "two"))
                time.sleep(0.1)
            median = statistics.median(taken)
            print(f"{count:>8,} results shared: plan of {given.steps} steps in {median:.2f} s")


if __name__ == "__main__":
    main()
