"""Validation RMSE of each model on real months, and how long each takes to fit.

    .venv/bin/python -m benchmarks.known_results FOLDER

FOLDER holds the TLC's green months 2021-01 and 2021-02. Nothing is tracked.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from taxi_nb import MODELS, load_trips, make_model, regression_metrics, rule_of_thumb

CASES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("linear", {}),
    ("linear-lsqr", {}),
    ("ridge", {}),
    ("ridge-exact", {}),
    ("lasso", {}),
    ("lasso-exact", {}),
    ("lasso", {"alpha": 0.1}),
    ("random_forest", {}),
    ("xgboost", {}),
    ("xgboost-rich", {}),
    ("xgboost-before", {}),
)


def main(folder: str, repeats: int = 3) -> None:
    """Print the table."""
    training = load_trips("green", ["2021-01"], folder)
    validation = load_trips("green", ["2021-02"], folder)
    table = Table("model", "parameters", "validation RMSE (minutes)", "median fit (s)")
    for name, params in CASES:
        rmse, seconds = measure(name, params, training, validation, repeats)
        shown = ", ".join(f"{k}={v}" for k, v in {**MODELS[name].defaults, **params}.items())
        table.add_row(name, shown, f"{rmse:.6f}", f"{seconds:.2f}")
    thumb = regression_metrics(validation["duration"], rule_of_thumb(training, validation))
    table.add_row("rule of thumb", "a line in the distance for each hour", f"{thumb['rmse']:.6f}")
    Console(width=120).print(table)


def measure(
    name: str,
    params: Mapping[str, Any],
    training: pd.DataFrame,
    validation: pd.DataFrame,
    repeats: int,
) -> tuple[float, float]:
    """Fit `repeats` times; return the validation RMSE and the median seconds."""
    seconds = []
    for _ in range(repeats):
        model = make_model(name, params)
        started = time.perf_counter()
        model.fit(training, training["duration"])
        seconds.append(time.perf_counter() - started)
    metrics = regression_metrics(validation["duration"], model.predict(validation))
    return metrics["rmse"], statistics.median(seconds)


if __name__ == "__main__":
    typer.run(main)
