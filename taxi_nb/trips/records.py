"""Records of trips as arrays: cast from a month's file, not yet cleaned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

# The prefix that the time stamps' columns have in each taxi's files.
STAMP_PREFIX = {"green": "lpep", "yellow": "tpep"}

_COLUMNS = (
    ("pickup_datetime", "pickup", "datetime64[us]"),
    ("dropoff_datetime", "dropoff", "datetime64[us]"),
    ("PULocationID", "pickup_zone", "int32"),
    ("DOLocationID", "dropoff_zone", "int32"),
    ("trip_distance", "distance", "float64"),
    ("duration", "duration", "float64"),
)
COLUMNS = {column: attribute for column, attribute, _ in _COLUMNS}
"""The columns of a frame of trips, and what they are called among `Records`."""
COLUMN_TYPES = {column: kind for column, _, kind in _COLUMNS}


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
    """Return which columns of a frame a file has, and the names that they have there."""
    skipped = ("duration",) if with_drop_offs else ("duration", "dropoff_datetime")
    return {
        column: f"{STAMP_PREFIX[taxi]}_{column}" if column.endswith("_datetime") else column
        for column in COLUMNS
        if column not in skipped
    }
