"""`taxi-nb monthly` killed at random moments: called again, it has to come to the same end.

    python -m benchmarks.monthly [--times 10] [--seed 1]

Synthetic months, which take twice as long from 2021-04 on. Up to 2021-05 all is done; for 2021-06
the champion is scored, a model trained and promoted, and the month scored again. That call is
killed with all it started, after a time drawn between none and what it takes, and called again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxi_nb.calendar_months import months_between
from taxi_nb.trips._made_month import make_month

ROWS = 2_000
CODE = """
import mlflow
from taxi_nb import load_split, promote_if_better, train
training, validation = load_split("green", train_months, valid_months, source=source)
result = train("linear", training, validation)
promote_if_better(mlflow.get_run(result.run_id), validation, name="monthly")
"""
PARAMETERS = "source: str = ''\ntrain_months: list[str] = []\nvalid_months: list[str] = []"
PARAMETERS += "\nregistered_model: str = ''\nscore_month: str = ''"
FILE = """
experiment: monthly
month: latest
params:
  source: months
  registered_model: monthly
  train_months: "{month-2}"
  valid_months: "{month-1}"
  score_month: "{month}"
steps: [{notebook: 01_train}]
"""


def make_project(root: Path) -> None:
    """Make a project and its months."""
    for folder in ("notebooks", "params", "months"):
        (root / folder).mkdir(parents=True)
    parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(CODE)])
    nbformat.write(notebook, root / "notebooks" / "01_train.ipynb")
    (root / "params" / "monthly.yaml").write_text(FILE)
    for month in months_between("2021-01", "2021-06"):
        publish(root, month, times=2 if month >= "2021-04" else 1)


def publish(root: Path, month: str, times: int = 1) -> Path:
    """Let a project have a month whose trips take so many times as long; return its file."""
    table = make_month("green", month, 42, ROWS)
    begun, ended = "lpep_pickup_datetime", "lpep_dropoff_datetime"
    taken = pc.subtract(table[ended], table[begun])
    longer = pc.cast(pc.multiply(pc.cast(taken, pa.int64()), times), taken.type)
    at = table.schema.get_field_index(ended)
    table = table.set_column(at, table.schema.field(ended), pc.add(table[begun], longer))
    file = root / "months" / f"green_tripdata_{month}.parquet"
    pq.write_table(table, file)
    return file


def start(root: Path, month: str) -> subprocess.Popen[str]:
    """Start the command in a session of its own."""
    command = [str(Path(sys.executable).with_name("taxi-nb")), "monthly", "--month", month]
    return subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "TAXI_NB_ROOT": str(root)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(root: Path, month: str) -> int:
    """Run the command to its end; return its exit code."""
    process = start(root, month)
    said, _ = process.communicate()
    if process.returncode not in (0, 3):
        print(said)
    return process.returncode


def outcome(root: Path) -> dict[str, Any]:
    """Return what people go by: decisions, errors, the champion, and runs that are still open."""
    import mlflow

    os.environ["TAXI_NB_ROOT"] = str(root)
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    found: dict[str, Any] = {}
    for file in sorted((root / "runs" / "monthly").glob("2*.json")):
        known = json.loads(file.read_text())
        again, training = known["scored_again"], known["retraining"]
        promoted = training and training["champion_before"] != training["champion_after"]
        scored = [one and one["rmse"] for one in (known["scored"], again)]
        found[file.stem] = (known["state"], promoted, scored)
    champion = client.get_model_version_by_alias("monthly", "champion")
    metrics = client.get_run(str(champion.run_id)).data.metrics
    found["champion"] = metrics["valid_rmse"]
    experiment = client.get_experiment_by_name("monthly")
    assert experiment
    runs = client.search_runs([experiment.experiment_id], max_results=1_000)
    found["open"] = sum(run.info.status == "RUNNING" for run in runs)
    return found


def main() -> None:
    """Print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance, wrong = random.Random(given.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        # One path for all: addresses of artifacts are absolute.
        base, root = Path(folder).resolve() / "before", Path(folder).resolve() / "project"
        make_project(root)
        for month in ("2021-03", "2021-04", "2021-05"):
            end(root, month)
        shutil.copytree(root, base, symlinks=True)
        began = time.monotonic()
        code = end(root, "2021-06")
        took, expected = time.monotonic() - began, outcome(root)
        print(f"undisturbed: exit code {code} after {took:.1f} s: {expected}", flush=True)
        for number in range(1, given.times + 1):
            shutil.rmtree(root)
            shutil.copytree(base, root, symlinks=True)
            process, after = start(root, "2021-06"), chance.uniform(0, took)
            time.sleep(after)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            code, found = end(root, "2021-06"), outcome(root)
            same = "the same" if found == expected else f"ANOTHER END: {found}"
            wrong += found != expected
            print(
                f"{number:3}: killed after {after:5.1f} s, then exit code {code}: {same}",
                flush=True,
            )
    print(f"{given.times - wrong} of {given.times} came to the same end")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
