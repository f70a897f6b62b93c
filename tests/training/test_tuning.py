"""A search that does no harm: the default stays unless another setting is surely better."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from taxi_nb import load_trips, train, tune
from taxi_nb.training.tune import search_space
from tests.trained_models import TrainedModels


def starved(params: dict[str, Any]) -> dict[str, Any]:
    """A setting that anything beats."""
    return {"n_estimators": 3, "learning_rate": 0.01, **params}


def test_trial_0_is_the_default_and_stays_where_chance_explains_the_rest(
    trained: TrainedModels,
) -> None:
    tuned = tune(trained.training, trained.validation, model="xgboost", max_evals=3, max_rounds=20)
    usual = train("xgboost", trained.training, trained.validation)
    first = tuned.trials.iloc[0]
    assert (first["gain"], first["gain_error"]) == (0, 0)
    assert (first["rounds"], first["max_depth"], first["learning_rate"]) == (200, 10, 0.2)
    if tuned.chosen == 0:
        assert "the default stays" in tuned.reason
        # To the last digit what it is without a search.
        assert tuned.best.metrics["valid_rmse"] == usual.metrics["valid_rmse"]
    else:
        won = tuned.trials.iloc[tuned.chosen]
        assert won["gain"] > 2 * won["gain_error"]


def test_a_poor_default_is_beaten(trained: TrainedModels) -> None:
    poor = starved({})
    tuned = tune(
        trained.training,
        trained.validation,
        model="xgboost",
        params=poor,
        max_evals=3,
        max_rounds=20,
    )
    usual = train("xgboost", trained.training, trained.validation, params=poor)
    assert tuned.chosen > 0
    assert "where chance explains" in tuned.reason
    assert tuned.best.metrics["valid_rmse"] < usual.metrics["valid_rmse"] - 0.5
    assert tuned.best.params["n_estimators"] == tuned.trials.loc[tuned.chosen, "rounds"]


def test_a_search_of_one_trial_is_the_default(trained: TrainedModels) -> None:
    tuned = tune(trained.training, trained.validation, model="xgboost", max_evals=1)
    assert (tuned.chosen, len(tuned.trials)) == (0, 1)
    assert "no other setting was tried" in tuned.reason


def test_few_days_do_not_move_the_default(trained: TrainedModels) -> None:
    def first_days(days: int) -> pd.DataFrame:
        return trained.training[trained.training["pickup_datetime"].dt.day <= days]

    tuned = tune(
        first_days(4),
        trained.validation,
        model="xgboost",
        params=starved({}),
        max_evals=2,
        max_rounds=20,
    )
    assert tuned.chosen == 0
    assert "days are too few to tell" in tuned.reason
    with pytest.raises(ValueError, match="at least 3 days for 2 origins, got 2"):
        tune(first_days(2), trained.validation, model="xgboost")


@pytest.mark.parametrize("rounds", [1, 5, 20, 100, 400, 2_000])
def test_no_learning_rate_starves_at_the_cap(rounds: int) -> None:
    from hyperopt.pyll.stochastic import sample

    drawn = [
        sample(search_space(rounds), rng=np.random.default_rng(seed))["learning_rate"]
        for seed in range(20)
    ]
    # Twelve steps of its rate, or as near as half a step a tree comes.
    assert min(drawn) >= min(12 / rounds, 0.5) * 0.999
    assert max(drawn) <= 1.0
    assert not math.isclose(min(drawn), max(drawn))


def test_days_of_a_search_lie_after_those_that_it_learned_from(project: object) -> None:
    from taxi_nb.training.tune import _weeks

    training = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    weeks = _weeks(training, 2)
    for earlier, later in weeks:
        assert earlier["pickup_datetime"].max() < later["pickup_datetime"].min()
        assert later["pickup_datetime"].dt.date.nunique() == 7
    assert weeks[1][1]["pickup_datetime"].max() == training["pickup_datetime"].max()
