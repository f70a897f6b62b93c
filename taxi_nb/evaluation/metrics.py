"""How good predictions are: metrics, errors by slice, a rule of thumb to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def regression_metrics(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> dict[str, float]:
    """Measure predictions of minutes.

    Parameters
    ----------
    actual, predicted : array-like, shape (n_trips,)

    Returns
    -------
    dict
        ``rmse`` and ``mae`` in minutes, ``r2`` without a unit.

    Examples
    --------
    >>> regression_metrics([10, 20], [13, 16])
    {'rmse': 3.5355339059327378, 'mae': 3.5, 'r2': 0.5}
    """
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    return {
        "rmse": float(root_mean_squared_error(actual, predicted)),
        "mae": float(mean_absolute_error(actual, predicted)),
        "r2": float(r2_score(actual, predicted)),
    }


def error_by(
    trips: pd.DataFrame, predicted: npt.ArrayLike, by: pd.Series | npt.ArrayLike
) -> pd.DataFrame:
    """Measure predictions within slices.

    Parameters
    ----------
    trips : DataFrame
        With ``duration`` in minutes.
    predicted, by : Series or array, shape (n_trips,)
        Minutes, and the slice that each trip belongs to, in the order of `trips`.

    Returns
    -------
    DataFrame, one row a slice
        ``trips`` and, in minutes, ``rmse``, ``mae`` and ``bias`` (mean of predicted minus actual).

    Examples
    --------
    >>> trips = pd.DataFrame({"duration": [10.0, 10.0, 30.0]})
    >>> error_by(trips, [12, 8, 33], ["day", "day", "night"])["rmse"].to_dict()
    {'day': 2.0, 'night': 3.0}
    """
    error = np.asarray(predicted, float) - trips["duration"].to_numpy(float)
    errors = pd.DataFrame({"error": error, "absolute": np.abs(error), "squared": error**2})
    # A categorical keeps its own order of slices; only the index has to match.
    slices = by.reset_index(drop=True) if isinstance(by, pd.Series) else pd.Series(by)
    groups = errors.groupby(slices, observed=True)
    return pd.DataFrame(
        {
            "trips": groups.size(),
            "rmse": np.sqrt(groups["squared"].mean()),
            "mae": groups["absolute"].mean(),
            "bias": groups["error"].mean(),
        }
    )


def rule_of_thumb(training: pd.DataFrame, trips: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Predict distance by the hour's median speed, as a person would; a model has to be better.

    Parameters
    ----------
    training, trips : DataFrame
        The trips that the median speeds come from, and those to predict.

    Returns
    -------
    ndarray of float64, shape (n_trips,)
        Minutes, within the range of the training durations.

    Examples
    --------
    >>> pickups = pd.to_datetime(["2021-01-01 08:00", "2021-01-01 20:00"])
    >>> training = pd.DataFrame(
    ...     {"pickup_datetime": pickups, "trip_distance": [2.0, 2.0], "duration": [8.0, 4.0]}
    ... )
    >>> rule_of_thumb(training, training.assign(trip_distance=1.5)).tolist()
    [6.0, 4.0]
    """
    hours = training["pickup_datetime"].dt.hour
    pace = (training["duration"] / training["trip_distance"]).where(training["trip_distance"] > 0)
    median_pace = pace.groupby(hours).median()
    overall = float(pace.median())
    at_hour = trips["pickup_datetime"].dt.hour.map(median_pace).fillna(overall)
    minutes = (trips["trip_distance"] * at_hour).to_numpy(np.float64)
    return minutes.clip(training["duration"].min(), training["duration"].max())
