"""Time of day, hour and day off, at the pick-up."""

from __future__ import annotations

from functools import lru_cache

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
    # As numbers, which are looked up in a table; dates would be sorted.
    days = pickup.to_numpy("datetime64[D]").view(np.int64)
    years = pd.unique(pickup.dt.year)
    if not len(years):
        return np.zeros(0, dtype=np.bool_)
    holidays = np.concatenate([_holidays(int(year)) for year in years])
    return np.asarray((pickup.dt.day_of_week >= 5) | np.isin(days, holidays), dtype=np.bool_)


@lru_cache(maxsize=64)
def _holidays(year: int) -> npt.NDArray[np.int64]:
    """Return a year's holidays, as days since 1970; pandas takes milliseconds to work them out."""
    days = USFederalHolidayCalendar().holidays(f"{year}-01-01", f"{year}-12-31")
    return days.to_numpy("datetime64[D]").view(np.int64)


def hour_of_week_part(pickup: pd.Series) -> npt.NDArray[np.int64]:
    """Return the hour, 0 to 23 on working days and 24 to 47 on days off."""
    return pickup.dt.hour.to_numpy(np.int64) + 24 * is_day_off(pickup)
