"""What a model takes for a day off is what pandas's calendar of federal holidays says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pandas.tseries.holiday import USFederalHolidayCalendar

from taxi_nb.models._calendar_time import is_day_off


def test_days_off_are_weekends_and_holidays_of_any_year() -> None:
    days = pd.Series(pd.date_range("2009-01-01", "2027-12-31 23:00", freq="7h"))
    holidays = USFederalHolidayCalendar().holidays("2008-01-01", "2028-12-31")
    expected = (days.dt.day_of_week >= 5) | days.dt.normalize().isin(holidays)
    assert np.array_equal(is_day_off(days), expected)


@pytest.mark.parametrize(
    ("day", "off"),
    [
        ("2021-12-31 23:59", True),  # New Year's Day of 2022 is a Saturday, and observed before.
        ("2021-12-30 00:00", False),
        ("2021-01-18 08:00", True),  # Martin Luther King.
        ("2021-06-18 08:00", True),  # Juneteenth, observed on the Friday before.
        ("2020-06-19 08:00", False),  # No holiday yet.
        ("2021-02-13 08:00", True),
    ],
)
def test_a_single_trip_knows_its_day(day: str, off: bool) -> None:
    assert is_day_off(pd.Series([pd.Timestamp(day)])).tolist() == [off]


def test_no_trips_have_no_days() -> None:
    assert len(is_day_off(pd.Series([], dtype="datetime64[us]"))) == 0
