"""The slices of trips that errors are looked at in: hour, distance, borough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxi_nb.models.zones import boroughs

if TYPE_CHECKING:
    import pandas as pd

_DISTANCE_EDGES = [-1, 0, 1, 2, 4, 8, 16, 30, float("inf")]
_DISTANCE_LABELS = ["0", "0-1", "1-2", "2-4", "4-8", "8-16", "16-30", "over 30"]

# Column of a table -> what it says.
SLICES = {
    "hour": "hour of pick-up",
    "distance": "distance (miles)",
    "borough": "borough of pick-up",
}


def trip_slices(trips: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the slice of each trip, by each of `SLICES`.

    Parameters
    ----------
    trips : DataFrame
        As `load_trips` returned them.

    Returns
    -------
    dict of Series, shape (n_trips,)
        ``hour`` of pick-up, 0 to 23; ``distance`` in bands of miles, in their order;
        ``borough`` of pick-up.

    Examples
    --------
    >>> from taxi_nb import load_trips
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> trip_slices(trips)["distance"].cat.categories.tolist()
    ['0', '0-1', '1-2', '2-4', '4-8', '8-16', '16-30', 'over 30']
    """
    import pandas as pd

    bands = pd.cut(trips["trip_distance"], _DISTANCE_EDGES, labels=_DISTANCE_LABELS)
    return {
        "hour": trips["pickup_datetime"].dt.hour.rename("hour"),
        "distance": bands.rename("distance"),
        "borough": boroughs(trips["PULocationID"]),
    }
