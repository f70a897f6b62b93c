"""How many runs and writes a second a store takes, by one writer and by eight at once.

    python -m benchmarks.store_rate [--seconds 10] [--store sqlite] [--writers 1 8]

A writer is a process that keeps MLflow imported, and logs one run after the other until time is
up: it is opened, given five parameters and ten metrics in one request, and ended. These are three
writes. `--store` may be the address of a PostgreSQL server's database or of a tracking server.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

WRITES_A_RUN = 3


def write(address: str, experiment: str, seconds: float, together: Barrier) -> int:
    """Log runs for so long; return how many."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(address)
    metrics = [Metric(f"m{number}", number / 10, 0, 0) for number in range(10)]
    params = [Param(f"p{number}", str(number)) for number in range(5)]
    together.wait()
    end, runs = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        run = client.create_run(experiment)
        client.log_batch(run.info.run_id, metrics, params)
        client.set_terminated(run.info.run_id)
        runs += 1
    return runs


def main() -> None:
    """Measure each number of writers, and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--store", default="sqlite")
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 8])
    given = parser.parse_args()
    from taxi_nb.tracking.experiments import open_experiment
    from taxi_nb.tracking.file_addresses import sqlite_address

    # A server's client would print a line for each run.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        os.environ.update(TAXI_NB_ROOT=folder, MLFLOW_DEFAULT_ARTIFACT_ROOT=str(place / "kept"))
        is_own = given.store == "sqlite"
        address = sqlite_address(place / "mlflow.db") if is_own else given.store
        experiment = open_experiment(address, f"rate {os.getpid()}")
        for writers in given.writers:
            with context.Manager() as manager, context.Pool(writers) as pool:
                together = manager.Barrier(writers)
                task = (address, experiment, given.seconds, together)
                runs = sum(pool.starmap(write, [task] * writers, chunksize=1))
            a_second = runs / given.seconds
            print(f"{writers} writers: {a_second:.0f} runs, {WRITES_A_RUN * a_second:.0f} writes/s")


if __name__ == "__main__":
    main()
