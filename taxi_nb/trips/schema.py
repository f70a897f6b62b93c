"""The columns, types and ranges of a frame of trips, as a pandera schema."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.errors import SchemaError
from taxi_nb.trips.records import COLUMN_TYPES


def trips_schema(rules: Cleaning) -> pa.DataFrameSchema:
    """Return the schema: exact columns in order, exact types, no nulls, ranges as in the rules."""
    # pandera's own check of the type lets every unit pass.
    microseconds = pa.Check(
        lambda stamps: bool(stamps.dtype == "datetime64[us]"), name="dtype('datetime64[us]')"
    )
    zone = pa.Check.in_range(rules.min_zone, rules.max_zone)
    bounds = ((pa.Check.ge, rules.min_distance), (pa.Check.le, rules.max_distance))
    checks: dict[str, pa.Check | list[pa.Check]] = {
        "pickup_datetime": microseconds,
        "dropoff_datetime": microseconds,
        "PULocationID": zone,
        "DOLocationID": zone,
        "trip_distance": [check(miles) for check, miles in bounds if miles is not None],
        "duration": pa.Check.in_range(rules.min_minutes, rules.max_minutes),
    }
    columns = {name: pa.Column(kind, checks[name]) for name, kind in COLUMN_TYPES.items()}
    return pa.DataFrameSchema(columns, name="trips", strict=True, ordered=True)


def validate_trips(trips: pd.DataFrame, cleaning: Cleaning | None = None) -> None:
    """Check a frame against the schema of trips; the frame is left as it is.

    Raises
    ------
    SchemaError
        If the frame breaks the schema; the message lists everything that is wrong.

    Examples
    --------
    >>> from taxi_nb import load_trips
    >>> validate_trips(load_trips("green", ["2021-01"], "sample", sample_rows=1_000))
    """
    try:
        trips_schema(cleaning or Cleaning()).validate(trips, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise SchemaError(_describe(error.failure_cases)) from None


def _describe(cases: pd.DataFrame) -> str:
    # For a check on the frame as a whole pandera names the schema instead of a column.
    groups = cases.groupby(["column", "check"], sort=False, dropna=False)["failure_case"]
    problems = [_problem(str(column), str(check), list(found)) for (column, check), found in groups]
    return "the trips do not keep their schema: " + "; ".join(problems)


def _problem(column: str, check: str, found: list[object]) -> str:
    if check in _FRAME_PROBLEMS:
        return f"{_FRAME_PROBLEMS[check]} {', '.join(map(str, found))}"
    if found == [False]:
        return f"{column}: {check} fails"
    return f"{column}: {check} fails for {len(found):,} value(s), such as {found[0]!r}"


_FRAME_PROBLEMS = {
    "column_in_dataframe": "missing column",
    "column_in_schema": "column that is not in the schema:",
    "column_ordered": "column out of order:",
}
