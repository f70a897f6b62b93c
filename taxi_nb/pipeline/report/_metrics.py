"""The order of a step's metrics, and whether a larger or a smaller one is better."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

# Metrics on data that a model has not learned from come first; the most usual measure first.
TEST = "test_"
"""How metrics begin that are measured once, on records that neither taught nor chose a model."""
_JUDGED = ("valid_", "validation_", "val_", TEST)
_SETS = {
    **dict.fromkeys(("valid", "validation", "val"), "validation"),
    **{"test": "test", "train": "training"},
}
_SHORT = {"rmse": "RMSE", "mse": "MSE", "mae": "MAE", "mape": "MAPE", "auc": "AUC", "r2": "R²"}
_USUAL = ("rmse", "mae", "loss", "error", "accuracy", "auc", "f1", "r2")
_LOWER_IS_BETTER = ("rmse", "mse", "mae", "mape", "loss", "error", "seconds")
_HIGHER_IS_BETTER = ("accuracy", "auc", "f1", "precision", "recall", "r2")


def by_importance(names: Iterable[str]) -> list[str]:
    """Sort metric names: judged on unseen data first, times and counts last."""
    return sorted(dict.fromkeys(names), key=_rank)


def _rank(name: str) -> tuple[int, int, str]:
    judged = 0 if name.startswith(_JUDGED) else 1
    usual = next((i for i, end in enumerate(_USUAL) if name.endswith(end)), None)
    if usual is None:
        return (2 if judged else 1, len(_USUAL), name)
    return (judged, usual, name)


def is_judged(name: str) -> bool:
    """Whether a metric says how good something is on data that it has not learned from."""
    return name.startswith(_JUDGED) and name.endswith(_USUAL)


def metric_words(name: str) -> str:
    """Return a metric's name as people say it.

    >>> metric_words("valid_rmse"), metric_words("best_holdout_rmse"), metric_words("trips")
    ('validation RMSE', 'best holdout RMSE', 'trips')
    """
    first, *rest = name.split("_")
    if not rest or (first not in _SETS and rest[-1] not in _SHORT):
        return name
    return " ".join([_SETS.get(first, first), *(_SHORT.get(part, part) for part in rest)])


def unit_of(name: str, units: Mapping[str, str]) -> str:
    """Return the unit of a metric, of an error as of what it is the error of; or nothing.

    >>> unit_of("test_rmse_day_error", {"rmse": "seconds"}), unit_of("valid_r2", {"rmse": "s"})
    ('seconds', '')
    """
    plain = re.sub(r"(_day)?_error$", "", name)
    ends = [end for end in units if plain == end or plain.endswith(f"_{end}")]
    return units[max(ends, key=len)] if ends else ""


def main_metric(of_steps: Sequence[Mapping[str, float]]) -> str | None:
    """Return the metric that most steps share, of those the most telling one."""
    names = (name for metrics in of_steps for name in metrics)
    counts = Counter(name for name in names if is_judged(name))
    if not counts:
        return None
    most = max(counts.values())
    return by_importance(name for name, count in counts.items() if count == most)[0]


def better(name: str, before: float, after: float) -> bool | None:
    """Whether a metric has improved; None where that cannot be told from its name."""
    if before == after or math.isnan(before) or math.isnan(after):
        return None
    if name.endswith(_LOWER_IS_BETTER):
        return after < before
    return after > before if name.endswith(_HIGHER_IS_BETTER) else None


def lower_is_better(name: str) -> bool:
    return not name.endswith(_HIGHER_IS_BETTER)
