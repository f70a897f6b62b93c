"""What each feature group is worth to `xgboost-rich`, on real months.

    .venv/bin/python -m benchmarks.ablation FOLDER

FOLDER holds the TLC's green months 2021-01, to learn from, and 2021-02, to be judged on.
The first table adds one group after the other, the second leaves one out. Groups overlap,
so that what leaving one out costs is less than what it brings. Nothing is tracked.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from taxi_nb import load_trips, make_model, regression_metrics
from taxi_nb.models.specs import GROUPS

SEEDS = (42, 43, 44)


def main(folder: str) -> None:
    """Print the two tables."""
    training = load_trips("green", ["2021-01"], folder)
    validation = load_trips("green", ["2021-02"], folder)
    console = Console(width=100)
    console.print(groups_added(training, validation))
    console.print(groups_left_out(training, validation))


def groups_added(training: pd.DataFrame, validation: pd.DataFrame) -> Table:
    """Start with the distance and add one group after the other."""
    table = Table("features", "validation RMSE (minutes)", "gain")
    before = None
    for size in range(1, len(GROUPS) + 1):
        rmse = median_rmse(GROUPS[:size], training, validation)
        gain = "" if before is None else f"{before - rmse:+.3f}"
        table.add_row(f"{'+ ' if before else ''}{GROUPS[size - 1]}", f"{rmse:.3f}", gain)
        before = rmse
    return table


def groups_left_out(training: pd.DataFrame, validation: pd.DataFrame) -> Table:
    """Leave out one group at a time, and all statistics of targets together."""
    table = Table("left out", "validation RMSE (minutes)", "cost")
    whole = median_rmse(GROUPS, training, validation)
    table.add_row("nothing", f"{whole:.3f}", "")
    for left_out in (*((group,) for group in GROUPS), ("durations", "paces")):
        kept = [group for group in GROUPS if group not in left_out]
        rmse = median_rmse(kept, training, validation)
        table.add_row(" and ".join(left_out), f"{rmse:.3f}", f"{rmse - whole:+.3f}")
    return table


def median_rmse(groups: Sequence[str], training: pd.DataFrame, validation: pd.DataFrame) -> float:
    """Return the median over the seeds, in minutes."""
    errors = []
    for seed in SEEDS:
        model = make_model("xgboost-rich", seed=seed).set_params(features__groups=list(groups))
        model.fit(training, training["duration"])
        metrics = regression_metrics(validation["duration"], model.predict(validation))
        errors.append(metrics["rmse"])
    return statistics.median(errors)


if __name__ == "__main__":
    typer.run(main)
