"""The TLC's table of zones."""

import pandas as pd

from taxi_nb.models.zones import boroughs, zone_table


def test_all_zones_are_there_and_named():
    zones = zone_table()
    assert zones.index.tolist() == list(range(1, 266))
    assert zones.notna().all(axis=None)
    assert list(zones.loc[138]) == ["Queens", "LaGuardia Airport"]


def test_boroughs_have_as_many_zones_as_in_the_published_table():
    assert zone_table()["borough"].value_counts().to_dict() == {
        "Queens": 69,
        "Manhattan": 69,
        "Brooklyn": 61,
        "Bronx": 43,
        "Staten Island": 20,
        "Unknown": 2,
        "EWR": 1,
    }


def test_changing_the_table_changes_nobody_elses():
    mine = zone_table()
    mine.loc[1, "borough"] = "Atlantis"
    assert zone_table().loc[1, "borough"] == "EWR"


def test_boroughs_keep_the_index():
    zones = pd.Series([1, 33, 264], index=[7, 8, 9], dtype="int32")
    assert boroughs(zones).to_dict() == {7: "EWR", 8: "Brooklyn", 9: "Unknown"}


def test_what_is_no_zone_is_in_no_known_borough():
    assert boroughs(pd.Series([0, 999, None])).tolist() == ["Unknown"] * 3
