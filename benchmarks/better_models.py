"""What knowing more than pair and distance is worth, on real months.

    .venv/bin/python -m benchmarks.better_models FOLDER

FOLDER holds the TLC's green months 2021-01, to learn and choose from, and 2021-02, to be
judged on. Runs are tracked in a store that is thrown away.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

SEEDS = (42, 43, 44)


def main(folder: str, max_evals: int = 20) -> None:
    """Print the table."""
    from taxi_nb import load_trips

    training = load_trips("green", ["2021-01"], folder)
    validation = load_trips("green", ["2021-02"], folder)
    table = Table("what", "reached", "at least")
    rmse, seconds = best_of_seeds("xgboost-rich", training, validation)
    table.add_row(f"xgboost-rich, median RMSE of {len(SEEDS)} seeds (min)", f"{rmse:.3f}", "5.20")
    table.add_row("its training, features included, median (s)", f"{seconds:.1f}", "60")
    blind, _ = best_of_seeds("xgboost-before", training, validation)
    table.add_row("xgboost-before, without trip_distance (min)", f"{blind:.3f}", "reported")
    table.add_row("what not knowing it costs (min)", f"{blind - rmse:+.3f}", "reported")
    coverage = covered(training, validation)
    table.add_row("90 % intervals cover", f"{coverage['interval_coverage']:.1%}", "88–92 %")
    worst, best = (coverage[f"interval_coverage_{end}_hour"] for end in ("lowest", "highest"))
    table.add_row("hours with 500 trips or more", f"{worst:.1%} to {best:.1%}", "85–95 %")
    table.add_row(
        "mean width of an interval (min)", f"{coverage['interval_width']:.1f}", "reported"
    )
    tuned, minutes = tuned_rmse(training, validation, max_evals)
    table.add_row(f"tuned, {max_evals} trials (min RMSE)", f"{tuned:.3f}", "5.40")
    table.add_row("the search and its refit (minutes)", f"{minutes:.1f}", "5")
    Console(width=100).print(table)


def best_of_seeds(
    name: str, training: pd.DataFrame, validation: pd.DataFrame
) -> tuple[float, float]:
    """Return the median RMSE (minutes) and the median time to fit (seconds)."""
    from taxi_nb import make_model, regression_metrics

    errors, seconds = [], []
    for seed in SEEDS:
        started = time.perf_counter()
        model = make_model(name, seed=seed).fit(training, training["duration"])
        seconds.append(time.perf_counter() - started)
        metrics = regression_metrics(validation["duration"], model.predict(validation))
        errors.append(metrics["rmse"])
    return statistics.median(errors), statistics.median(seconds)


def covered(training: pd.DataFrame, validation: pd.DataFrame) -> dict[str, float]:
    """Return how many trips the first seed's 90 % intervals cover."""
    from taxi_nb import make_model
    from taxi_nb.evaluation.intervals import ConformalIntervals, coverage_metrics

    model = make_model("xgboost-rich", seed=SEEDS[0]).fit(training, training["duration"])
    intervals = ConformalIntervals.calibrate(model, training)
    return coverage_metrics(validation, intervals.predict(validation))


def tuned_rmse(
    training: pd.DataFrame, validation: pd.DataFrame, max_evals: int
) -> tuple[float, float]:
    """Return the validation RMSE of the best setting and the minutes that it took."""
    from taxi_nb import tune

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        started = time.perf_counter()
        result = tune(training, validation, max_evals=max_evals, max_rounds=400)
        return result.best.metrics["valid_rmse"], (time.perf_counter() - started) / 60


if __name__ == "__main__":
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    typer.run(main)
