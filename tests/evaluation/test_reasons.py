"""Why a model predicts what it does: parts that sum to the whole, and what matters matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from taxi_nb import MODELS, contributions, importance, load_trips, make_model, plots, with_recent
from taxi_nb.evaluation.reasons import WORDS


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXI_NB_ROOT", str(tmp_path_factory.mktemp("sample")))
        return load_trips("green", ["2021-01"], "sample", sample_rows=1_500)


def fitted(name: str, trips: pd.DataFrame):
    small = {"n_estimators": 10} if name.startswith(("xgboost", "random")) else {}
    model = make_model(name, small).fit(trips, trips["duration"])
    return with_recent(model, trips) if name.endswith("-live") else model


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"random_forest"}))
def test_what_moved_a_prediction_sums_to_it(name: str, trips: pd.DataFrame) -> None:
    model, some = fitted(name, trips), trips.tail(200)
    moved: Any = contributions(model, some)
    assert moved.sum(axis=1).to_numpy() == pytest.approx(model.predict(some), abs=1e-3)
    assert set(moved) <= set(WORDS.values())
    assert ("how slow the city is just now" in moved) == name.endswith("-live")
    assert list(moved.index) == list(some.index)


def test_a_forest_has_no_parts(trips: pd.DataFrame) -> None:
    assert contributions(fitted("random_forest", trips), trips.head(3)) is None


def test_what_says_nothing_is_not_missed_and_what_says_all_is(trips: pd.DataFrame) -> None:
    known = trips.assign(duration=2 + 3 * trips["trip_distance"].clip(0.2, 15))
    table = importance(fitted("xgboost-rich", known), known)
    by_miles = ["how far it goes", "how long so many miles usually take there"]
    assert table.index[0] in by_miles
    assert table.loc["when it starts", "minutes"] < 0.05 * table["minutes"].iloc[0]
    assert (table["spread"] >= 0).all()
    pd.testing.assert_frame_equal(importance(fitted("xgboost-rich", known), known), table)


def test_features_of_an_older_commit_stand_for_themselves(trips: pd.DataFrame) -> None:
    model = fitted("xgboost-rich", trips)

    class Features:
        transform = staticmethod(
            lambda trips: model.named_steps["features"].transform(trips)[["miles", "weekday"]]
        )

    from sklearn.pipeline import Pipeline
    from xgboost import XGBRegressor

    old = Pipeline([("features", Features()), ("model", XGBRegressor(n_estimators=5))])
    old.named_steps["model"].fit(Features.transform(trips), trips["duration"])
    moved: Any = contributions(old, trips.head(5))
    assert list(moved) == ["an average trip", "miles", "weekday"]
    told = old.named_steps["model"].predict(Features.transform(trips.head(5)))
    assert moved.sum(axis=1).to_numpy() == pytest.approx(told, abs=1e-3)


def test_figures_say_minutes_and_which_trips(trips: pd.DataFrame) -> None:
    model = fitted("xgboost-rich", trips)
    (axes,) = plots.importance(importance(model, trips), trips).axes
    assert "minutes" in axes.get_xlabel()
    parts: Any = contributions(model, trips.head(2))
    moved = parts.set_axis(["a to b", "b to c"])
    (axes,) = plots.why(moved, trips).axes
    texts = [text.get_text() for text in axes.texts]
    told = model.predict(trips.head(2))
    for name, minutes in zip(moved.index, told, strict=True):
        assert f"{name}: {minutes:.1f} minutes" in texts
    assert np.isfinite(axes.get_xlim()).all()
