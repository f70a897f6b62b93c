"""Whether tuning pays on real months, or at least does no harm.

    .venv/bin/python -m benchmarks.tuning FOLDER 2021-01:2021-02 2022-01:2022-02

FOLDER holds the TLC's green months; each pair is a month to learn and choose from, and one to be
judged on. The tuned model is compared with the same one as it comes, trip by trip, with the error
over days as blocks. Runs are tracked in a store that is thrown away.
"""

from __future__ import annotations

import os
import tempfile
import time

import typer
from rich.console import Console
from rich.table import Table


def main(
    folder: str,
    pairs: list[str],
    model: str = "xgboost-rich",
    max_evals: int = 20,
    max_rounds: int = 400,
) -> None:
    """Print the table."""
    from taxi_nb import load_split, tune
    from taxi_nb.evaluation.day_blocks import days_of, rmse_gain
    from taxi_nb.models.choice import make_model

    table = Table(
        "learned, judged on", "as it comes", "tuned", "gain", "± over days", "trial", "minutes"
    )
    for pair in pairs:
        learned, judged = pair.split(":")
        training, validation = load_split("green", [learned], [judged], folder)
        usual = make_model(model).fit(training, training["duration"])
        with tempfile.TemporaryDirectory() as store:
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{store}/mlflow.db"
            os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = store
            started = time.perf_counter()
            tuned = tune(
                training, validation, model=model, max_evals=max_evals, max_rounds=max_rounds
            )
            minutes = (time.perf_counter() - started) / 60
        actual = validation["duration"].to_numpy()
        before, after = (
            (one.predict(validation) - actual) ** 2 for one in (usual, tuned.best.estimator)
        )
        gain = rmse_gain(before, after, days_of(validation["pickup_datetime"]))
        rmse = [f"{side.mean() ** 0.5:.3f}" for side in (before, after)]
        numbers = [f"{gain.mean:+.3f}", f"{gain.error:.3f}", str(tuned.chosen), f"{minutes:.1f}"]
        table.add_row(f"{learned}, {judged}", *rmse, *numbers)
        print(f"{pair}: {tuned.reason}", flush=True)
    Console(width=100).print(table)


if __name__ == "__main__":
    typer.run(main)
