"""How good predictions are: metrics, errors by slice, a rule of thumb to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from taxi_nb.evaluation.day_blocks import DayMean, days_of, rmse_gain, rmse_of_days

_FARTHEST_MILES = 40.0
_FEWEST_FOR_A_LINE = 30

Floats = npt.NDArray[np.float64]


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


def gain_over(trips: pd.DataFrame, before: npt.ArrayLike, after: npt.ArrayLike) -> DayMean:
    """Return by how many minutes one prediction's RMSE is lower than another's, trip by trip.

    Parameters
    ----------
    trips : DataFrame
        With ``pickup_datetime`` and ``duration`` (minutes).
    before, after : array-like, shape (n_trips,)
        Predicted minutes.

    Returns
    -------
    DayMean
        ``mean`` in minutes, ``error``, its standard error with days as blocks, and ``days``.

    Examples
    --------
    >>> days = pd.to_datetime(["2021-01-04", "2021-01-05"])
    >>> trips = pd.DataFrame({"pickup_datetime": days, "duration": [10.0, 10.0]})
    >>> gain_over(trips, [15, 15], [14, 14]).shown("+")
    '+1.000 ± 0.000'
    """
    actual = trips["duration"].to_numpy(np.float64)
    first, second = ((np.asarray(one, np.float64) - actual) ** 2 for one in (before, after))
    return rmse_gain(first, second, days_of(trips["pickup_datetime"]))


def error_by(
    trips: pd.DataFrame,
    predicted: npt.ArrayLike,
    by: pd.Series | npt.ArrayLike,
    beside: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Measure predictions within slices.

    Parameters
    ----------
    trips : DataFrame
        With ``duration`` in minutes; with `beside` also with ``pickup_datetime``.
    predicted, by : Series or array, shape (n_trips,)
        Minutes, and the slice that each trip belongs to, in the order of `trips`.
    beside : array, shape (n_trips,), optional
        Other minutes to compare with, such as a rule of thumb's.

    Returns
    -------
    DataFrame, one row a slice
        ``trips`` and, in minutes, ``rmse``, ``mae`` and ``bias`` (mean of predicted minus actual).
        With `beside` also ``days``, ``rmse_error``, ``beside_rmse``, ``gain``, by how much the
        RMSE is lower than that, and ``gain_error``: standard errors with days as blocks, not
        known (NaN) of a slice with one day.

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
    table = pd.DataFrame(
        {
            "trips": groups.size(),
            "rmse": np.sqrt(groups["squared"].mean()),
            "mae": groups["absolute"].mean(),
            "bias": groups["error"].mean(),
        }
    )
    if beside is None:
        return table
    other = np.asarray(beside, float)
    compared = {
        value: _compared(trips.iloc[rows], error[rows], other[rows])
        for value, rows in groups.indices.items()
    }
    # By its values, since an index of categories would be joined in another order.
    return table.assign(**pd.DataFrame([compared[value] for value in table.index], table.index))


def _compared(trips: pd.DataFrame, error: Floats, beside: Floats) -> dict[str, float]:
    days, actual = days_of(trips["pickup_datetime"]), trips["duration"].to_numpy(float)
    rmse, gain = rmse_of_days(error, days), gain_over(trips, beside, actual + error)
    return {
        "days": rmse.days,
        "rmse_error": rmse.error if rmse.days > 1 else np.nan,
        "beside_rmse": rmse.mean + gain.mean,
        "gain": gain.mean,
        "gain_error": gain.error if gain.days > 1 else np.nan,
    }


def rule_of_thumb(training: pd.DataFrame, trips: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Predict by a straight line in distance for each hour of the day; a model has to be better.

    A person's rule: so many minutes for any trip at that hour, and so many for each mile. The
    lines are of least squares. Distances below 0 and above 40 miles count as these: nobody drives
    farther within the hour that the cleaning allows, but meters fail. An hour with fewer than 30
    trips has the line of all hours.

    Parameters
    ----------
    training, trips : DataFrame
        The trips that the lines are of, and those to predict; with ``pickup_datetime`` and
        ``trip_distance`` (miles), the first with ``duration`` (minutes).

    Returns
    -------
    ndarray of float64, shape (n_trips,)
        Minutes.

    Examples
    --------
    >>> pickups = pd.to_datetime(["2021-01-01 08:00", "2021-01-01 20:00"])
    >>> training = pd.DataFrame(
    ...     {"pickup_datetime": pickups, "trip_distance": [2.0, 4.0], "duration": [8.0, 12.0]}
    ... )
    >>> rule_of_thumb(training, training.assign(trip_distance=[3.0, 500.0])).tolist()
    [10.0, 84.0]
    """
    miles, asked = (_possible_miles(frame) for frame in (training, trips))
    minutes = training["duration"].to_numpy(np.float64)
    hours = training["pickup_datetime"].dt.hour.to_numpy()
    start, pace = np.repeat([_line(miles, minutes)], 24, axis=0).T
    for hour in range(24):
        at_hour = hours == hour
        if np.count_nonzero(at_hour) >= _FEWEST_FOR_A_LINE:
            start[hour], pace[hour] = _line(miles[at_hour], minutes[at_hour])
    hour = trips["pickup_datetime"].dt.hour.to_numpy()
    return start[hour] + pace[hour] * asked


def _possible_miles(trips: pd.DataFrame) -> npt.NDArray[np.float64]:
    return trips["trip_distance"].to_numpy(np.float64).clip(0, _FARTHEST_MILES)


def _line(miles: npt.NDArray[np.float64], minutes: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return where the line of least squares starts, and what it adds for each mile."""
    away = miles - miles.mean()
    spread = float(away @ away)
    pace = float(away @ minutes) / spread if spread > 0 else 0.0
    return float(minutes.mean() - pace * miles.mean()), pace
