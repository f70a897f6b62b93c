"""Scoring a month with `taxi-nb score`: seconds, and the most memory that the process held.

    .venv/bin/python -m benchmarks.scoring

Months of a thousand, 3 million and 21 million records come from the synthetic sample; the last
is the one before, seven times over, in one file. The model learned from 60,000 trips and has
intervals. Each figure is a median over processes of their own, imports included; the store is
an SQLite file in a temporary folder. What the distributions for drift cost a training run is
measured on a frame of 70,000 trips, in this process.

Seconds of processors, of both together, say more than seconds where others share the machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import typer

# Records of a sample month, and how often they are written; the first tells what a start takes.
MONTHS = ((1_000, 1), (3_000_000, 1), (3_000_000, 7))
MONTH = "2021-01"
PROJECT = Path(__file__).resolve().parent.parent


class Measured(NamedTuple):
    """One process."""

    seconds: float
    processor: float
    megabytes: float


def main(
    repeats: int = 3,
    model: str = "linear",
    prepare: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print the table."""
    if prepare:
        prepare_in(Path(prepare), model)
        return
    with TemporaryDirectory(prefix="taxi-nb-scoring-") as made:
        folder = Path(made)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
        # In a process of its own: those started from a large one count its memory as theirs.
        command = [sys.executable, "-m", "benchmarks.scoring", "--prepare", made, "--model", model]
        subprocess.run(command, cwd=PROJECT, check=True)
        address = (folder / "model").read_text()
        runs = {
            rows * times: [score(folder / str(rows * times), address) for _ in range(repeats)]
            for rows, times in MONTHS
        }
    print_table(model, runs)
    print(f"distributions of 70,000 trips, for drift: {1000 * reference_seconds():.0f} ms")


def print_table(model: str, runs: dict[int, list[Measured]]) -> None:
    """Print medians."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "records", "seconds", "of processors", "peak (MB)", title=f"taxi-nb score, {model}"
    )
    for records, measured in runs.items():
        seconds, processor, megabytes = map(statistics.median, zip(*measured, strict=True))
        table.add_row(f"{records:,}", f"{seconds:.1f}", f"{processor:.1f}", f"{megabytes:.0f}")
    Console(width=100).print(table)


def prepare_in(folder: Path, model: str) -> None:
    """Train the model and write the months."""
    (folder / "model").write_text(train(model))
    for rows, times in MONTHS:
        write_month(folder / str(rows * times), rows, times)


def train(model: str) -> str:
    """Train and log a model, with intervals; return its address."""
    from taxi_nb import ConformalIntervals, load_trips, train

    training, validation = (
        load_trips("yellow", [month], "sample", sample_rows=60_000)
        for month in ("2020-11", "2020-12")
    )
    trained = train(model, training, validation)
    ConformalIntervals.calibrate(trained.estimator, training).log(trained.run_id)
    return trained.model_uri


def write_month(folder: Path, rows: int, times: int) -> None:
    """Write a month of the sample several times over into one file."""
    import pyarrow.parquet as pq

    from taxi_nb.trips.sample import Sample
    from taxi_nb.trips.sources import month_file_name

    folder.mkdir()
    sample = pq.ParquetFile(Sample(42, rows).fetch("yellow", MONTH).file)
    with pq.ParquetWriter(folder / month_file_name("yellow", MONTH), sample.schema_arrow) as writer:
        for _ in range(times):
            for batch in sample.iter_batches(1 << 20):
                writer.write_batch(batch)


def score(months: Path, address: str) -> Measured:
    """Score the month in a process of its own."""
    command = [sys.executable, "-m", "taxi_nb", "score", MONTH, "-o", f"{months}/predicted.parquet"]
    command += ["--taxi", "yellow", "--source", str(months), "--model", address]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 3):
        sys.exit(f"taxi-nb score ended with {code}")
    seconds = time.perf_counter() - started
    return Measured(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def reference_seconds() -> float:
    """Return what the distributions for drift cost a training run."""
    from taxi_nb import load_trips
    from taxi_nb.evaluation.drift import DriftReference

    trips = load_trips("yellow", [MONTH], "sample", sample_rows=72_000)
    runs = []
    for _ in range(20):
        started = time.perf_counter()
        DriftReference.of(trips, trips, trips["duration"]).to_dict()
        runs.append(time.perf_counter() - started)
    return statistics.median(runs)


if __name__ == "__main__":
    typer.run(main)
