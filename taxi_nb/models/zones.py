"""The taxi zones.

The table is the public *Taxi Zone Lookup Table* of the New York City Taxi & Limousine
Commission (TLC), https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page, without its
column ``service_zone``. Zones 264 and 265 stand for "not known" in the records. Where the zones
lie is from the TLC's shapefile *Taxi Zones* on the same page, as `benchmarks/zone_geometry.py`
reads it. Both are public data of the City of New York, free to use without restriction
(https://opendata.cityofnewyork.us/overview/).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "Unknown"
# Zone ids have three digits, so a pair of them is one integer: ``PU * 1000 + DO``.
PAIR_BASE = 1000


def zone_table() -> pd.DataFrame:
    """Return the TLC's table of taxi zones.

    Returns
    -------
    pandas.DataFrame
        Columns ``borough`` and ``zone``, texts; the index ``zone_id`` runs from 1 to 265.

    Examples
    --------
    >>> from taxi_nb.models.zones import zone_table
    >>> zone_table().loc[132, "zone"]
    'JFK Airport'
    """
    return _read("zones.csv").copy()


def zone_geometry() -> pd.DataFrame:
    """Return where the TLC's zones lie and how large they are.

    Returns
    -------
    pandas.DataFrame
        ``east`` and ``north`` of the centroid (miles, of EPSG:2263), ``area`` (square miles), and
        ``neighbours``, the numbers of the zones that it touches, as a text; the index ``zone_id``
        runs from 1 to 263.

    Examples
    --------
    >>> from taxi_nb.models.zones import zone_geometry
    >>> zone_geometry().loc[132, "neighbours"]
    '2 124 203 216 219'
    """
    return _read("zone_geometry.csv").copy()


def boroughs(zone_ids: pd.Series) -> pd.Series:
    """Return the borough of each zone.

    Parameters
    ----------
    zone_ids : pandas.Series
        Zone numbers, of any numeric type.

    Returns
    -------
    pandas.Series
        Names, with the same index; ``"Unknown"`` where the number is null or no zone's.

    Examples
    --------
    >>> import pandas as pd
    >>> from taxi_nb.models.zones import boroughs
    >>> boroughs(pd.Series([132, 43, 999])).tolist()
    ['Queens', 'Manhattan', 'Unknown']
    """
    return zone_ids.map(_read("zones.csv")["borough"]).fillna(UNKNOWN).rename("borough")


@cache
def _read(table: str) -> pd.DataFrame:
    import pandas as pd

    with files(__package__).joinpath(table).open(encoding="utf-8") as file:
        # Zone 265 is named "NA", which is a name here and not a null.
        return pd.read_csv(file, index_col="zone_id", keep_default_na=False)
