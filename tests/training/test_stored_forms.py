"""Artifacts that an earlier commit logged are read as they were, and written as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from taxi_nb import ConformalIntervals, Provenance
from taxi_nb.evaluation.drift import DriftReference
from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.registry.history import Promotion

# A training run's artifacts, and the parameter of a promotion.
LOGGED_BEFORE = Path(__file__).parent / "data" / "logged_by_3c1461c"


def logged(name: str) -> str:
    return (LOGGED_BEFORE / name).read_text()


def test_the_trips_that_a_run_used() -> None:
    origin = Provenance.from_dict(json.loads(logged("training.json")))
    assert origin.title == "green 2021-01, sample (synthetic)"
    assert origin.digest == "32049c3543e3"
    assert origin.cleaning.rows_kept == 29_115
    assert isinstance(origin.files, tuple)
    assert json.dumps(origin.to_dict(), indent=2) == logged("training.json")


def test_what_drift_is_measured_from() -> None:
    reference = DriftReference.from_dict(json.loads(logged("reference.json")))
    assert reference.features["trip_distance"].trips == 29_115
    assert reference.to_json() == logged("reference.json")


class TenMinutes:
    """A model that is always of the same opinion."""

    def predict(self, trips: pd.DataFrame) -> Any:
        return np.full(len(trips), 10.0)


def test_the_calibration_of_intervals() -> None:
    intervals = ConformalIntervals.from_dict(json.loads(logged("calibration.json")), TenMinutes())
    trips = pd.DataFrame({"pickup_datetime": pd.to_datetime(["2021-02-01 08:00"])})
    predicted = intervals.predict(trips).iloc[0]
    assert intervals.level == 0.9
    assert predicted["lower"] < 10 < predicted["upper"]


def test_a_promotion() -> None:
    written = json.loads(logged("promotion.json"))
    promotion = from_plain(Promotion, written)
    assert promotion.number == 1
    assert promotion.numbers["margin"] == 0.05
    assert {**json.loads(to_json(promotion)), "id": written["id"]} == written
