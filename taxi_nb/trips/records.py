"""Records of trips as arrays: cast from a month's file, not yet cleaned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

# The prefix that the time stamps' columns have in each taxi's files.
STAMP_PREFIX = {"green": "lpep", "yellow": "tpep"}

COLUMNS: dict[str, str] = {
    "pickup_datetime": "pickup",
    "dropoff_datetime": "dropoff",
    "PULocationID": "pickup_zone",
    "DOLocationID": "dropoff_zone",
    "trip_distance": "distance",
    "duration": "duration",
}
"""The columns of a frame of trips, and what they are called among `Records`."""

COLUMN_TYPES: dict[str, str] = {
    "pickup_datetime": "datetime64[us]",
    "dropoff_datetime": "datetime64[us]",
    "PULocationID": "int32",
    "DOLocationID": "int32",
    "trip_distance": "float64",
    "duration": "float64",
}


@dataclass(frozen=True)
class Records:
    """Records of a month as arrays of equal length, in the file's order.

    Times are New York's clock; where drop-offs are not known they are the pick-ups. A negative
    zone is none. Distances are in miles, durations in minutes. `missing` says where any value is
    null; it is None where nothing is.
    """

    pickup: npt.NDArray[np.datetime64]
    dropoff: npt.NDArray[np.datetime64]
    pickup_zone: npt.NDArray[np.int32]
    dropoff_zone: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]
    duration: npt.NDArray[np.float64]
    missing: Mask | None

    def __len__(self) -> int:
        return len(self.pickup)


def source_names(taxi: str, *, with_drop_offs: bool = True) -> dict[str, str]:
    """Return which columns of a frame a file has, and the names that they have there.

    Examples
    --------
    >>> source_names("green")["dropoff_datetime"]
    'lpep_dropoff_datetime'
    """
    prefix = STAMP_PREFIX[taxi]
    names = {
        column: f"{prefix}_{column}" if column.endswith("_datetime") else column
        for column in COLUMNS
        if column != "duration"
    }
    if not with_drop_offs:
        del names["dropoff_datetime"]
    return names
