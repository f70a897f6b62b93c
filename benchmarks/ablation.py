"""What each feature group is worth to the rich models, on real months.

    .venv/bin/python -m benchmarks.ablation FOLDER [--seeds 3] [--trees 400]

FOLDER holds the TLC's green months 2021-01, to learn from, and 2021-02, to be judged on.
The first table adds one group after the other, the second leaves one out. Groups overlap,
so that what leaving one out costs is less than what it brings. Fewer trees learn faster each, for
a quicker look. Nothing is tracked.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from taxi_nb import load_trips, make_model, regression_metrics, with_recent
from taxi_nb.models.specs import GROUPS, LIVE

FIRST_SEED = 42
# Trees times learning rate.
STEPS = 12.0


def main(folder: str, seeds: int = 3, trees: int = 400) -> None:
    """Print the two tables."""
    training = load_trips("green", ["2021-01"], folder)
    validation = load_trips("green", ["2021-02"], folder)
    console = Console(width=100)

    def rmse_of(groups: Sequence[str]) -> float:
        return median_rmse(groups, training, validation, seeds, trees)

    added, left_out = Table("features", "RMSE", "gain"), Table("left out", "RMSE", "cost")
    every, before = (*GROUPS, LIVE), 0.0
    whole = {}
    for size in range(1, len(every) + 1):
        rmse = whole[size] = rmse_of(every[:size])
        gain = "" if size == 1 else f"{before - rmse:+.3f}"
        added.add_row(every[size - 1], f"{rmse:.3f}", gain)
        before = rmse
    console.print(added)
    all_but_live = whole[len(GROUPS)]
    left_out.add_row("nothing but live", f"{all_but_live:.3f}", "")
    for groups in (*((group,) for group in GROUPS), ("durations", "paces")):
        rmse = rmse_of([group for group in GROUPS if group not in groups])
        left_out.add_row(" and ".join(groups), f"{rmse:.3f}", f"{rmse - all_but_live:+.3f}")
    console.print(left_out)


def median_rmse(
    groups: Sequence[str], training: pd.DataFrame, validation: pd.DataFrame, seeds: int, trees: int
) -> float:
    """Return the median over the seeds, in minutes."""
    params = {"n_estimators": trees, "learning_rate": STEPS / trees}
    errors = []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        model = make_model("xgboost-rich", params, seed=seed)
        model.set_params(features__groups=list(groups)).fit(training, training["duration"])
        model = with_recent(model, validation) if LIVE in groups else model
        metrics = regression_metrics(validation["duration"], model.predict(validation))
        errors.append(metrics["rmse"])
    return statistics.median(errors)


if __name__ == "__main__":
    typer.run(main)
