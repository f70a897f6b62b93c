"""The transformers keep scikit-learn's rules, as far as these apply to columns with names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import _yield_all_checks

from taxi_nb.models.features import PairAndDistance
from taxi_nb.models.specs import TRIP_COLUMNS
from taxi_nb.models.trip_features import TripFeatures

TRANSFORMERS = [PairAndDistance(), TripFeatures(folds=3)]

# Those of scikit-learn's checks that bring no matrix of their own.
WITHOUT_DATA = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_estimators_unfitted",
    "check_estimator_get_tags_default_keys",
]


@pytest.fixture
def trips() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    size = 60
    return pd.DataFrame(
        {
            "pickup_datetime": pd.Timestamp("2021-01-04")
            + pd.to_timedelta(rng.integers(0, 10_000, size), "min"),
            "PULocationID": rng.integers(40, 45, size).astype(np.int32),
            "DOLocationID": rng.integers(40, 45, size).astype(np.int32),
            "trip_distance": rng.uniform(0.5, 9, size),
            "duration": rng.uniform(2, 50, size),
        }
    )


@pytest.fixture(params=TRANSFORMERS, ids=lambda one: type(one).__name__)
def transformer(request: pytest.FixtureRequest) -> Any:
    return clone(request.param)


def _same(made: Any, other: Any) -> bool:
    if isinstance(made, pd.DataFrame):
        assert_frame_equal(made, other)
        return True
    return made.shape == other.shape and (made != other).nnz == 0


@pytest.mark.parametrize("check", WITHOUT_DATA)
def test_scikit_learns_checks_that_bring_no_matrix(transformer: Any, check: str) -> None:
    if not hasattr(estimator_checks, check):
        pytest.skip("this scikit-learn has no such check")
    getattr(estimator_checks, check)(type(transformer).__name__, transformer)


def test_a_matrix_without_names_is_refused_in_our_words(
    transformer: Any, trips: pd.DataFrame
) -> None:
    X = np.ones((30, 4))
    wrong = "`trips` must be a DataFrame with the columns .*, got: a ndarray of shape"
    with pytest.raises(ValueError, match=wrong):
        transformer.fit(X, np.ones(30))
    transformer.fit(trips, trips["duration"])
    for other in (X, X.tolist(), trips["trip_distance"]):
        with pytest.raises(ValueError, match="must be a DataFrame with the columns"):
            transformer.transform(other)


def test_a_frame_without_rows_is_refused_in_our_words(
    transformer: Any, trips: pd.DataFrame
) -> None:
    empty = trips.head(0)
    with pytest.raises(ValueError, match="`trips` must have one row or more"):
        transformer.fit(empty, empty["duration"])
    transformer.fit(trips, trips["duration"])
    with pytest.raises(ValueError, match="`trips` must have one row or more"):
        transformer.transform(empty)


def test_columns_that_are_missing_or_there_twice_are_named(
    transformer: Any, trips: pd.DataFrame
) -> None:
    with pytest.raises(ValueError, match=r"missing: \['DOLocationID'\]"):
        transformer.fit(trips.drop(columns="DOLocationID"), trips["duration"])
    twice = pd.concat([trips, trips[["DOLocationID"]]], axis=1)
    with pytest.raises(ValueError, match=r"more than once: \['DOLocationID'\]"):
        transformer.fit(twice, trips["duration"])


def test_it_has_to_be_fitted_first(transformer: Any, trips: pd.DataFrame) -> None:
    for ask in (
        lambda: transformer.transform(trips),
        transformer.get_feature_names_out,
        lambda: transformer.feature_names_in_,
        lambda: transformer.n_features_in_,
    ):
        with pytest.raises(NotFittedError):
            ask()
    assert not hasattr(transformer, "n_features_in_")


def test_it_tells_what_it_reads_and_what_it_makes(transformer: Any, trips: pd.DataFrame) -> None:
    made = transformer.fit(trips, trips["duration"]).transform(trips)
    assert set(TRIP_COLUMNS) <= set(transformer.feature_names_in_) <= set(trips.columns)
    assert transformer.n_features_in_ == len(transformer.feature_names_in_)
    names = transformer.get_feature_names_out()
    assert names.dtype == object
    assert made.shape == (len(trips), len(names))
    if isinstance(made, pd.DataFrame):
        assert list(made.columns) == list(names)


def test_fitting_changes_neither_trips_nor_parameters_and_transforming_not_even_itself(
    transformer: Any, trips: pd.DataFrame
) -> None:
    before, params = trips.copy(), transformer.get_params()
    transformer.fit(trips, trips["duration"])
    assert transformer.get_params() == params
    state = {name: id(value) for name, value in vars(transformer).items()}
    transformer.transform(trips)
    assert {name: id(value) for name, value in vars(transformer).items()} == state
    transformer.fit_transform(trips, trips["duration"])
    assert_frame_equal(trips, before)


def test_fitting_again_forgets_what_was_learned(transformer: Any, trips: pd.DataFrame) -> None:
    once = transformer.fit(trips, trips["duration"]).transform(trips)
    other = trips.assign(PULocationID=7, trip_distance=1.5)
    transformer.fit(other, other["duration"])
    again = transformer.fit(trips, trips["duration"]).transform(trips)
    assert _same(once, again)
    assert _same(once, clone(transformer).fit(trips, trips["duration"]).transform(trips))


def test_order_and_number_of_rows_and_columns_make_no_difference(
    transformer: Any, trips: pd.DataFrame
) -> None:
    transformer.fit(trips, trips["duration"])
    made = transformer.transform(trips)
    assert _same(made, transformer.transform(trips[sorted(trips.columns)].assign(more="x")))
    backwards = transformer.transform(trips[::-1])
    assert _same(made, backwards[::-1] if isinstance(made, pd.DataFrame) else backwards[::-1, :])
    some = transformer.transform(trips.iloc[10:20])
    assert _same(made.iloc[10:20] if isinstance(made, pd.DataFrame) else made[10:20], some)


@pytest.mark.parametrize(
    "change", [lambda y: y[:-1], lambda y: y.reshape(-1, 1), lambda y: y * np.nan]
)
def test_minutes_of_another_shape_or_none_are_refused(trips: pd.DataFrame, change: Any) -> None:
    with pytest.raises(ValueError, match="`y` must "):
        TripFeatures().fit(trips, change(trips["duration"].to_numpy()))


def test_the_list_names_checks_that_there_are() -> None:
    known = {
        getattr(check, "func", check).__name__
        for one in TRANSFORMERS
        for check in _yield_all_checks(one, legacy=True)
    }
    assert len(set(WITHOUT_DATA) & known) >= 8
