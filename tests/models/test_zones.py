"""The TLC's table of zones."""

import numpy as np
import pandas as pd
import pytest

from taxi_nb.models.zones import boroughs, zone_geometry, zone_table


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


def test_the_zones_lie_where_they_do():
    zones = zone_geometry()
    assert zones.index.tolist() == list(range(1, 264))
    assert zones.notna().all(axis=None)
    # New York has 302.6 square miles of land; zones hold some water, and Newark's airport.
    assert zones["area"].sum() == pytest.approx(310, abs=12)
    jfk, laguardia = (zones.loc[zone, ["east", "north"]].astype(float) for zone in (132, 138))
    assert np.hypot(*(jfk - laguardia)) == pytest.approx(10, abs=0.6)


def test_neighbours_are_each_others():
    of = {
        zone: {int(one) for one in text.split()}
        for zone, text in zone_geometry()["neighbours"].fillna("").items()
    }
    assert all(zone in of[other] and zone != other for zone in of for other in of[zone])
    assert not of[1]  # Newark's airport.
    assert {41, 42, 75} <= of[74]  # East Harlem North.
