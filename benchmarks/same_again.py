"""Is a pipeline the same to the last bit, whatever the jobs, threads and order of sets?

    python -m benchmarks.same_again [params/default.yaml]

Executes the pipeline in copies of this project, each with a store of its own, under conditions
that must not matter, and compares every execution with the first as `taxi-nb verify` does:
metrics, nested runs, the pixels of figures and what cells showed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.review.verify.comparison import Execution, compare_executions
from taxi_nb.tracking.run_tree import client_of

PROJECT = Path(__file__).resolve().parent.parent
# Steps at the same time, threads of each, and the seed from which the order of sets is drawn.
CONDITIONS = ((1, 2, "0"), (2, 1, "0"), (2, 2, "1"), (1, 3, "random"))


def main(arguments: list[str]) -> int:
    """Print a line for each condition; return 1 if any differs from the first."""
    file = arguments[0] if arguments else "params/default.yaml"
    differing = 0
    with tempfile.TemporaryDirectory() as temporary:
        # Whatever is committed meanwhile, all execute the same.
        project = Path(temporary).resolve() / "project"
        clone(PROJECT, project)
        first: Execution | None = None
        for number, condition in enumerate(CONDITIONS):
            copy = project.with_name(str(number))
            clone(project, copy)
            made = execute(file, copy, *condition)
            first = first or made
            differing += tell(condition, first, made)
    return min(differing, 1)


def clone(project: Path, copy: Path) -> None:
    """Copy what is committed."""
    subprocess.run(["git", "clone", "--quiet", "--shared", str(project), str(copy)], check=True)


def execute(file: str, copy: Path, jobs: int, threads: int, hash_seed: str) -> Execution:
    """Execute a pipeline in a copy of the project."""
    uri = f"sqlite:///{copy / 'mlflow.db'}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "TAXI_NB_ROOT": str(copy),
        "MLFLOW_TRACKING_URI": uri,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": hash_seed,
    }
    command = [sys.executable, "-m", "taxi_nb", "run", file, "--jobs", str(jobs)]
    subprocess.run(command, check=True, cwd=copy, env=environment, stdout=subprocess.DEVNULL)
    run = RunOnDisk.read((copy / "runs" / "latest").resolve())
    return Execution.of(run, copy, client_of(uri))


def tell(condition: tuple[int, int, str], first: Execution, made: Execution) -> int:
    """Print how an execution compares; return how many steps differ."""
    jobs, threads, seed = condition
    verdicts = list(compare_executions(first, made))
    metrics, figures, outputs = (
        sum(getattr(verdict, kind) for verdict in verdicts)
        for kind in ("metrics", "figures", "outputs")
    )
    others = [verdict for verdict in verdicts if not verdict.is_same]
    said = f"{len(others)} of {len(verdicts)} steps differ" if others else "the same"
    left_out = sum(len(verdict.left_out) for verdict in verdicts)
    print(
        f"--jobs {jobs}, {threads} threads, hash seed {seed:>6}: {said}; {metrics} metrics, "
        f"{figures} figures, {outputs} outputs compared, {left_out} left out by rule",
        flush=True,
    )
    for verdict in others:
        print(*(f"  {verdict.name}: {line}" for line in verdict.differences), sep="\n")
    return len(others)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
