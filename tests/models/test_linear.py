"""Linear models from statistics of groups: what scikit-learn would find, without the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import lsqr
from sklearn.base import clone
from sklearn.linear_model import Lasso, LinearRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info, threadpool_limits

from taxi_nb.models.features import PairAndDistance
from taxi_nb.models.group_statistics import GroupStatistics
from taxi_nb.models.linear import (
    ExactLinearRegression,
    GroupLasso,
    GroupRidge,
    SingleThreadedLinearRegression,
    SingleThreadedRidge,
)
from taxi_nb.training.pair_statistics import pair_statistics

MODELS = [ExactLinearRegression(), GroupRidge(alpha=2.0), GroupLasso(alpha=0.05)]


def some_trips(size: int, seed: int = 0, zones: int = 12) -> pd.DataFrame:
    """Trips with few and many rows to a pair, and one distance that cannot be."""
    chance = np.random.default_rng(seed)
    pick_up, drop_off = (chance.geometric(0.2, size).clip(1, zones) for _ in range(2))
    distance = chance.gamma(2, 2, size)
    distance[0] = 244_152.0
    duration = 5 + 2 * distance.clip(max=30) + pick_up + chance.normal(0, 3, size)
    return pd.DataFrame(
        {
            "PULocationID": pick_up.astype("int32"),
            "DOLocationID": drop_off.astype("int32"),
            "trip_distance": distance,
            "duration": duration,
        }
    )


def matrix(trips: pd.DataFrame) -> csr_matrix:
    return PairAndDistance().fit_transform(trips)


def columns(trips: pd.DataFrame) -> pd.DataFrame:
    return trips[["PULocationID", "DOLocationID", "trip_distance"]]


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        (ExactLinearRegression(), LinearRegression(tol=1e-15)),
        (GroupRidge(alpha=1e-3), Ridge(alpha=1e-3, solver="sparse_cg", tol=1e-15)),
        (GroupRidge(alpha=30.0), Ridge(alpha=30.0, solver="sparse_cg", tol=1e-15)),
        (GroupLasso(alpha=1e-3), Lasso(alpha=1e-3, tol=1e-13, max_iter=100_000)),
        (GroupLasso(alpha=0.3), Lasso(alpha=0.3, tol=1e-13, max_iter=100_000)),
        (GroupLasso(alpha=1e6), Lasso(alpha=1e6, tol=1e-13, max_iter=100_000)),
    ],
    ids=str,
)
def test_the_solution_is_scikit_learns_converged(model: Any, reference: Any) -> None:
    trips = some_trips(3000)
    X, y = matrix(trips), trips["duration"]
    model.fit(X, y)
    reference.fit(X, y)
    assert model.coef_ == pytest.approx(reference.coef_, abs=1e-5)
    assert model.intercept_ == pytest.approx(reference.intercept_, abs=1e-5)
    assert model.predict(X) == pytest.approx(reference.predict(X), abs=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_batches_of_any_size_give_what_one_fit_gives(model: Any) -> None:
    trips = some_trips(2000)
    whole = clone(model).fit(columns(trips), trips["duration"])
    in_parts = clone(model)
    for part in (trips[:1], trips[1:700], trips[700:]):
        in_parts.partial_fit(columns(part), part["duration"])
    assert np.array_equal(in_parts.groups_, whole.groups_)
    assert in_parts.coef_ == pytest.approx(whole.coef_, rel=1e-9, abs=1e-9)
    on_matrix = clone(model).fit(matrix(trips), trips["duration"])
    assert on_matrix.coef_ == pytest.approx(whole.coef_, rel=1e-9, abs=1e-9)
    statistics = pair_statistics([trips[:300], trips[300:]])
    assert clone(model).fit_statistics(statistics).coef_ == pytest.approx(
        whole.coef_, rel=1e-9, abs=1e-9
    )


def test_statistics_of_parts_add_up_to_those_of_the_whole() -> None:
    trips = some_trips(5000)
    # Far from 0, where sums of plain squares have no digits left.
    trips["trip_distance"] += 1e6
    parts = [pair_statistics([part]) for part in (trips[:10], trips[10:3000], trips[3000:])]
    added = parts[0] + parts[1] + parts[2]
    groups = trips.groupby(trips["PULocationID"] * 1000 + trips["DOLocationID"])
    assert added.groups.tolist() == list(groups.groups)
    assert added.n.tolist() == groups.size().tolist()
    x, y = (trips[name] - groups[name].transform("mean") for name in ("trip_distance", "duration"))
    assert [added.xx, added.xy, added.yy] == pytest.approx([x @ x, x @ y, y @ y], rel=1e-9)


def test_statistics_do_not_depend_on_the_batches() -> None:
    trips = some_trips(4000)
    one = pair_statistics([trips])
    many = pair_statistics([trips[start : start + 7] for start in range(0, 4000, 7)])
    assert all(np.array_equal(getattr(one, name), getattr(many, name)) for name in ("xx", "xy"))


def test_a_distance_that_each_pair_has_one_of_varies_in_none() -> None:
    trips = some_trips(3000)
    pair = trips["PULocationID"] * 1000 + trips["DOLocationID"]
    trips["trip_distance"] = trips.groupby(pair)["trip_distance"].transform("first")
    statistics = pair_statistics([trips])
    assert (statistics.xx, statistics.xy) == (0.0, 0.0)
    whole = ExactLinearRegression().fit(matrix(trips), trips["duration"])
    fitted = ExactLinearRegression().fit_statistics(statistics)
    assert fitted.coef_ == pytest.approx(whole.coef_, rel=1e-9, abs=1e-9)


def test_a_zone_that_is_not_on_the_map_is_refused() -> None:
    trips = some_trips(10)
    trips.loc[3, "DOLocationID"] = 999
    with pytest.raises(ValueError, match=r"zones must be from 0 to 265, got: 1 to 999"):
        pair_statistics([trips])


@pytest.mark.parametrize("model", [GroupRidge(), GroupLasso()], ids=str)
def test_a_path_of_alphas_is_that_of_single_fits(model: Any) -> None:
    trips = some_trips(2000)
    alphas = np.geomspace(1e-3, 1e3, 7)
    path = clone(model).fit(matrix(trips), trips["duration"]).path(alphas)
    for alpha, fitted in zip(alphas, path, strict=True):
        alone = clone(model).set_params(alpha=alpha).fit(matrix(trips), trips["duration"])
        assert np.array_equal(fitted.coef_, alone.coef_)
        assert fitted.alpha == alpha


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_error_is_known_without_the_rows(model: Any) -> None:
    training, validation = some_trips(2000), some_trips(500, seed=1, zones=20)
    fitted = clone(model).fit_statistics(pair_statistics([training]))
    features = PairAndDistance.of_pairs(fitted.groups_)
    error = fitted.predict(features.transform(validation)) - validation["duration"]
    expected = float(np.sqrt(np.mean(error**2)))
    assert fitted.rmse(pair_statistics([validation])) == pytest.approx(expected, rel=1e-9)


def test_a_group_that_training_has_not_seen_gets_no_effect() -> None:
    trips = some_trips(200)
    model = ExactLinearRegression().fit(columns(trips), trips["duration"])
    unseen = pd.DataFrame({"PULocationID": [99], "DOLocationID": [99], "trip_distance": [2.0]})
    assert model.predict(unseen) == pytest.approx(model.intercept_ + 2 * model.coef_[-1])


def test_a_distance_that_never_varies_within_a_pair() -> None:
    trips = some_trips(500)
    trips["trip_distance"] = trips["PULocationID"] * 0.1 + trips["DOLocationID"]
    X, y = matrix(trips), trips["duration"]
    model = ExactLinearRegression().fit(X, y)
    smallest = LinearRegression(tol=1e-15).fit(X, y)
    assert model.coef_ == pytest.approx(smallest.coef_, abs=1e-6)


def test_a_matrix_that_is_not_one_hot_is_refused() -> None:
    for rows in ([[1, 1, 2.0]], [[0, 0, 2.0]], [[0.5, 0, 2.0]]):
        with pytest.raises(ValueError, match="exactly one 1 in the columns before its last"):
            GroupRidge().fit(csr_matrix(rows), [1.0])


@pytest.mark.parametrize("alpha", [-1.0, np.nan])
@pytest.mark.parametrize("model", [GroupRidge, GroupLasso])
def test_an_alpha_that_makes_no_sense(model: Callable[..., Any], alpha: float) -> None:
    trips = some_trips(20)
    with pytest.raises(ValueError, match="`alpha` must be a number of at least 0, got:"):
        model(alpha=alpha).fit(columns(trips), trips["duration"])


def test_lsqr_runs_with_one_thread_and_puts_the_number_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    during: list[int] = []

    def watched(*args: Any, **options: Any) -> Any:
        during.extend(_blas_threads())
        return lsqr(*args, **options)

    monkeypatch.setattr("sklearn.linear_model._base.lsqr", watched)
    trips = some_trips(200)
    with threadpool_limits(limits=2, user_api="blas"):
        before = _blas_threads()
        fitted = SingleThreadedLinearRegression().fit(matrix(trips), trips["duration"])
        assert _blas_threads() == before
    assert set(during) == {1}
    reference = LinearRegression().fit(matrix(trips), trips["duration"])
    assert fitted.coef_ == pytest.approx(reference.coef_, abs=1e-6)


def test_ridge_is_the_same_to_the_last_bit_whatever_the_number_of_threads() -> None:
    trips = some_trips(20_000)
    fitted = []
    for threads in (1, 2, 3):
        with threadpool_limits(limits=threads, user_api="blas"):
            fitted.append(SingleThreadedRidge().fit(matrix(trips), trips["duration"]).coef_)
    assert all((other == fitted[0]).all() for other in fitted[1:])


def _blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def _expected_to_fail(estimator: Any) -> dict[str, str]:
    if isinstance(estimator, GroupLasso):
        # In scikit-learn's data every row is a group of its own, and the penalty takes most
        # of a single row's effect: the score that the check asks for is not the solution's.
        return {"check_regressors_train": "single rows are shrunk by the penalty"}
    return {}


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [ExactLinearRegression(), GroupRidge(), GroupLasso(alpha=0.01)],
    expected_failed_checks=_expected_to_fail,
)
def test_scikit_learns_own_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_weights_count_rows() -> None:
    trips = some_trips(300)
    weights = np.random.default_rng(3).integers(0, 4, 300)
    repeated = trips.loc[trips.index.repeat(weights)]
    for model in MODELS:
        weighted = clone(model).fit(columns(trips), trips["duration"], weights)
        counted = clone(model).fit(columns(repeated), repeated["duration"])
        there = weighted.statistics_.n > 0
        assert weighted.coef_[:-1][there] == pytest.approx(counted.coef_[:-1], abs=1e-8)


def test_nothing_to_learn_from_is_an_error() -> None:
    empty = GroupStatistics.nothing(np.arange(2))
    with pytest.raises(ValueError, match="there must be a row"):
        ExactLinearRegression().fit_statistics(empty)
