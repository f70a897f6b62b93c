"""Features and models: from raw trip columns to minutes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction import DictVectorizer

from taxi_nb import MODELS, make_model
from taxi_nb.models.features import PairAndDistance


def trips(pairs: list[tuple[int, int]], distances: list[float]) -> pd.DataFrame:
    pick_up, drop_off = zip(*pairs, strict=True)
    return pd.DataFrame(
        {"PULocationID": pick_up, "DOLocationID": drop_off, "trip_distance": distances}
    ).astype({"PULocationID": "int32", "DOLocationID": "int32"})


@pytest.fixture
def training() -> pd.DataFrame:
    return trips([(43, 151), (7, 7), (43, 151), (166, 239)], [1.0, 0.0, 2.5, 3.0])


def test_the_matrix_is_the_one_that_dict_vectorizer_makes(training: pd.DataFrame) -> None:
    features = PairAndDistance().fit(training)
    records = [
        {"PU_DO": f"{row.PULocationID}_{row.DOLocationID}", "trip_distance": row.trip_distance}
        for row in training.itertuples()
    ]
    reference = DictVectorizer()
    expected = pd.DataFrame(
        reference.fit_transform(records).toarray(), columns=reference.get_feature_names_out()
    )
    names = features.get_feature_names_out()
    made = pd.DataFrame(features.transform(training).toarray(), columns=names)
    pd.testing.assert_frame_equal(made[sorted(names)], expected[sorted(names)])


def test_indices_are_32_bit_as_lasso_wants_them(training: pd.DataFrame) -> None:
    matrix = PairAndDistance().fit_transform(training)
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    assert matrix.has_sorted_indices


def test_a_pair_that_training_has_not_seen_leaves_only_the_distance(
    training: pd.DataFrame,
) -> None:
    features = PairAndDistance().fit(training)
    unseen = trips([(1, 1), (265, 265), (43, 151)], [4.0, 5.0, 6.0])
    matrix = features.transform(unseen).toarray()
    assert matrix.shape == (3, 4)
    assert matrix[:2, :-1].sum() == 0
    assert matrix[2, :-1].sum() == 1
    assert list(matrix[:, -1]) == [4.0, 5.0, 6.0]


def test_zones_that_are_none_are_not_taken_for_others(training: pd.DataFrame) -> None:
    features = PairAndDistance().fit(training)
    # 0 and 43151 make the number that stands for 43 and 151.
    matrix = features.transform(trips([(0, 43_151), (-1, 44_151)], [1.0, 2.0])).toarray()
    assert matrix[:, :-1].sum() == 0
    with pytest.raises(ValueError, match="zones to learn from must be from 0 to 999"):
        PairAndDistance().fit(trips([(0, 43_151)], [1.0]))


def test_a_null_zone_is_named(training: pd.DataFrame) -> None:
    features = PairAndDistance().fit(training)
    training["DOLocationID"] = [np.nan, 7, 151, 239]
    with pytest.raises(ValueError, match="must have no null DOLocationID"):
        features.transform(training)


def test_a_missing_column_is_named(training: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"missing: \['trip_distance'\]"):
        PairAndDistance().fit(training.drop(columns="trip_distance"))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_learns_from_raw_trips_and_is_the_same_again(name: str) -> None:
    rng = np.random.default_rng(0)
    zones = rng.integers(1, 6, (400, 2))
    data = trips([(a, b) for a, b in zones], list(rng.gamma(2, 2, 400)))
    data["pickup_datetime"] = pd.Timestamp("2021-01-04 08:00")
    minutes = 3 * data["trip_distance"] + data["PULocationID"] + rng.normal(0, 0.5, 400)
    first = make_model(name, seed=1).fit(data, minutes).predict(data)
    again = make_model(name, seed=1).fit(data, minutes).predict(data)
    assert np.array_equal(first, again)
    # Distances are drawn at random here: who may not read them can know little.
    bound = 0.5 if "trip_distance" in MODELS[name].reads else 1.0
    assert np.sqrt(np.mean((first - minutes) ** 2)) < bound * minutes.std()


def test_least_squares_is_solved_where_lsqr_stops_early() -> None:
    rng = np.random.default_rng(0)
    pairs = [(a, b) for a, b in rng.integers(1, 20, (2000, 2))]
    distance = rng.gamma(2, 2, 2000)
    data = trips(pairs, list(distance))
    # One absurd distance, as in real files, scales the problem badly.
    data.loc[0, "trip_distance"] = 200_000
    minutes = data["PULocationID"] + 3 * distance
    errors = {
        name: np.mean((make_model(name).fit(data, minutes).predict(data) - minutes) ** 2)
        for name in ("linear", "linear-lsqr")
    }
    matrix = PairAndDistance().fit_transform(data).toarray()
    exact = np.linalg.lstsq(np.column_stack([matrix, np.ones(len(data))]), minutes, rcond=None)[0]
    best = np.mean((np.column_stack([matrix, np.ones(len(data))]) @ exact - minutes) ** 2)
    assert errors["linear"] == pytest.approx(best, rel=1e-6)
    assert errors["linear-lsqr"] > 1.001 * best


def test_parameters_replace_the_defaults() -> None:
    assert make_model("lasso", {"alpha": 0.5}).named_steps["model"].alpha == 0.5
    assert make_model("lasso").named_steps["model"].alpha == MODELS["lasso"].defaults["alpha"]
    assert make_model("random_forest", seed=3).named_steps["model"].random_state == 3


def test_an_unknown_model_or_parameter_is_answered_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"`model` must be one of \['lasso', .*got: 'lineer'"):
        make_model("lineer")
    with pytest.raises(ValueError, match=r"`params` of model 'ridge'.*got: \['alhpa'\]"):
        make_model("ridge", {"alhpa": 1})
