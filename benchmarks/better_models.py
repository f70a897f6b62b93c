"""How near the floor the rich models are, on real months.

    .venv/bin/python -m benchmarks.better_models FOLDER [--seeds 3]

FOLDER holds the TLC's green months 2021-01 to 2021-03, 2022-01, 2022-02 and 2023-01. Whatever was
chosen was chosen within training months; the last month of each pair is only looked at. Nothing is
tracked.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from taxi_nb import load_trips, make_model, regression_metrics, with_recent
from taxi_nb.evaluation.intervals import ConformalIntervals, coverage_metrics

FIRST_SEED = 42
PAIRS = (
    (("2021-01",), "2021-02"),
    (("2021-02",), "2021-03"),
    (("2021-01", "2021-02"), "2021-03"),
    (("2021-03",), "2022-01"),
    (("2021-01", "2021-02", "2021-03"), "2022-01"),
    (("2022-01",), "2022-02"),
    (("2022-02",), "2023-01"),
    (("2021-01", "2021-02", "2021-03", "2022-01", "2022-02"), "2023-01"),
)


def main(folder: str, seeds: int = 3) -> None:
    """Print the table of goals, and that of intervals."""
    console = Console(width=100)
    goals = Table("RMSE in minutes, median of seeds", "reached", "at most")
    covers = Table("90 % intervals", "cover", "hours with 500 trips", "width (min)")
    reached: dict[tuple[tuple[str, ...], str], float] = {}
    for months, month in PAIRS:
        training = load_trips("green", list(months), folder)
        validation = load_trips("green", [month], folder)
        models, seconds = fitted("xgboost-rich", training, seeds)
        reached[months, month] = rmse = median_rmse(models, validation)
        pair = f"{', '.join(months)} to {month}"
        covers.add_row(pair, *covered(models[0], training, validation))
        if months == PAIRS[0][0]:
            goals.add_row(f"{pair}, known at pick-up", f"{rmse:.3f}", "5.09")
            live, _ = fitted("xgboost-rich-live", training, seeds)
            told = median_rmse([with_recent(one, validation) for one in live], validation)
            goals.add_row(f"{pair}, live", f"{told:.3f}", "4.92")
            untold = median_rmse(live, validation)
            goals.add_row(f"{pair}, live, but without recent trips", f"{untold:.3f}", "")
            before, _ = fitted("xgboost-before", training, seeds)
            goals.add_row(
                f"{pair}, before the trip", f"{median_rmse(before, validation):.3f}", "6.10"
            )
            goals.add_row("training, features included (s of processor)", f"{seconds:.1f}", "20")
        else:
            # Of several months it has to be below what the last of them gives alone.
            aim = f"{0.97 * reached[months[-1:], month]:.3f}" if len(months) > 1 else ""
            goals.add_row(pair, f"{rmse:.3f}", aim)
        console.print(goals, covers)  # A figure is seen when it is known: all take minutes.


def fitted(name: str, training: pd.DataFrame, seeds: int) -> tuple[list[Any], float]:
    """Fit a model with several seeds; return them and the median processor time (seconds)."""
    models, seconds = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        started = time.process_time()
        models.append(make_model(name, seed=seed).fit(training, training["duration"]))
        seconds.append(time.process_time() - started)
    return models, statistics.median(seconds)


def median_rmse(models: list[Any], trips: pd.DataFrame) -> float:
    """Return the median over the models, in minutes."""
    predicted = [model.predict(trips) for model in models]
    return statistics.median(
        regression_metrics(trips["duration"], one)["rmse"] for one in predicted
    )


def covered(model: Any, training: pd.DataFrame, validation: pd.DataFrame) -> list[str]:
    """Return how many trips a model's 90 % intervals cover, in words."""
    intervals = ConformalIntervals.calibrate(model, training)
    found = coverage_metrics(validation, intervals.predict(validation))
    worst, best = (found[f"interval_coverage_{end}_hour"] for end in ("lowest", "highest"))
    return [
        f"{found['interval_coverage']:.1%}",
        f"{worst:.1%} to {best:.1%}",
        f"{found['interval_width']:.1f}",
    ]


if __name__ == "__main__":
    typer.run(main)
