"""Hours and weekdays of time stamps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def hours_of(stamps: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the hour of the day, 0 to 23."""
    return np.asarray(stamps.astype("datetime64[h]").view(np.int64) % 24)


def weekdays_of(stamps: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the day of the week, 0 for Monday to 6.

    >>> weekdays_of(np.array(["2021-02-01"], "datetime64[D]")).tolist()
    [0]
    """
    # The epoch's first day was a Thursday.
    return np.asarray((stamps.astype("datetime64[D]").view(np.int64) + 3) % 7)
