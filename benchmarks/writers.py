"""Many processes that log to one store at once: is every run as its process left it?

    python -m benchmarks.writers [--writers 8] [--runs 25] [--times 10] [--busy 2] [--store sqlite]

Each run is a process of its own, which opens a run and one below it, logs parameters, metrics and
a file to both, and ends: at that moment another process, which looks for runs that were left
behind, may find its owner gone. `--busy` loops keep the cores busy beside them. A run counts as
wrong if it is not FINISHED, is missing, is there twice, or lacks something that was logged; a
process if it does not exit with 0. Each time begins with an empty store: `--store sqlite`, or the
address of a PostgreSQL server's database or of a tracking server, in which each time has an
experiment of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

PRELOAD = [
    "taxi_nb",  # Before MLflow, as the documentation advises.
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.rest_store",
    "mlflow.tracking.fluent",
    "alembic.command",
    "psycopg",
    "IPython",
    "git",
    "taxi_nb.tracking.run",
    "taxi_nb.tracking.store",
]
STEPS = 5


def log(environment: dict[str, str], name: str) -> None:
    """Log what a step logs."""
    os.environ.update(environment)
    import mlflow

    from taxi_nb.tracking.run import tracked_run

    with tracked_run(name, params={"name": name}):
        _log(name)
        with mlflow.start_run(run_name=f"{name} below", nested=True):
            _log(f"{name} below")


def _log(name: str) -> None:
    import mlflow

    for step in range(STEPS):
        mlflow.log_metric("loss", step / 10, step=step)
    mlflow.log_text(f"by {name}", "note.txt")


def write(environment: dict[str, str], writers: int, runs: int) -> list[int | None]:
    """Let every writer have one run after the other, each in a process; return the exit codes.

    One thread starts and awaits them all: of two that ask for the same process one is told 255.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    codes: list[int | None] = []
    running: dict[Any, tuple[multiprocessing.process.BaseProcess, list[str]]] = {}

    def begin(names: list[str]) -> None:
        if names:
            process = context.Process(target=log, args=(environment, names[0]))
            process.start()
            running[process.sentinel] = process, names[1:]

    for writer in range(writers):
        begin([f"{writer}-{run}" for run in range(runs)])
    while running:
        ended = wait(list(running), timeout=300)
        if not ended:  # Each hangs, and those after it never begin.
            for process, _ in running.values():
                process.kill()
            return codes + [None] * (writers * runs - len(codes))
        for sentinel in ended:
            process, left = running.pop(sentinel)
            process.join()
            codes.append(process.exitcode)
            begin(left)
    return codes


def wrong(address: str, experiment: str, writers: int, runs: int) -> Counter[str]:
    """Count what the store has that it should not have, and what it lacks."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(address)
    found: Counter[str] = Counter()
    there: Counter[str] = Counter()
    names = {f"{one}-{run}" for one in range(writers) for run in range(runs)}
    expected = names | {f"{name} below" for name in names}
    number = client.get_experiment_by_name(experiment).experiment_id
    for run in client.search_runs([number], max_results=50_000):
        there[run.info.run_name] += 1
        if run.info.status != "FINISHED":
            found[f"is {run.info.status}"] += 1
        history = client.get_metric_history(run.info.run_id, "loss")
        if [one.value for one in history] != [step / 10 for step in range(STEPS)]:
            found["lacks metrics"] += 1
        if "note.txt" not in [one.path for one in client.list_artifacts(run.info.run_id)]:
            found["lacks its file"] += 1
    found["is missing"] += len(expected - set(there))
    found["is there twice"] += sum(count - 1 for count in there.values())
    found["is nobody's"] += len(set(there) - expected)
    return +found


def main() -> None:
    """Write as often as asked for, and print what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--store", default="sqlite")
    given = parser.parse_args()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(given.busy)]
    total: Counter[str] = Counter()
    began = time.monotonic()
    try:
        for number in range(1, given.times + 1):
            root = Path(tempfile.mkdtemp()).resolve()
            address = f"sqlite:///{root / 'mlflow.db'}" if given.store == "sqlite" else given.store
            experiment = f"writers {os.getpid()} {number}"
            environment = {
                "TAXI_NB_ROOT": str(root),
                "MLFLOW_TRACKING_URI": address,
                "MLFLOW_EXPERIMENT_NAME": experiment,
                "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(root / "artifacts"),
                "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            }
            codes = write(environment, given.writers, given.runs)
            os.environ.update(environment)
            found = wrong(address, experiment, given.writers, given.runs)
            found |= {f"ended with {code}": n for code, n in Counter(codes).items() if code != 0}
            total += found
            shutil.rmtree(root, ignore_errors=True)
            print(
                f"{number}: {len(codes)} processes, "
                + (", ".join(f"{count} {what}" for what, count in (+found).items()) or "0 wrong"),
                flush=True,
            )
    finally:
        for one in busy:
            one.kill()
            one.wait()
    runs = 2 * given.times * given.writers * given.runs
    print(f"{runs:,} runs in {time.monotonic() - began:.0f} s: {sum(total.values())} wrong")
    sys.exit(bool(total))


if __name__ == "__main__":
    main()
