"""Why a model predicts what it does: what matters to it, and what moved single predictions.

Both are told by groups of features, in words for people who send taxis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation.metrics import regression_metrics
from taxi_nb.models.specs import LIVE, SLOWDOWN

if TYPE_CHECKING:
    import pandas as pd

WORDS: Mapping[str, str] = {
    "start": "an average trip",
    "distance": "how far it goes",
    "time": "when it starts",
    "zones": "from which zone to which",
    "map": "where these zones lie",
    "distances": "how far trips there usually go",
    "durations": "how long trips there usually take",
    "paces": "how long so many miles usually take there",
    LIVE: "how slow the city is just now",
}
"""A group of features -> what it says."""

# More trips change little, and every group is asked several times.
_MOST_TRIPS = 2_000


def importance(
    model: Any, trips: pd.DataFrame, *, repeats: int = 5, seed: int = 42
) -> pd.DataFrame:
    """Measure how much worse a model gets where it does not know a group of features.

    The features of a group are exchanged together between trips, at random, and the RMSE is
    measured again (permutation importance: Breiman, Machine Learning 45, 2001, of groups). Groups
    overlap: what another one says as well seems to matter little. Of more than 2,000 trips so many
    are drawn.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
        A fitted model of `MODELS`.
    trips : DataFrame
        Trips that it has not learned from, with ``duration`` in minutes.
    repeats : int
        How often each group is exchanged.
    seed : int
        Of the draws.

    Returns
    -------
    DataFrame, one row a group in words, the most important first
        ``minutes``, by which the RMSE grows on average, and ``spread``, the standard deviation of
        that over the repeats, in minutes.

    Examples
    --------
    >>> from taxi_nb import load_trips, make_model
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> model = make_model("linear").fit(trips, trips["duration"])
    >>> sorted(importance(model, trips).index)
    ['from which zone to which', 'how far it goes']
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    if len(trips) > _MOST_TRIPS:
        trips = trips.iloc[np.sort(rng.choice(len(trips), _MOST_TRIPS, replace=False))]
    features, estimator = model.named_steps["features"], model.named_steps["model"]
    matrix = features.transform(trips)
    actual = trips["duration"].to_numpy(np.float64)

    def rmse(of: Any) -> float:
        return regression_metrics(actual, estimator.predict(of))["rmse"]

    usual = rmse(matrix)
    rows = {}
    for group, columns in _columns_of_groups(features, matrix).items():
        worse = [
            rmse(_exchanged(matrix, columns, rng.permutation(len(trips)))) - usual
            for _ in range(repeats)
        ]
        rows[WORDS.get(group, group)] = [float(np.mean(worse)), float(np.std(worse))]
    found = pd.DataFrame.from_dict(rows, orient="index", columns=["minutes", "spread"])
    return found.sort_values("minutes", ascending=False).rename_axis("what it knows")


def contributions(model: Any, trips: pd.DataFrame) -> pd.DataFrame | None:
    """Return by how many minutes each group of features moved each prediction.

    Of boosted trees these are Shapley values, exact (TreeSHAP: Lundberg and others, Nature Machine
    Intelligence 2, 2020), of linear models the products of features and coefficients.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
        A fitted model of `MODELS`.
    trips : DataFrame

    Returns
    -------
    DataFrame, one row a trip, or None for a model that has none, such as a random forest
        A column a group in words, in minutes, the start first. A row sums to the prediction.

    Examples
    --------
    >>> from taxi_nb import load_trips, make_model
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> model = make_model("xgboost-rich", {"n_estimators": 5}).fit(trips, trips["duration"])
    >>> moved = contributions(model, trips.head(3))
    >>> bool(np.allclose(moved.sum(axis=1), model.predict(trips.head(3)), atol=1e-3))
    True
    """
    import pandas as pd

    features, estimator = model.named_steps["features"], model.named_steps["model"]
    matrix = features.transform(trips)
    moved = _moved(estimator, matrix, _columns_of_groups(features, matrix))
    if moved is None:
        return None
    columns = {
        WORDS.get(group, group): np.asarray(minutes, np.float64) for group, minutes in moved.items()
    }
    return pd.DataFrame(columns, index=trips.index)


def _moved(
    estimator: Any, matrix: Any, groups: Mapping[str, list[Any]]
) -> dict[str, npt.ArrayLike] | None:
    """Return the minutes of each group, and those that all start with, arrays of (n_trips,)."""
    if hasattr(estimator, "contributions"):
        of_columns = estimator.contributions(matrix)
        sums = {group: of_columns[columns].sum(axis=1) for group, columns in groups.items()}
        return {"start": of_columns["start"], **sums}
    if hasattr(estimator, "get_booster"):
        from xgboost import DMatrix

        columns_known = DMatrix(matrix, enable_categorical=True)
        parts = estimator.get_booster().predict(columns_known, pred_contribs=True)
        place = {name: at for at, name in enumerate(getattr(matrix, "columns", ()))}
        sums = {
            group: parts[:, [place.get(column, column) for column in columns]].sum(axis=1)
            for group, columns in groups.items()
        }
        return {"start": parts[:, -1], **sums}
    if hasattr(estimator, "coef_"):
        start = np.full(matrix.shape[0], float(estimator.intercept_))
        slopes = np.asarray(estimator.coef_)
        sums = {group: matrix[:, columns] @ slopes[columns] for group, columns in groups.items()}
        return {"start": start, **sums}
    return None


def _columns_of_groups(features: Any, matrix: Any) -> dict[str, list[Any]]:
    if hasattr(features, "columns_of_groups"):
        live = {LIVE: [SLOWDOWN]} if SLOWDOWN in matrix else {}
        return {**features.columns_of_groups(), **live}
    if hasattr(matrix, "columns"):  # Of an older commit, whose features do not say their groups.
        return {name: [name] for name in matrix.columns}
    last = matrix.shape[1] - 1
    return {"zones": list(range(last)), "distance": [last]}


def _exchanged(matrix: Any, columns: list[Any], order: npt.NDArray[np.int64]) -> Any:
    """Return a matrix in which some columns are those of other trips."""
    if hasattr(matrix, "columns"):
        others = matrix[columns].iloc[order].set_axis(matrix.index)
        return matrix.assign(**{name: others[name] for name in columns})
    from scipy.sparse import hstack

    zones, miles = matrix[:, :-1], matrix[:, -1:]
    if columns == [matrix.shape[1] - 1]:
        return hstack([zones, miles[order]], format="csr")
    return hstack([zones[order], miles], format="csr")
