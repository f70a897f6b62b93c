"""Time of day, hour and day off, at the pick-up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.holiday import USFederalHolidayCalendar


def time_of_day(pickup: pd.Series) -> npt.NDArray[np.float64]:
    """Return the hour of pick-up in steps of a quarter, 0.0 to 23.75.

    Coarse on purpose: a finer clock would let a model see how a trip was
    recorded. Some records are rounded to the minute, and those trips last longer.
    """
    return np.asarray(pickup.dt.hour + pickup.dt.minute // 15 / 4, dtype=np.float64)


def is_day_off(pickup: pd.Series) -> npt.NDArray[np.bool_]:
    """Tell whether the day is a Saturday, a Sunday or a federal holiday."""
    days = pickup.dt.normalize()
    if days.empty:
        return np.zeros(0, dtype=np.bool_)
    holidays = USFederalHolidayCalendar().holidays(days.min(), days.max())
    return np.asarray((pickup.dt.day_of_week >= 5) | days.isin(holidays), dtype=np.bool_)


def hour_of_week_part(pickup: pd.Series) -> npt.NDArray[np.int64]:
    """Return the hour, 0 to 23 on working days and 24 to 47 on days off."""
    return pickup.dt.hour.to_numpy(np.int64) + 24 * is_day_off(pickup)
